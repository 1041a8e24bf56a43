"""The job and its parts as pure data, with one JSON codec for all of them.

Frame and item ranges are half-open everywhere: ``[start, stop)``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec

from .errors import JobError
from .recipe import Recipe

T = TypeVar("T")
Rational = tuple[int, int]
#: Chunk ids are file names: checked wherever they are read, so that none leads out of its folder.
ChunkId = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9-]{1,64}\Z")]
#: Whose chunks go first where several jobs share a queue.
Priority = Literal["high", "normal", "low"]


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
    def noun(self) -> str:
        """What is counted: ``frame`` or ``picture``."""
        return "frame" if self.is_video else "picture"

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
        mixed_workers: whether workers of several kinds may do it, see :class:`Identity`.
        priority: its place in the queue; no part of the fingerprint, since pixels do not know it.
    """

    id: str
    source: Source
    recipe: Recipe
    output: str
    encoding: Encoding = Encoding()
    overwrite: bool = False
    look: str = ""
    mixed_workers: bool = False
    priority: Priority = "normal"
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
        id: unique in the job, also the name of its files (``2-000017``).
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
        without: numbers of pictures in ``[start, stop)`` that other chunks do: those that failed
            here, and were planned again.
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
    without: tuple[int, ...] = ()

    def __len__(self) -> int:
        if self.kind == "borders":
            return len(self.borders)
        return self.stop - self.start - len(self.without)

    @property
    def edited(self) -> int:
        """Frames or pictures that are edited for it, with those beyond its ends."""
        return max(len(self), self.reach[1] - self.reach[0])


class Groups(NamedTuple):
    """How a job's frames or pictures come to its editors: so many at a time, so often.

    Attributes:
        frames: of chunks that end up in the output.
        borders: of wave 1.
    """

    frames: Mapping[int, int]
    borders: Mapping[int, int]

    @property
    def total(self) -> int:
        """Frames that are edited to their end, with those beyond their chunks' ends."""
        return sum(size * count for size, count in self.frames.items())


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

    def largest(self, recipe: Recipe) -> tuple[int, int]:
        """``(width, height)`` at which frames are edited; of mixed stills, the most it may be."""
        return self.size if all(self.size) else (recipe.size, recipe.size)

    def groups(self) -> Groups:
        """How many frames are edited together, and how often."""
        frames, borders = Counter[int](), Counter[int]()
        for chunk in self.chunks:
            found = borders if chunk.kind == "borders" else frames
            found[chunk.edited] += 1
        return Groups(frames, borders)

    @property
    def waves(self) -> int:
        return max((c.wave for c in self.chunks), default=0)

    def wave(self, number: int) -> tuple[Chunk, ...]:
        return tuple(c for c in self.chunks if c.wave == number)

    @property
    def left_out(self) -> dict[str, tuple[int, ...]]:
        """By chunk: the pictures of its range that others do, whatever its receipt says."""
        return {c.id: c.without for c in self.chunks if c.without}

    @property
    def weights(self) -> dict[str, int]:
        """By chunk: the frames or pictures that it brings into the output."""
        return {c.id: len(c) for c in self.chunks if c.kind != "borders"}

    @property
    def frames(self) -> int:
        """Frames or pictures that end up in the output."""
        return sum(self.weights.values())


class Identity(_Data, frozen=True, kw_only=True):
    """What decides the last bits of a result beside the job itself.

    Workers of one identity give the same bits. The first that begins a chunk of a job fixes the
    job's, in ``identity.json``.

    Attributes:
        model: of the weights, 16 hexadecimal digits; see ``edit/numerics.py``.
        device: kind of device: the GPU's name, or ``cpu`` with maker and instruction sets.
        dtype: precision of the weights in use.
        threads: torch threads on a CPU; 0 on a GPU.
    """

    model: str
    torch: str
    diffusers: str
    device: str
    dtype: str
    threads: int = 0


class WorkerInfo(_Data, frozen=True, kw_only=True):
    """Who did it: host, process and what it computes with.

    Attributes:
        model: :attr:`Identity.model`.
        identity: None before a model is loaded, and where there is none.
    """

    host: str
    pid: int
    device: str = ""
    torch: str = ""
    model: str = ""
    identity: Identity | None = None


class Tuning(_Data, frozen=True, kw_only=True):
    """How the workers of a job call its model; found by the first, kept to by all.

    Attributes:
        batch_size: frames in one UNet call; 0 is the device's own default.
        border_batch: the same for borders, of which there are few at a time; 0 is no other.
        compiled: whether the UNet goes through ``torch.compile``.
    """

    batch_size: int = 0
    border_batch: int = 0
    compiled: bool = False


class ItemResult(_Data, frozen=True, kw_only=True):
    """What became of one picture; ``error`` is empty when all went well."""

    index: int
    error: str = ""
    warning: str = ""


class Receipt(_Data, frozen=True, kw_only=True):
    """Proof on disk that a chunk is finished.

    Attributes:
        digest: SHA-256 of the segment or border file; of the outputs' digests for stills.
        seconds: wall time by stage (``load``, ``decode``, ``edit``, ``encode``, ``total``), and
            ``idle``: while the editor, and with it its device, had nothing to do.
        items: results of a ``stills`` chunk.
        warnings: one line each ("frame 17 did not decode; frame 16 stands in for it").
        unlike: how the worker differs from the job's identity, where that is allowed.
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
    unlike: tuple[str, ...] = ()


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


class Held(NamedTuple):
    """Messages of one job that a queue has: ids of their chunks, None for assembly.

    Attributes:
        waiting: taken by nobody yet.
        in_hand: taken by a worker, which may have died since.
    """

    waiting: frozenset[str | None]
    in_hand: frozenset[str | None]


class Attempt(_Data, frozen=True, kw_only=True):
    """One try at a chunk; its number, from 1, stands in its file's name.

    Attributes:
        part: numbers of the frames or pictures in hand, noted once an earlier attempt broke off;
            empty before the first and after the last of them.
        at: seconds since the epoch when it began.
    """

    chunk: ChunkId
    worker: WorkerInfo
    part: tuple[int, ...] = ()
    at: float


class Failure(_Data, frozen=True, kw_only=True):
    """Why a chunk could not be done, after its last attempt."""

    chunk: ChunkId
    error: str
    message: str
    hint: str = ""
    attempts: int = 1
    worker: WorkerInfo | None = None


class Refusal(_Data, frozen=True, kw_only=True):
    """A worker that does no chunk of the job, since it would give other bits.

    Attributes:
        node: the worker's name in Celery.
        unlike: how it differs from the job's identity.
    """

    node: str
    worker: WorkerInfo
    unlike: tuple[str, ...]


class Result(_Data, frozen=True, kw_only=True):
    """How a job ended; written last, as ``result.json``.

    Attributes:
        frames: frames or pictures in the output.
        seconds: wall time in which it was worked at, over all sessions of work.
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
    "assembling", "done", "failed", "cancelled", "paused", "unpaused", "training",
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
