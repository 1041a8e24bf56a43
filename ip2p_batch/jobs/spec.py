"""The job and its parts as pure data, with one JSON codec for all of them.

Frame and item ranges are half-open everywhere: ``[start, stop)``.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from ..recipe import Recipe
from .codec import FrozenStruct

Rational = tuple[int, int]
#: Whose chunks go first where several jobs share a queue.
Priority = Literal["high", "normal", "low"]


class ColorFacts(FrozenStruct, frozen=True, kw_only=True):
    """How a video's samples become RGB. Values are ITU-T H.273 code points.

    Attributes:
        matrix: matrix coefficients to convert with (1 BT.709, 5/6 BT.601, 9 BT.2020), after
            the rule for untagged files has been applied.
        full_range: True for 0-255 samples, False for 16-235.
        primaries: colour primaries; 2 where the file does not say.
        transfer: transfer characteristics; 2 where the file does not say. 16 is PQ, 18 HLG.
        tagged: whether the file itself named the matrix.
    """

    matrix: int = 1
    full_range: bool = False
    primaries: int = 2
    transfer: int = 2
    tagged: bool = False


class VideoFacts(FrozenStruct, frozen=True, kw_only=True):
    """What a probe found out about a video's picture stream.

    Attributes:
        width, height: size in pixels as stored, before rotation.
        rotation: clockwise degrees to turn a stored frame to show it upright: 0, 90, 180, 270.
        sar: sample aspect ratio of the stored frame, ``(1, 1)`` for square.
        time_base: seconds per tick of ``pts``, as a fraction.
        frame_rate: average frames per second, as a fraction.
        frames: frames that decode (or that the container lists, where nothing was decoded).
        missing: frames that the container promised and that do not decode.
        duration: seconds.
        has_alpha, interlaced, bit_depth: of the stored samples.
        notes: what a user should know of, one line each ("10-bit video is edited in 8 bits").
    """

    width: int
    height: int
    rotation: int = 0
    sar: Rational = (1, 1)
    time_base: Rational
    frame_rate: Rational
    frames: int
    missing: int = 0
    duration: float
    codec: str
    container: str
    pix_fmt: str
    bit_depth: int = 8
    interlaced: bool = False
    has_alpha: bool = False
    color: ColorFacts = ColorFacts()
    audio_streams: int = 0
    subtitle_streams: int = 0
    notes: tuple[str, ...] = ()

    @property
    def upright(self) -> tuple[int, int]:
        """``(width, height)`` in stored pixels once turned upright."""
        return (self.height, self.width) if self.rotation % 180 else (self.width, self.height)

    @property
    def upright_sar(self) -> Rational:
        """Sample aspect ratio once turned upright."""
        return (self.sar[1], self.sar[0]) if self.rotation % 180 else self.sar


class Source(FrozenStruct, frozen=True, kw_only=True):
    """One video file, or one folder / manifest / file of pictures, with its probed facts.

    Attributes:
        path: absolute path of the file or folder.
        stamp: size and modification time, so that a changed source is noticed on resume.
        video: facts of a video; None for pictures.
        items: number of pictures found, good and bad; 0 for a video.
        start, stop: the frames to edit of a video, half-open.
    """

    path: str
    stamp: str
    video: VideoFacts | None = None
    items: int = 0
    start: int = 0
    stop: int = 0

    @property
    def noun(self) -> str:
        """What is counted: ``frame`` or ``picture``."""
        return "frame" if self.is_video else "picture"

    @property
    def is_video(self) -> bool:
        return self.video is not None


class Item(FrozenStruct, frozen=True, kw_only=True):
    """One picture of a folder or manifest.

    Attributes:
        source, output: absolute paths.
        width, height: upright size in pixels; 0 where the picture could not be opened.
        instruction, negative_prompt, seed: this picture's own; None means the recipe's.
        error: why it cannot be edited, where planning already found out.
        skipped: whether ``error`` only says that there is nothing to do (the output exists).
    """

    source: str
    output: str
    width: int = 0
    height: int = 0
    instruction: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    error: str | None = None
    skipped: bool = False


class Encoding(FrozenStruct, frozen=True, kw_only=True):
    """How results are written.

    Attributes:
        codec: video codec: ``h264``, ``hevc``, ``av1`` or ``ffv1`` (lossless).
        crf: constant rate factor of the codec, lower is better; None is the codec's default.
        format: still format (``png``, ``jpeg``, ``webp``, ``tiff``, ``bmp``, ``avif``); None
            keeps each picture's own.
        quality: still quality 1-100 for lossy formats; None is the format's default.
    """

    codec: Literal["h264", "hevc", "av1", "ffv1"] = "h264"
    crf: int | None = None
    format: Literal["png", "jpeg", "webp", "tiff", "bmp", "avif"] | None = None
    quality: int | None = None


class Job(FrozenStruct, frozen=True, kw_only=True):
    """Source + recipe + destination: everything a worker needs, stored as ``job.json``.

    Attributes:
        look: SHA-256 of the pixels in ``reference.png``, which frames look at; empty without one.
        allow_mixed_hardware: whether workers of several kinds may do it, see
        :class:`ComputeProfile`.
        priority: its place in the queue; no part of the fingerprint, since pixels do not know it.
    """

    id: str
    source: Source
    recipe: Recipe
    output: str
    encoding: Encoding = Encoding()
    overwrite: bool = False
    look: str = ""
    allow_mixed_hardware: bool = False
    priority: Priority = "normal"
    version: int = 1

    def fingerprint(self) -> str:
        """SHA-256 over all that decides the result's bytes; each receipt repeats it."""
        parts = (self.recipe, self.encoding, self.source, self.look)
        return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()
