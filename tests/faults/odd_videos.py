"""Videos that are mislabelled, truncated, or merely unusual."""

from __future__ import annotations

import io
import os
import random
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image as Pil

from .. import clips, pictures
from .corpus import Case, Edited, Make, Refused

SIZE = (48, 32)
FRAMES = 12
UNREADABLE = Refused("not a readable video, or truncated")
NO_FRAME = Refused("no frame decodes")


def clip(path: Path, frames: int = FRAMES, **options: Any) -> Path:
    """A small good video."""
    return clips.make(path, frames, **(dict[str, Any](size=SIZE, gop=4) | options))


def plain(name: str = "a.mp4", **options: Any) -> Make:
    return lambda folder: clip(folder / name, **options)


def data(name: str, content: bytes | str) -> Make:
    """A file of these bytes."""

    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def noise(name: str, size: int = 20_000) -> Make:
    return data(name, random.Random(name).randbytes(size))


def edited_bytes(change: Callable[[bytearray], object], name: str = "a.mp4", **options) -> Make:
    """A good video, and then ``change`` has its bytes."""

    def make(folder: Path) -> Path:
        path = clip(folder / name, **options)
        content = bytearray(path.read_bytes())
        change(content)
        path.write_bytes(content)
        return path

    return make


def cut(share: float, name: str, *, fast: bool = False, **options: Any) -> Make:
    """The first part of a file. ``fast``: the index of an MP4 stands at its beginning."""

    def make(folder: Path) -> Path:
        path = clip(folder / name, 40, **options)
        if fast:
            path = remuxed(path, folder / f"fast-{name}", {"movflags": "+faststart"})
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    return make


def remuxed(source: Path, target: Path, options: dict[str, str] | None = None) -> Path:
    """The packets of one file in another."""
    with av.open(str(source)) as one, av.open(str(target), "w", options=options or {}) as two:
        copies = {s.index: two.add_stream_from_template(s) for s in one.streams}
        for packet in one.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                two.mux(packet)
    return target


def frames_in(
    name: str,
    codec: str,
    pix_fmt: str,
    *,
    size: tuple[int, int] = SIZE,
    frames: int = FRAMES,
    options: dict[str, str] | None = None,
    interlaced: bool = False,
    container: str | None = None,
) -> Make:
    """A video of any codec and sample format, as FFmpeg converts to it."""

    def make(folder: Path) -> Path:
        path = folder / name
        with av.open(str(path), "w", format=container) as target:
            stream = target.add_stream(codec, rate=25, options=options or {})
            stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
            stream.codec_context.thread_count = 1
            for number in range(frames):
                image = clips.picture(number, max(size[0], 8), max(size[1], 8))
                image = np.ascontiguousarray(image[: size[1], : size[0]])
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame = frame.reformat(format=pix_fmt)
                frame.pts, frame.time_base = number, Fraction(1, 25)
                target.mux(stream.encode(frame))  # type: ignore[arg-type]
            target.mux(stream.encode(None))
        return path

    return make


def timed(name: str, times: Sequence[int]) -> Make:
    """Frames that decode on their own, at any times: in any order, double, far apart."""

    def make(folder: Path) -> Path:
        path, base = folder / name, Fraction(1, 25)
        with av.open(str(path), "w") as target:
            stream = target.add_stream("mjpeg", rate=25)
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
            stream.time_base = base
            encoded = [
                packet
                for number in range(len(times))
                for packet in stream.encode(_frame(number, "yuvj420p"))
            ]
            encoded += stream.encode(None)
            late = max(s - t for s, t in zip(sorted(times), times, strict=True))
            for packet, time, sent in zip(encoded, times, sorted(times), strict=True):
                packet.stream, packet.time_base = stream, base
                packet.pts, packet.dts = time, sent - late
                target.mux(packet)
        return path

    return make


def _frame(number: int, pix_fmt: str) -> av.VideoFrame:
    image = clips.picture(number, *SIZE)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
    frame.pts, frame.time_base = number, Fraction(1, 25)
    return frame


def boxes(content: bytes | bytearray, kind: bytes) -> Iterator[int]:
    """Where the payloads of the boxes of that kind begin in an MP4 file."""
    at = content.find(kind)
    while at >= 0:
        yield at + 4
        at = content.find(kind, at + 4)


def patch(kind: bytes, offset: int, value: bytes) -> Callable[[bytearray], None]:
    """Overwrite bytes of the first box of ``kind``."""

    def change(content: bytearray) -> None:
        at = next(boxes(content, kind)) + offset
        content[at : at + len(value)] = value

    return change


def spoil(share: float, start: float = 0.0, seed: int = 1) -> Callable[[bytearray], None]:
    """Random bytes over a share of the media data, from ``start`` of it on."""

    def change(content: bytearray) -> None:
        at = next(boxes(content, b"mdat"))
        size = int.from_bytes(content[at - 8 : at - 4], "big") - 8
        first = at + int(size * start)
        length = int(size * share)
        content[first : first + length] = random.Random(seed).randbytes(length)

    return change


# -- what is made by more than one call ---------------------------------------------------


def sound_only(name: str, codec: str = "aac") -> Make:
    def make(folder: Path) -> Path:
        path = folder / name
        with av.open(str(path), "w") as target:
            clips._write_sound(target, clips._sound_stream(target, codec), 0.5)
        return path

    return make


def cover_only(folder: Path) -> Path:
    """Music with an image on its sleeve."""
    path = folder / "song.mp3"
    buffer = io.BytesIO()
    Pil.fromarray(pictures.scene()).save(buffer, "png")
    with av.open(str(path), "w") as target:
        sound = clips._sound_stream(target, "libmp3lame")
        cover = target.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 48, 32, "rgb24"
        cover.disposition = type(cover.disposition).attached_pic
        packet = av.Packet(buffer.getvalue())
        packet.stream, packet.pts, packet.dts = cover, 0, 0
        packet.time_base = Fraction(1, 1000)
        packet.is_keyframe = True
        target.mux(packet)
        clips._write_sound(target, sound, 0.5)
    return path


def no_packets(name: str) -> Make:
    """A header that announces an image, and nothing else."""

    def make(folder: Path) -> Path:
        path = folder / name
        with av.open(str(path), "w") as target:
            stream = target.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
            target.start_encoding()
        return path

    return make


def many_streams(count: int, kind: str = "audio") -> Make:
    def make(folder: Path) -> Path:
        path = folder / "many.mkv"
        with av.open(str(path), "w") as target:
            video = target.add_stream("mjpeg", rate=25)
            video.width, video.height, video.pix_fmt = *SIZE, "yuvj420p"
            others = []
            for _ in range(count):
                if kind == "audio":
                    stream = target.add_stream("pcm_s16le", rate=8000)
                    stream.codec_context.layout = "mono"
                else:
                    stream = target.add_mux_stream("subrip")
                others.append(stream)
            for number in range(4):
                target.mux(video.encode(_frame(number, "yuvj420p")))
            target.mux(video.encode(None))
        return path

    return make


def changing_size(folder: Path) -> Path:
    """A transport stream whose image grows halfway: two broadcasts, one after the other."""
    first = clip(folder / "1.ts")
    later = range(FRAMES + 2, 2 * FRAMES + 2)
    second = clip(folder / "2.ts", size=(64, 48), pts=list(later))
    path = folder / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    return path


def restarted_clock(folder: Path) -> Path:
    """The same broadcast twice: all times come again."""
    content = clip(folder / "1.ts").read_bytes()
    path = folder / "twice.ts"
    path.write_bytes(content + content)
    return path


def trimmed(folder: Path) -> Path:
    """An MP4 whose edit list hides its first frames: they come with times before zero."""
    return clip(folder / "a.mp4", pts=range(-3, FRAMES - 3))


def two_videos(folder: Path) -> Path:
    path = folder / "angles.mkv"
    with av.open(str(path), "w") as target:
        streams = []
        for _ in range(2):
            stream = target.add_stream("mjpeg", rate=25)
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
            streams.append(stream)
        for number in range(FRAMES):
            for stream in streams:
                target.mux(stream.encode(_frame(number, "yuvj420p")))
    return path


def gif(count: int, size: tuple[int, int] = (16, 16), **options: Any) -> Make:
    def make(folder: Path) -> Path:
        path = folder / "a.gif"
        frames = [Pil.fromarray(clips.picture(n, *size)).convert("P") for n in range(count)]
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        return path

    return make


def huge_gif(side: int, count: int = 1) -> Make:
    """A screen of ``side`` x ``side``, and small images on it."""

    def make(folder: Path) -> Path:
        path = gif(count)(folder)
        content = bytearray(path.read_bytes())
        content[6:10] = struct.pack("<HH", side, side)
        path.write_bytes(content)
        return path

    return make


def huge_frames(name: str, codec: str) -> Make:
    """Frames whose own headers say 16383 x 16383 (JPEG) or 32000 x 32000 (PNG)."""

    def make(folder: Path) -> Path:
        path = frames_in(name, codec, "rgb24" if codec == "png" else "yuvj420p")(folder)
        content = bytearray(path.read_bytes())
        at = content.find(b"IHDR" if codec == "png" else b"\xff\xc0")
        while at >= 0:
            if codec == "png":
                new = pictures.chunk(
                    b"IHDR", struct.pack(">LL", 32000, 32000) + content[at + 12 : at + 17]
                )
                content[at - 4 : at + 21] = new
            else:
                content[at + 5 : at + 9] = b"\x3f\xff\x3f\xff"
            at = content.find(b"IHDR" if codec == "png" else b"\xff\xc0", at + 4)
        path.write_bytes(content)
        return path

    return make


def fifo(folder: Path) -> Path:
    path = folder / "pipe.mp4"
    os.mkfifo(path)
    return path


def bound_socket(folder: Path) -> Path:
    # A path of its own: those of sockets may be 100 bytes long at most.
    path = folder / "s.mp4"
    here = os.getcwd()
    os.chdir(folder)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("s.mp4")
    finally:
        os.chdir(here)
    return path


def link_to(target: str, name: str = "a.mp4") -> Make:
    def make(folder: Path) -> Path:
        path = folder / name
        path.symlink_to(target)
        return path

    return make


def read_error(folder: Path) -> Path:
    path = clip(folder / "a.mp4")
    path.chmod(0)
    return path


def named(name: str | bytes) -> Make:
    def make(folder: Path) -> Path:
        path = folder / os.fsdecode(name)
        return clip(folder / "a.mp4").rename(path)

    return make


def renamed(make: Make, name: str) -> Make:
    return lambda folder: make(folder).rename(folder / name)


def picture_as(name: str, format: str) -> Make:
    def make(folder: Path) -> Path:
        Pil.fromarray(pictures.scene()).save(folder / name, format)
        return folder / name

    return make


_U32 = partial(struct.pack, ">L")
_HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://192.0.2.1/a.ts\n#EXT-X-ENDLIST\n"
_CONCAT = "ffconcat version 1.0\nfile good.mp4\n"
_SDP = "v=0\no=- 0 0 IN IP4 192.0.2.1\ns=x\nc=IN IP4 192.0.2.1\nt=0 0\nm=video 9 RTP/AVP 96\n"
_DASH = '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>'


def list_of_files(name: str, text: str) -> Make:
    def make(folder: Path) -> Path:
        clip(folder / "good.mp4")
        return data(name, text)(folder)

    return make


def whole(
    frames: int | None = FRAMES, size: tuple[int, int] | None = SIZE, warns: str | None = ""
) -> Edited:
    return Edited(frames, size, warns)


CASES: tuple[Case, ...] = (
    # -- cut short
    Case("nothing in it", data("a.mp4", b""), Refused("the file is empty")),
    Case("one byte", data("a.mp4", b"\0"), UNREADABLE),
    Case("MP4: its first box only", cut(0.002, "a.mp4"), UNREADABLE),
    Case("MP4: cut before its index", cut(0.6, "a.mp4"), UNREADABLE),
    Case("MP4: cut behind its index", cut(0.7, "a.mp4", fast=True), Edited(22, SIZE, "truncated")),
    Case("MOV: cut before its index", cut(0.5, "a.mov"), UNREADABLE),
    Case("MKV: cut", cut(0.6, "a.mkv"), Edited(21, SIZE, "truncated")),
    Case("MKV: header only", cut(0.02, "a.mkv"), Refused("ends too early")),
    Case("WebM: cut", cut(0.5, "a.webm", codec="libvpx-vp9"), Edited(19, SIZE, "truncated")),
    Case("TS: cut", cut(0.5, "a.ts"), Edited(19, SIZE)),
    Case("AVI: cut, without index", cut(0.8, "a.avi", codec="mpeg4"), Edited(None, SIZE, None)),
    Case("MPEG: cut", cut(0.5, "a.mpg", codec="mpeg2video"), Edited(17, SIZE, "damaged")),
    Case("MP4: no frame", no_packets("a.mp4"), Refused("")),
    Case("MKV: no frame", no_packets("a.mkv"), Refused("")),
    Case("AVI: no frame", no_packets("a.avi"), Refused("")),
    # -- not what its name says
    *(
        Case(f"random bytes called {suffix}", noise(f"a{suffix}"), Refused(""))
        for suffix in (".mp4", ".mkv", ".avi", ".webm", ".ts", ".mov", ".mpg", ".flv")
    ),
    Case("random bytes called .gif", noise("a.gif"), Refused("not an image of a known format"), suffix=".png"),
    Case("text", data("a.mp4", "not a video\n" * 50), Refused("")),
    Case("a web page", data("a.mp4", "<!DOCTYPE html><html>404</html>"), Refused("")),
    Case("a PNG image", picture_as("a.mp4", "png"), Refused("an image, not a video")),
    Case("a JPEG image", picture_as("a.mkv", "jpeg"), Refused("an image, not a video")),
    Case("a playlist that calls a host", data("a.mp4", _HLS), Refused("")),
    Case("a playlist by its name", data("a.m3u8", _HLS), Refused("playlist")),
    Case("a list of other files", list_of_files("a.mp4", _CONCAT), Refused("playlist")),
    Case("a session description", data("a.mp4", _SDP), Refused("")),
    Case("a DASH manifest", data("a.mpd", _DASH), Refused("")),
    Case("MP4 called MKV", renamed(plain(), "a.mkv"), whole()),
    Case("MKV called MP4", renamed(plain("a.mkv"), "a.mp4"), whole()),
    Case("without a suffix", renamed(plain(), "clip"), whole()),
    Case("an unknown suffix", renamed(plain(), "a.final"), whole()),
    Case("raw H.264", renamed(plain("a.h264"), "a.mp4"), whole()),
    Case("sound only, MP4", sound_only("a.mp4"), Refused("no video stream")),
    Case("sound only, WAV called MP4", renamed(sound_only("a.wav", "pcm_s16le"), "a.mp4"),
         Refused("no video stream")),
    Case("sound and a cover", cover_only, Refused("no video stream")),
    # -- times
    Case("one frame", plain(frames=1), whole(1)),
    Case("two frames", plain(frames=2), whole(2)),
    Case("frames at any distance",
         plain(pts=[0, 1, 5, 6, 20, 21, 22, 60, 61, 70, 99, 100], options={"bf": "0"}), whole()),
    Case("times before zero", trimmed, whole(FRAMES - 3)),
    Case("times that come twice", timed("a.mkv", [0, 1, 2, 2, 2, 3, 4]), whole(7)),
    Case("times that go back", timed("a.mkv", [0, 4, 2, 6, 5, 10, 8]), whole(7, warns="timestamps go back")),
    Case("all times the same", timed("a.mkv", [0] * 6), whole(6)),
    Case("a gap of ten hours", timed("a.mkv", [0, 1, 2, 900_000, 900_001]), whole(5)),
    Case("a gap of a month", timed("a.mkv", [0, 1, 65_000_000]), Refused("IP2P_MAX_HOURS")),
    Case("a late start", timed("a.mkv", [300_000, 300_001, 300_002]), whole(3)),
    Case("a clock that begins again", restarted_clock, whole(2 * FRAMES)),
    Case("a size that changes", changing_size, Edited(2 * FRAMES, SIZE, "size changes")),
    Case("a time base of nanoseconds",
         plain("a.mov", time_base=Fraction(1, 1_000_000_000), rate=25,
               pts=[n * 40_000_000 for n in range(FRAMES)]), whole(warns=None)),
    # -- shapes and samples
    *(
        Case(f"turned by {turn}", plain(rotation=turn), whole(size=size))
        for turn, size in ((90, (32, 48)), (180, SIZE), (-90, (32, 48)), (45, None))
    ),
    *(
        Case(f"pixels of {sar}", plain(sar=sar), whole())
        for sar in (Fraction(1, 255), Fraction(255, 1), Fraction(64, 45))
    ),
    *(
        Case(f"{w} x {h}", frames_in("a.mov", "png", "rgb24", size=(w, h)),
             whole(size=(w, h), warns=warns))
        for w, h, warns in (
            (1, 1, "odd side"), (1, 40, "odd side"), (40, 1, "odd side"), (33, 31, "odd side"),
            (17, 16, "odd side"), (2, 2, "RGB colour resolution becomes 4:2:0"),
        )
    ),
    *(
        Case(
            f"samples of {pix_fmt}",
            frames_in("a.mov" if codec in ("png", "exr") else "a.mkv", codec, pix_fmt),
            whole(warns=warns),
        )
        for codec, pix_fmt, warns in (
            ("ffv1", "gray", ""),
            ("ffv1", "gray16le", "16-bit"),
            ("ffv1", "yuv410p", ""),
            ("ffv1", "yuva420p", ""),
            ("ffv1", "yuv444p16le", "16-bit"),
            ("libx264", "yuv420p10le", "10-bit"),
            ("libx264", "yuv422p", "4:2:2"),
            ("libx264rgb", "rgb24", "RGB"),
            ("png", "rgba", "RGB"),
            ("png", "monob", ""),
            ("mjpeg", "yuvj444p", "4:4:4"),
            ("rawvideo", "uyvy422", "4:2:2"),
            ("rawvideo", "nv12", ""),
            ("prores_ks", "yuva444p10le", "4:4:4"),
            ("exr", "gbrpf32le", None),
        )
    ),
    Case("interlaced", frames_in("a.mkv", "mpeg2video", "yuv420p", options={"flags": "+ildct"}),
         whole(warns=None)),
    Case("HDR10", plain(transfer=16, matrix=9), whole(warns="HDR10 (PQ) becomes SDR")),
    Case("HLG", plain(transfer=18, matrix=9), whole(warns="HDR (HLG) becomes SDR")),
    Case("GIF of one frame", gif(1), whole(1, (16, 16), "only read"), suffix=".png"),
    Case("GIF without delays", gif(5, duration=0), whole(5, (16, 16), None)),
    Case("GIF of 90 frames", gif(90, (8, 8)), whole(90, (8, 8), None)),
    # -- headers that promise too much
    Case("MP4: lasts for years", edited_bytes(patch(b"mdhd", 16, b"\x7f\xff\xff\xff")),
         whole()),
    Case("MP4: the film lasts for years", edited_bytes(patch(b"mvhd", 16, b"\x7f\xff\xff\xff")),
         whole(warns=None)),
    Case("MP4: no time scale", edited_bytes(patch(b"mdhd", 12, bytes(4))), NO_FRAME),
    Case("MP4: each frame lasts for hours",
         edited_bytes(patch(b"stts", 12, b"\x7f\xff\xff\xff")), whole(1, warns=None)),
    Case("MP4: four billion frames", edited_bytes(patch(b"stsz", 8, b"\xff\xff\xff\xff")),
         Refused("")),
    Case("MP4: frames behind the end", edited_bytes(patch(b"stco", 8, b"\x7f\xff\xff\xff")),
         NO_FRAME),
    Case("MP4: boxes of no end", edited_bytes(patch(b"moov", -8, b"\xff\xff\xff\xff")),
         whole(None, warns=None)),
    Case("MP4: a box of no size", edited_bytes(patch(b"trak", -8, _U32(0))), whole()),
    Case("MP4: 65535 pixels a side by its track", edited_bytes(patch(b"tkhd", 76, b"\xff" * 8)),
         whole(warns=None)),
    Case("MP4: a huge frame by its sample table", edited_bytes(patch(b"avc1", 24, b"\xff" * 4)),
         whole(warns=None)),
    Case("MP4: an unknown codec", edited_bytes(lambda c: c.__setitem__(slice(None), bytes(c).replace(b"avc1", b"zzzz"))),
         Refused("codec is not supported")),
    Case("frames of 16383 x 16383, JPEG", huge_frames("a.avi", "mjpeg"), NO_FRAME),
    Case("frames of 32000 x 32000, PNG", huge_frames("a.mov", "png"), NO_FRAME),
    Case("GIF of 65535 x 65535", huge_gif(65535), Refused("IP2P_MAX_PIXELS"), suffix=".png"),
    Case("GIF of 12000 x 12000", huge_gif(12000, 2), Refused("IP2P_MAX_FRAME_PIXELS")),
    Case("300 sound streams", many_streams(300), Refused("IP2P_MAX_STREAMS")),
    Case("300 subtitle streams", many_streams(300, "subtitle"), Refused("IP2P_MAX_STREAMS")),
    Case("20 sound streams without sound", many_streams(20), whole(4, warns=None)),
    Case("two videos in one", two_videos, whole(warns="other video")),
    # -- damage
    Case("all media data are random, as if encrypted", edited_bytes(spoil(1.0)), NO_FRAME),
    Case("a third of the media data is random", edited_bytes(spoil(0.3, 0.4), frames=24),
         whole(None, warns="damaged")),
    Case("the first frame is damaged", edited_bytes(spoil(0.1, 0.0)), whole(None, warns=None)),
    Case("media data are zeros",
         edited_bytes(lambda c: c.__setitem__(slice(60, 2000), bytes(1940))),
         whole(None, warns=None)),
    # -- no plain files
    Case("a named pipe", fifo, Refused("not a regular file")),
    Case("a socket", bound_socket, Refused("not a regular file")),
    Case("a device", link_to("/dev/zero"), Refused("not a regular file")),
    Case("a link to nowhere", link_to("nowhere.mp4"), Refused("no such file")),
    Case("a link to itself", link_to("a.mp4"), Refused("symbolic links")),
    Case("a file without read permission", read_error, Refused("ermission denied"), root_can=True),
    Case("a folder called a.mp4", lambda folder: _folder(folder / "a.mp4"), Refused("no images")),
    # -- names
    Case("a name of two lines", named("a\nb.mp4"), whole()),
    Case("a name with a bell and an escape", named("a\a\x1b[31mb.mp4"), whole()),
    Case("a name that is not UTF-8", named(b"caf\xe9.mp4"), Refused("not UTF-8")),
    Case("a name of 255 bytes", named("n" * 251 + ".mp4"), whole()),
    Case("a name that begins with a dash", named("-o.mp4"), whole()),
    Case("a name that ends with a space", named("a.mp4 "), whole()),
    Case("a name like a pattern", named("a%03d.mp4"), whole()),
    Case("a name like an address", named("http:a.mp4"), whole()),
)  # fmt: skip


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
