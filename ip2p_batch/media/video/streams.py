"""Find the video stream to edit, limit its frame size, and decode its packets one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import SourceError
from .. import limits
from .pyav import MEDIA_ERRORS, describe_error
from .types import CodecContext, InputContainer, Packet, Stream, VideoFrame

#: FFmpeg's demuxers for single images and for text, which it would play as videos.
_NOT_VIDEO = ("image2", "_pipe", "tty", "ico", "bin", "xbin", "adf", "idf")
#: First bytes of playlists: files that only name others, which FFmpeg would open and play.
_PLAYLISTS = (b"#EXTM3U", b"ffconcat version", b"[playlist]")


def refuse_playlist(path: Path) -> None:
    """Refuse a file that only names other files (M3U8, ffconcat, PLS).

    Raises:
        SourceError: it is one, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4096).lstrip(b"\xef\xbb\xbf \r\n\t")
    except OSError as error:
        raise SourceError(
            f"{path}: {describe_error(error)}.", path=path, hint="Check the file's permissions."
        ) from None
    if head.startswith(_PLAYLISTS):
        raise SourceError(
            f"{path}: this is a playlist, which only names other files.",
            path=path,
            hint=_playlist_hint(head),
        )


def _playlist_hint(head: bytes) -> str:
    """How to edit what a playlist names; FFmpeg joins streams of HLS, and ffconcat lists."""
    if b"#EXT-X-" in head:
        return "Join its parts first: ffmpeg -i FILE -map 0:v:0 -map '0:a:0?' -c copy NEW.mkv"
    if head.startswith(b"ffconcat"):
        return "Join its files first: ffmpeg -f concat -safe 0 -i FILE -c copy NEW.mkv"
    return "Edit the files that it names, one by one."


def video_stream(container: InputContainer, path: Path, index: int | None = None) -> Stream:
    """Return the video stream to edit.

    Args:
        index: of the stream in the file; None is the one with the default flag, and the one with
            the largest frames among several. A cover image is never returned.

    Raises:
        SourceError: there is no such stream, its codec is unknown, or the file is no video.
    """
    name = container.format.name
    if any(name == n or name.endswith(n) for n in _NOT_VIDEO):
        what = "an image" if "image2" in name or "_pipe" in name else "text"
        raise SourceError(
            f"{path}: this is {what}, not a video.",
            path=path,
            hint="To edit an image, give the file its usual suffix (.jpg, .png).",
        )
    streams = [stream for stream in container.streams.video if not is_cover(stream)]
    if not streams:
        raise SourceError(
            f"{path}: the file has no video stream.",
            path=path,
            hint="Check that this is the right file.",
        )
    stream = _main_stream(streams) if index is None else _named_stream(streams, index, path)
    if not _has_decoder(stream):
        raise SourceError(
            f"{path}: its video codec is not supported.",
            path=path,
            hint="Export it as H.264 or ProRes with the program that made it.",
        )
    return stream


def _main_stream(streams: Sequence[Stream]) -> Stream:
    """The stream with the default flag, then the one with the largest frames, then the first.

    A stream without a decoder is chosen only if no stream has one.
    """

    def rank(stream: Stream) -> tuple[bool, bool, int]:
        if not _has_decoder(stream):
            return (False, False, 0)
        is_default = bool(stream.disposition & type(stream.disposition).default)
        return (True, is_default, stream.width * stream.height)

    return max(streams, key=rank)


def _named_stream(streams: Sequence[Stream], index: int, path: Path) -> Stream:
    for stream in streams:
        if stream.index == index:
            return stream
    listed = ", ".join(_describe_size(stream) for stream in streams)
    raise SourceError(
        f"{path}: stream {index} is not a video stream of this file.",
        path=path,
        hint=f"Choose with --stream among its video streams: {listed}.",
    )


def _describe_size(stream: Stream) -> str:
    if not _has_decoder(stream):
        return f"{stream.index} (unknown codec)"
    return f"{stream.index} ({stream.codec_context.name}, {stream.width}x{stream.height})"


def _has_decoder(stream: Stream) -> bool:
    return getattr(stream, "codec_context", None) is not None


def is_cover(stream: Stream) -> bool:
    """Whether a video stream is a single cover or thumbnail image."""
    flags = type(stream.disposition)
    return bool(stream.disposition & (flags.attached_pic | flags.timed_thumbnails))


def limit_pixels(stream: Stream, path: Path, planned: int = 0) -> None:
    """Refuse frames that are too large, before the decoder starts.

    Frames that exceed the limit later in the video do not decode.

    Args:
        stream: video stream whose decoder has not started.
        planned: pixels per frame that planning has accepted already.

    Raises:
        SourceError: the header announces frames of more than ``limits.FRAME_PIXELS``.
    """
    limit = max(planned, limits.FRAME_PIXELS.value())
    context = stream.codec_context
    what = f"its frames are {context.width}x{context.height},"
    limits.FRAME_PIXELS.check(context.width * context.height, path, what, limit)
    # FFmpeg's max_pixels counts padding rows and columns, too.
    context.options = {"max_pixels": str(min(limit + limit // 4 + 65536, 2**31 - 1))}


def decode_packet(packet: Packet, decoder: CodecContext | None = None) -> list[VideoFrame]:
    """Decode one packet, with another decoder than the stream's if one is given.

    An empty list if it is damaged.

    ``container.decode()`` would stop at the first damaged packet of a file.
    """
    try:
        if decoder is not None:
            return list(decoder.decode(packet if packet.size else None))
        return list(packet.decode())
    except MEDIA_ERRORS:
        return []


def flush_decoder(stream: Stream, decoder: CodecContext | None = None) -> list[VideoFrame]:
    """Decode the frames that the decoder still holds, where a file breaks off."""
    try:
        return list((stream if decoder is None else decoder).decode(None))
    except MEDIA_ERRORS:
        return []
