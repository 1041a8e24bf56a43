"""Records that workers write into the job folder: leases, attempts, receipts, failures, results."""

from __future__ import annotations

import msgspec

from ..recipe import Detail
from .codec import ChunkId, FrozenStruct


class ComputeProfile(FrozenStruct, frozen=True, kw_only=True):
    """What determines the last bits of a result, in addition to the job itself.

    Workers with equal profiles give bit-identical results. The first worker that starts a chunk
    of a job fixes the job's profile, in ``compute-profile.json``.

    Attributes:
        model: digest of the weights, 16 hexadecimal digits; see ``editing/compute_profile.py``.
        nets: digests of the control nets of the job, as ``model``; empty without nets.
        torch, diffusers: versions.
        device: the GPU's name, or ``cpu`` with vendor and instruction sets.
        dtype: precision of the weights in use.
        threads: torch threads on a CPU; 0 on a GPU.
    """

    model: str
    torch: str
    diffusers: str
    device: str
    dtype: str
    threads: int = 0
    nets: str = ""


class WorkerInfo(FrozenStruct, frozen=True, kw_only=True):
    """A worker: host, process and hardware.

    Attributes:
        model: :attr:`ComputeProfile.model`.
        compute_profile: None before a model is loaded, and for editors without a model.
    """

    host: str
    pid: int
    device: str = ""
    torch: str = ""
    model: str = ""
    compute_profile: ComputeProfile | None = None


class InferenceConfig(FrozenStruct, frozen=True, kw_only=True):
    """How all workers of a job call its model; measured by the first worker.

    Attributes:
        batch_size: frames in one UNet call; 0 is the device's default.
        border_batch: border frames in one UNet call; 0 is ``batch_size``.
        compiled: whether the UNet goes through ``torch.compile``.
    """

    batch_size: int = 0
    border_batch: int = 0
    compiled: bool = False


class ItemResult(FrozenStruct, frozen=True, kw_only=True):
    """Result of one image; ``error`` is empty where it was edited, ``warning`` has a line each."""

    index: int
    error: str = ""
    warning: str = ""


class Receipt(FrozenStruct, frozen=True, kw_only=True):
    """Proof on disk that a chunk is finished.

    Attributes:
        fingerprint: of the job, see :meth:`ip2p_batch.jobs.spec.Job.fingerprint`.
        frames: frames or images that it finished.
        digest: SHA-256 of the segment or border files; of the outputs' digests for images.
        seconds: wall time by stage (``load``, ``decode``, ``edit``, ``encode``, ``total``), and
            ``idle``: while the editor, and its device, had nothing to do.
        finished: seconds since the epoch.
        items: results of an image chunk.
        warnings: one line each ("frame 17 did not decode; frame 16 replaces it").
        mismatches: how the worker differs from the job's profile, where the job allows it.
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
    """Sign of life of the worker that edits a chunk; renewed once a second.

    Attributes:
        done: frames or images finished so far.
        at: seconds since the epoch.
    """

    chunk: ChunkId
    worker: WorkerInfo
    done: int
    at: float


class Attempt(FrozenStruct, frozen=True, kw_only=True):
    """One try at a chunk. Its number, from 1, is in its file name.

    Attributes:
        numbers: frames or images that are edited now, recorded after an earlier attempt crashed;
            empty before the first and after the last of them.
        at: seconds since the epoch when it started.
    """

    chunk: ChunkId
    worker: WorkerInfo
    numbers: tuple[int, ...] = ()
    at: float


class Failure(FrozenStruct, frozen=True, kw_only=True):
    """Why a chunk failed at its last attempt.

    Attributes:
        error: name of the error class.
        attempts: how many were made.
    """

    chunk: ChunkId
    error: str
    message: str
    hint: str = ""
    attempts: int = 1
    worker: WorkerInfo | None = None


class Refusal(FrozenStruct, frozen=True, kw_only=True):
    """A worker that edits no chunk of the job, since its results would not be bit-identical.

    Attributes:
        node: the worker's name in Celery.
        mismatches: how it differs from the job's profile.
    """

    node: str
    worker: WorkerInfo
    mismatches: tuple[str, ...]


class Superseded(FrozenStruct, frozen=True, kw_only=True):
    """A job that another one on the same output has taken the place of.

    Attributes:
        by: id of the other job.
        at: seconds since the epoch.
    """

    by: str
    at: float


class EditMethod(FrozenStruct, frozen=True, kw_only=True):
    """How the frames of a job become results of the source's size, for the user.

    Attributes:
        width, height: the edit size in pixels; the largest of both where images have several.
        one_size: whether all frames or images have that edit size.
        auto: whether the edit size was chosen by ``--size auto``.
        detail: the recipe's.
    """

    width: int
    height: int
    one_size: bool
    auto: bool
    detail: Detail


class Result(FrozenStruct, frozen=True, kw_only=True):
    """How a job ended; written last, as ``result.json``.

    Attributes:
        edit: edit size and method; None where nothing was edited.
        frames: frames or images in the output.
        seconds: wall time during which workers edited, summed over interruptions.
        failed: ``(path, reason)`` of each image that could not be edited.
        skipped: images whose output existed already.
        warnings: one line each.
    """

    output: str
    edit: EditMethod | None = None
    frames: int
    seconds: float
    failed: tuple[tuple[str, str], ...] = ()
    skipped: int = 0
    warnings: tuple[str, ...] = ()
    finished: float

    @property
    def fps(self) -> float:
        """Frames or images per second of wall time."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0
