"""Write small test videos of numbered frames, with unusual properties where a test needs them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np

import ip2p_batch
from ip2p_batch.jobs.video_facts import ColorFacts
from ip2p_batch.media.hdr import curves
from ip2p_batch.media.video.deep_color import from_rgb48

#: The clip that the package ships.
DEMO = Path(ip2p_batch.__file__).parent / "demo" / "clip.mp4"
#: Number of blocks across the top of a frame that encode its number in binary.
BITS = 8
_RANGES = {False: 1, True: 2}
_SWS = {1: 1, 5: 5, 6: 5, 9: 9}


def picture(number: int, width: int = 64, height: int = 64) -> np.ndarray:
    """Draw a frame with its number: white blocks for ones, on a moving ramp."""
    y, x = np.mgrid[0:height, 0:width]
    red = 30 + 150 * ((x + 2 * number) % width) / width
    green = 40 + 150 * y / height
    image = np.stack([red, green, np.full((height, width), 90.0)], -1).astype(np.uint8)
    edge = width // BITS
    for bit in range(BITS):
        value = 240 if number >> bit & 1 else 10
        image[: height // 3, bit * edge : (bit + 1) * edge] = value
    return image


def number(image: np.ndarray) -> int:
    """Read the number that :func:`image` drew from a decoded frame."""
    height, width = image.shape[:2]
    edge = width // BITS
    row = image[height // 6]
    return sum((int(row[bit * edge + edge // 2].mean()) > 125) << bit for bit in range(BITS))


def make(
    path: Path,
    frames: int = 20,
    *,
    size: tuple[int, int] = (64, 64),
    rate: int | Fraction = 25,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    gop: int = 12,
    pix_fmt: str = "yuv420p",
    matrix: int | None = 1,
    tag: bool = True,
    full_range: bool = False,
    rotation: int = 0,
    mirror: bool = False,
    sar: Fraction | None = None,
    transfer: int | None = None,
    primaries: int | None = None,
    audio: str | None = None,
    subtitles: bool = False,
    chapters: bool = False,
    metadata: dict[str, str] | None = None,
    image=picture,
    container: str | None = None,
) -> Path:
    """Write a video of numbered frames.

    Args:
        pts: times of the frames in ``time_base``; evenly spaced by default.
        matrix: H.273 code of the matrix that converts the samples; None for RGB formats.
        tag: whether the file names the matrix and range.
        rotation: counterclockwise degrees in the display matrix.
        mirror: whether the display matrix then mirrors left to right.
    """
    base = time_base or 1 / Fraction(rate)
    with av.open(str(path), "w", format=container) as target:
        video = target.add_stream(codec, rate=rate, options={"crf": "4"} | (options or {}))
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        context = video.codec_context
        video.time_base = context.time_base = base
        context.gop_size = gop
        context.thread_count = 1
        if sar:
            context.sample_aspect_ratio = sar
        if tag and matrix is not None:
            context.colorspace, context.color_range = matrix, _RANGES[full_range]
        if transfer is not None:
            context.color_trc = transfer
        if primaries is not None:
            context.color_primaries = primaries
        if rotation or mirror:
            video.set_display_rotation(rotation, hflip=mirror)
        sound = _sound_stream(target, audio)
        captions = (
            target.add_mux_stream("subrip" if path.suffix == ".mkv" else "mov_text")
            if (subtitles)
            else None
        )
        target.metadata.update(metadata or {})
        if chapters:
            target.set_chapters(
                [
                    {
                        "id": n,
                        "start": n * 400,
                        "end": (n + 1) * 400,
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": f"part {n}"},
                    }
                    for n in range(2)
                ]
            )
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(image(index, *size), format="rgb24")
            if matrix is None:
                frame = frame.reformat(format=pix_fmt)
            else:
                frame = frame.reformat(
                    format=pix_fmt,
                    dst_colorspace=_SWS[matrix],
                    src_color_range=2,
                    dst_color_range=_RANGES[full_range],
                )
            frame.pts = pts[index] if pts is not None else index
            frame.time_base = base
            target.mux(video.encode(frame))  # type: ignore[arg-type]
        target.mux(video.encode(None))
        if sound is not None:
            _write_sound(target, sound, float(frames / rate))
        if captions is not None:
            for n in range(2):
                packet = av.Packet(_caption(f"line {n}", path.suffix))
                packet.stream, packet.time_base = captions, Fraction(1, 1000)
                packet.pts = packet.dts = n * 400
                packet.duration = 300
                target.mux(packet)
    return path


def ramp(number: int, width: int = 64, height: int = 64, bits: int = 10) -> np.ndarray:
    """Limited-range luma of a smooth ramp; neighbours differ by one step of ``bits``."""
    y, x = np.mgrid[0:height, 0:width]
    return ((200 << (bits - 10)) + number + x + 2 * y).astype(np.uint16)


def make_deep(
    path: Path,
    frames: int = 8,
    *,
    size: tuple[int, int] = (64, 64),
    codec: str = "ffv1",
    pix_fmt: str = "yuv420p10le",
    options: dict[str, str] | None = None,
    rotation: int = 0,
    luma=ramp,
) -> Path:
    """Write a grey video of more than 8 bits a sample.

    Args:
        luma: gives a frame's samples by its number, width, height and bits. All planes of an RGB
            format get them; chroma planes are neutral.
    """
    bits = max(component.bits for component in av.VideoFormat(pix_fmt).components)
    with av.open(str(path), "w") as target:
        video = target.add_stream(codec, rate=25, options=options or {})
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        video.time_base = video.codec_context.time_base = Fraction(1, 25)
        video.codec_context.thread_count = 1
        if not av.VideoFormat(pix_fmt).is_rgb:
            video.codec_context.colorspace, video.codec_context.color_range = 1, 1
        if rotation:
            video.set_display_rotation(rotation)
        for number in range(frames):
            frame = av.VideoFrame(*size, pix_fmt)
            for index, plane in enumerate(frame.planes):
                samples = np.full((plane.height, plane.line_size // 2), 1 << (bits - 1), np.uint16)
                if index == 0 or frame.format.is_rgb:
                    samples[:, : plane.width] = luma(number, *size, bits)
                plane.update(samples.tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 25)
            target.mux(video.encode(frame))  # type: ignore[arg-type]
        target.mux(video.encode(None))
    return path


def hdr_light(x: int, width: int = 64) -> float:
    """Light in cd/m2 of the grey ramp in the lower half of :func:`make_hdr`'s frames."""
    return float(1000 * (x / (width - 1)) ** 3)


def make_hdr(
    path: Path,
    frames: int = 3,
    *,
    transfer: int = 16,
    size: tuple[int, int] = (64, 64),
    codec: str = "ffv1",
    pix_fmt: str = "yuv420p10le",
    options: dict[str, str] | None = None,
) -> Path:
    """Write an HDR video: colours of BT.2020 above, and a grey ramp up to 1000 cd/m2 below."""
    width, height = size
    ramp = np.array([hdr_light(x, width) for x in range(width)])
    color = ColorFacts(matrix=9, primaries=9, transfer=transfer)
    with av.open(str(path), "w") as target:
        video = target.add_stream(codec, rate=25, options=options or {})
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        context = video.codec_context
        context.thread_count = 1
        context.colorspace = 0 if pix_fmt.startswith("gbr") else 9
        context.color_range = 2 if pix_fmt.startswith("gbr") else 1
        context.color_primaries, context.color_trc = 9, transfer
        for number in range(frames):
            light = np.repeat(np.tile(ramp, (height, 1))[..., None], 3, 2)
            light[: height // 2] *= (0.9, 0.3 + 0.1 * number, 0.1)
            if transfer == 16:
                signal = curves.light_to_pq(light)
            else:
                luma = (light / 1000) @ curves.luma_weights(9)
                scene = light / 1000 * np.maximum(luma, 1e-9)[..., None] ** (1 / 1.2 - 1)
                signal = curves.scene_to_hlg(scene)
            image = np.rint(65535 * np.clip(signal, 0, 1)).astype(np.uint16)
            frame = cast(av.VideoFrame, from_rgb48(image, color, pix_fmt))
            frame.pts, frame.time_base = number, Fraction(1, 25)
            target.mux(video.encode(frame))  # type: ignore[arg-type]
        target.mux(video.encode(None))
    return path


def cutout(number: int, width: int = 64, height: int = 64, hidden: int = 0) -> np.ndarray:
    """An RGBA frame: a disc with a soft rim; ``hidden`` is the value of colours under opacity 0."""
    y, x = np.mgrid[0:height, 0:width]
    distance = np.hypot(x - width / 2, y - height / 2)
    alpha = np.clip((min(width, height) * 0.4 - distance) * 40 + 2 * number, 0, 255)
    image = np.dstack([picture(number, width, height), alpha.astype(np.uint8)])
    image[image[..., 3] == 0, :3] = hidden
    return image


def make_rgba(
    path: Path,
    frames: int = 4,
    *,
    size: tuple[int, int] = (64, 64),
    codec: str = "ffv1",
    pix_fmt: str = "bgra",
    options: dict[str, str] | None = None,
    image=cutout,
) -> Path:
    """Write a video with transparency.

    Args:
        image: gives a frame's RGBA pixels by its number, width and height.
    """
    with av.open(str(path), "w") as target:
        video = target.add_stream(codec, rate=25, options=options or {})
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        video.codec_context.thread_count = 1
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(image(number, *size), format="rgba")
            frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            target.mux(video.encode(frame))  # type: ignore[arg-type]
        target.mux(video.encode(None))
    return path


def first_planes(path: Path) -> list[np.ndarray]:
    """Samples of the first plane of every frame, of a format of more than 8 bits."""
    with av.open(str(path)) as container:
        planes = [frame.planes[0] for frame in container.decode(video=0)]
        return [
            np.frombuffer(bytes(plane), np.uint16).reshape(plane.height, -1)[:, : plane.width]
            for plane in planes
        ]


def frames_of(path: Path) -> list[tuple[int, np.ndarray]]:
    """Return ``(pts, RGB pixels)`` of every frame, decoded from the beginning."""
    with av.open(str(path)) as container:
        return [(f.pts, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def images_of(path: Path) -> list[np.ndarray]:
    """RGB pixels of every frame, decoded from the beginning."""
    return [image for _, image in frames_of(path)]


def payloads(path: Path, kind: str) -> list[bytes]:
    """Return the bytes of every packet of the first stream of ``kind``."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [bytes(p) for p in container.demux(stream) if p.size]


def _caption(text: str, suffix: str) -> bytes:
    data = text.encode()
    return data if suffix == ".mkv" else len(data).to_bytes(2, "big") + data


def _sound_stream(target, codec: str | None):
    if codec is None:
        return None
    stream = target.add_stream(codec, rate=48000)
    stream.codec_context.layout = "mono"
    stream.metadata["language"] = "eng"
    return stream


def _write_sound(target, stream, seconds: float) -> None:
    context = stream.codec_context
    kind_of = context.format.name if context.format else "fltp"
    size = context.frame_size or 1024
    total = int(seconds * 48000)
    for start in range(0, total, size):
        t = np.arange(start, min(start + size, total)) / 48000
        wave = np.sin(2 * np.pi * 440 * t) * 0.3
        if kind_of.startswith("flt"):
            samples = wave.astype(np.float32)[None]
        else:
            kind = np.int32 if kind_of.startswith("s32") else np.int16
            samples = (wave * np.iinfo(kind).max).astype(kind)[None]
        frame = av.AudioFrame.from_ndarray(samples, format=kind_of, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        target.mux(stream.encode(frame))
    target.mux(stream.encode(None))
