"""Records that workers write into the job folder: leases, attempts, receipts, failures, results."""

from __future__ import annotations

import msgspec

from .codec import ChunkId, FrozenStruct


class ComputeProfile(FrozenStruct, frozen=True, kw_only=True):
    """What decides the last bits of a result beside the job itself.

    Workers of one identity give the same bits. The first that begins a chunk of a job fixes the
    job's, in ``compute-profile.json``.

    Attributes:
        model: of the weights, 16 hexadecimal digits; see ``editing/compute_profile.py``.
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


class WorkerInfo(FrozenStruct, frozen=True, kw_only=True):
    """Who did it: host, process and what it computes with.

    Attributes:
        model: :attr:`ComputeProfile.model`.
        compute_profile: None before a model is loaded, and where there is none.
    """

    host: str
    pid: int
    device: str = ""
    torch: str = ""
    model: str = ""
    compute_profile: ComputeProfile | None = None


class InferenceConfig(FrozenStruct, frozen=True, kw_only=True):
    """How the workers of a job call its model; found by the first, kept to by all.

    Attributes:
        batch_size: frames in one UNet call; 0 is the device's own default.
        border_batch: the same for borders, of which there are few at a time; 0 is no other.
        compiled: whether the UNet goes through ``torch.compile``.
    """

    batch_size: int = 0
    border_batch: int = 0
    compiled: bool = False


class ItemResult(FrozenStruct, frozen=True, kw_only=True):
    """What became of one picture; ``error`` is empty when all went well."""

    index: int
    error: str = ""
    warning: str = ""


class Receipt(FrozenStruct, frozen=True, kw_only=True):
    """Proof on disk that a chunk is finished.

    Attributes:
        digest: SHA-256 of the segment or border file; of the outputs' digests for stills.
        seconds: wall time by stage (``load``, ``decode``, ``edit``, ``encode``, ``total``), and
            ``idle``: while the editor, and with it its device, had nothing to do.
        items: results of a ``stills`` chunk.
        warnings: one line each ("frame 17 did not decode; frame 16 stands in for it").
        mismatches: how the worker differs from the job's identity, where that is allowed.
    """

    chunk: ChunkId
    fingerprint: str
    frames: int
    digest: str
    seconds: dict[str, float] = msgspec.field(default_factory=dict)
    worker: WorkerInfo
    finished: float
    items: tuple[ItemResult, ...] = ()
    warnings: tuple[str, ...] = ()
    mismatches: tuple[str, ...] = ()


class Heartbeat(FrozenStruct, frozen=True, kw_only=True):
    """A chunk in the hands of a worker; rewritten as frames get done (at most once a second).

    Attributes:
        done: frames finished so far.
        at: seconds since the epoch of the last sign of life.
    """

    chunk: ChunkId
    worker: WorkerInfo
    done: int
    at: float


class Attempt(FrozenStruct, frozen=True, kw_only=True):
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


class Failure(FrozenStruct, frozen=True, kw_only=True):
    """Why a chunk could not be done, after its last attempt."""

    chunk: ChunkId
    error: str
    message: str
    hint: str = ""
    attempts: int = 1
    worker: WorkerInfo | None = None


class Refusal(FrozenStruct, frozen=True, kw_only=True):
    """A worker that does no chunk of the job, since it would give other bits.

    Attributes:
        node: the worker's name in Celery.
        mismatches: how it differs from the job's identity.
    """

    node: str
    worker: WorkerInfo
    mismatches: tuple[str, ...]


class Result(FrozenStruct, frozen=True, kw_only=True):
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
