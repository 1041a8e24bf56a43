"""The job and its parts as pure data, with one JSON codec for all of them.

Frame and item ranges are half-open everywhere: ``[start, stop)``.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from .errors import JobError
from .recipe import Recipe

T = TypeVar("T")
Rational = tuple[int, int]
#: Chunk ids are file names: checked wherever they are read, so that none leads out of its folder.
ChunkId = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9-]{1,64}\Z")]


class _Data(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Immutable, named fields only, unknown fields refused when decoded."""


class ColorFacts(_Data, frozen=True, kw_only=True):
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


class VideoFacts(_Data, frozen=True, kw_only=True):
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


class Source(_Data, frozen=True, kw_only=True):
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
    def is_video(self) -> bool:
        return self.video is not None


class Item(_Data, frozen=True, kw_only=True):
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


class Encoding(_Data, frozen=True, kw_only=True):
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


class Job(_Data, frozen=True, kw_only=True):
    """Source + recipe + destination: everything a worker needs, stored as ``job.json``.

    Attributes:
        look: SHA-256 of the pixels in ``look.png``, which frames look at; empty without one.
    """

    id: str
    source: Source
    recipe: Recipe
    output: str
    encoding: Encoding = Encoding()
    overwrite: bool = False
    look: str = ""
    version: int = 1

    def fingerprint(self) -> str:
        """SHA-256 over all that decides the result's bytes; each receipt repeats it."""
        parts = (self.recipe, self.encoding, self.source, self.look)
        return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()


class Shot(_Data, frozen=True, kw_only=True):
    """Frames ``[start, stop)`` between two scene cuts."""

    start: int
    stop: int


class Chunk(_Data, frozen=True, kw_only=True):
    """The unit of dispatch and retry.

    Attributes:
        id: unique in the job, also the name of its files (``w2-00017``).
        kind: ``borders`` (wave 1: border latents), ``frames`` (a segment of video) or
            ``stills`` (pictures).
        wave: chunks of one wave can all run at once; waves run in order, from 1.
        start, stop: frames of the video, or lines of ``items.jsonl``, half-open.
        shot: number of the shot, from 0.
        borders: frame numbers. For ``borders``: the frames to edit. For ``frames``: those that
            its frames are tied to, in order, each to the two that it lies between; empty when
            nothing is carried.
        reach: frames of the shot, half-open, that have to be edited to make these: more than
            ``[start, stop)`` where a temporal filter looks beyond.
        anchors: frame numbers that the chunk's frames look at; where latents are carried, these
            are borders, too.
    """

    id: ChunkId
    kind: Literal["borders", "frames", "stills"]
    wave: int
    start: int
    stop: int
    shot: int = 0
    borders: tuple[int, ...] = ()
    anchors: tuple[int, ...] = ()
    reach: tuple[int, int] = (0, 0)

    def __len__(self) -> int:
        return len(self.borders) if self.kind == "borders" else self.stop - self.start


class Plan(_Data, frozen=True, kw_only=True):
    """A pure function of source facts and recipe; the number of workers appears nowhere in it.

    Attributes:
        shots: in order, covering the edited range of a video without gaps.
        chunks: in order of wave, then of frames.
        size: ``(width, height)`` at which frames are edited; ``(0, 0)`` for mixed stills.
        warnings: one line each, for the user.
    """

    shots: tuple[Shot, ...] = ()
    chunks: tuple[Chunk, ...]
    size: tuple[int, int] = (0, 0)
    warnings: tuple[str, ...] = ()

    @property
    def waves(self) -> int:
        return max((c.wave for c in self.chunks), default=0)

    def wave(self, number: int) -> tuple[Chunk, ...]:
        return tuple(c for c in self.chunks if c.wave == number)

    @property
    def frames(self) -> int:
        """Frames or pictures that end up in the output."""
        return sum(len(c) for c in self.chunks if c.kind != "borders")


class WorkerInfo(_Data, frozen=True, kw_only=True):
    """Who did it: host, process and what it computes with."""

    host: str
    pid: int
    device: str = ""
    torch: str = ""
    model: str = ""


class ItemResult(_Data, frozen=True, kw_only=True):
    """What became of one picture; ``error`` is empty when all went well."""

    index: int
    error: str = ""
    warning: str = ""


class Receipt(_Data, frozen=True, kw_only=True):
    """Proof on disk that a chunk is finished.

    Attributes:
        digest: SHA-256 of the segment or border file; of the outputs' digests for stills.
        seconds: wall time by stage (``load``, ``decode``, ``edit``, ``encode``, ``total``).
        items: results of a ``stills`` chunk.
        warnings: one line each ("frame 17 did not decode; frame 16 stands in for it").
    """

    chunk: ChunkId
    fingerprint: str
    frames: int
    digest: str
    seconds: dict[str, float] = {}
    worker: WorkerInfo
    finished: float
    items: tuple[ItemResult, ...] = ()
    warnings: tuple[str, ...] = ()


class Claim(_Data, frozen=True, kw_only=True):
    """A chunk in the hands of a worker; rewritten as frames get done (at most once a second).

    Attributes:
        done: frames finished so far.
        at: seconds since the epoch of the last sign of life.
    """

    chunk: ChunkId
    worker: WorkerInfo
    done: int
    at: float


class Failure(_Data, frozen=True, kw_only=True):
    """Why a chunk could not be done, after its last attempt."""

    chunk: ChunkId
    error: str
    message: str
    hint: str = ""
    attempts: int = 1
    worker: WorkerInfo | None = None


class Result(_Data, frozen=True, kw_only=True):
    """How a job ended; written last, as ``result.json``.

    Attributes:
        frames: frames or pictures in the output.
        seconds: wall time from the first claim to the end, over all sessions of work.
        failed: ``(path, why)`` of each picture that could not be edited.
        skipped: pictures left alone because their output was there already.
        warnings: one line each.
    """

    output: str
    frames: int
    seconds: float
    failed: tuple[tuple[str, str], ...] = ()
    skipped: int = 0
    warnings: tuple[str, ...] = ()
    finished: float

    @property
    def fps(self) -> float:
        """Frames or pictures per second of wall time."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0


EventKind = Literal[
    "planning", "planned", "started", "progress", "chunk", "warning", "failed_item",
    "assembling", "done", "failed", "cancelled", "training",
]  # fmt: skip


class Event(_Data, frozen=True, kw_only=True):
    """Something a user may want to see; one JSON object a line with ``--json``.

    Attributes:
        done, total: frames or pictures.
        stage: what ``planning`` is at ("reading frames", "finding scene cuts"), or ``training``.
        data: anything else, JSON types only.
    """

    kind: EventKind
    job: str = ""
    done: int = 0
    total: int = 0
    stage: str = ""
    message: str = ""
    data: dict[str, Any] = {}


def encode(value: Any) -> bytes:
    """JSON bytes of any of the classes above."""
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=1)


def decode(data: bytes, type_: type[T], *, what: str = "this file") -> T:
    """The reverse of :func:`encode`.

    Raises:
        JobError: ``data`` is not JSON, or not that type; unknown fields are refused.
    """
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JobError(
            f"{what} is damaged: {error}.",
            hint="Delete the job folder and run the command again.",
        ) from None


def is_json(data: bytes) -> bool:
    """Whether ``data`` is JSON at all: a file that was cut short is not."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True
