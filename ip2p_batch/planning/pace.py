"""Time and disk space of a job, from the measured pace of an earlier one with the same settings.

The pace of a model on a device is not known before it ran there. A finished job on local workers
records it; :func:`estimate` finds it for a planned job.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec

from ..errors import Ip2pError, OutputError
from ..jobs.codec import FrozenStruct
from ..jobs.folder import JobFolder
from ..jobs.plan import Plan
from ..jobs.records import Receipt
from ..jobs.spec import Item, Job
from ..storage.atomic import write_atomic

#: Fewer frames or images say little about the pace.
MIN_FRAMES = 8
#: Recorded paces; the oldest are dropped.
_MOST_PACES = 200
#: Images whose size is looked at.
_SAMPLE = 200
#: Recipe fields that do not change the work.
_WITHOUT_EFFECT = ("instruction", "negative_prompt", "seed", "lora")


class Pace(FrozenStruct, frozen=True, kw_only=True):
    """What a finished job measured.

    Attributes:
        fps: frames or images per second of all its workers together, without start and loading.
        start_seconds: from the start of the run to the first frame, with loading.
        bytes_per_pixel: of the result.
        workers: processes that edited.
        device: as in the job's compute profile; empty for an editor without a model.
        at: seconds since the epoch.
    """

    fps: float
    start_seconds: float
    bytes_per_pixel: float
    workers: int
    device: str = ""
    at: float


class Estimate(FrozenStruct, frozen=True, kw_only=True):
    """The estimated cost of a planned job.

    Attributes:
        seconds: from the start of the command to the finished result.
        result_bytes: size of the result.
        work_bytes: free space that the job needs at once: the result, and for a video also the
            segments in the job folder.
        pace: the measurement behind it.
    """

    seconds: float
    result_bytes: float
    work_bytes: float
    pace: Pace


def estimate(job: Job, plan: Plan, items: Iterable[Item], cache: Path | None) -> Estimate | None:
    """Estimate a planned job; None where no job with the same settings was measured.

    Args:
        items: of the plan; empty for a video.
        cache: folder of the recorded paces.
    """
    pixels = _pixels(job, items)
    pace = _read(cache).get(_key(job, plan, pixels))
    if pace is None or not plan.frames:
        return None
    result = pace.bytes_per_pixel * pixels * plan.frames
    return Estimate(
        seconds=pace.start_seconds + plan.frames / pace.fps,
        result_bytes=result,
        work_bytes=result * (2 if job.source.is_video else 1),
        pace=pace,
    )


def record(folder: JobFolder, started: float, cache: Path | None) -> None:
    """Record the pace of a job that ended. A job that cannot be measured is left out.

    Args:
        started: when its run began, in seconds since the epoch.
        cache: folder of the recorded paces; None records nothing.
    """
    with suppress(Ip2pError, OSError):
        job, plan = folder.job(), folder.plan()
        receipts = [r for r in folder.receipts.all() if r.finished >= started]
        pace = measure(plan, receipts, started)
        if cache is None or pace is None or len(receipts) < len(plan.chunks):
            return
        pixels = _pixels(job, folder.items())
        pace = msgspec.structs.replace(
            pace,
            bytes_per_pixel=_frame_bytes(job, plan, folder.items()) / max(1.0, pixels),
            device=profile.device if (profile := folder.hardware.profile()) is not None else "",
        )
        known = {**_read(cache), _key(job, plan, pixels): pace}
        newest = sorted(known, key=lambda key: known[key].at)[-_MOST_PACES:]
        write_atomic(
            _file(cache), msgspec.json.encode({k: known[k] for k in newest}), durable=False
        )


def measure(plan: Plan, receipts: Iterable[Receipt], started: float) -> Pace | None:
    """The pace of a run from its receipts; None where it was too short to say.

    Loading is part of the first chunk of each worker, and all workers load at the same time.

    >>> measure(Plan(chunks=()), [], 0.0) is None
    True
    """
    receipts = list(receipts)
    if not receipts or plan.frames < MIN_FRAMES:
        return None
    loading = max(r.seconds.get("load", 0.0) for r in receipts)
    begun = min(r.finished - r.seconds.get("total", 0.0) for r in receipts)
    work = max(r.finished for r in receipts) - begun - loading
    if work <= 0:
        return None
    return Pace(
        fps=plan.frames / work,
        start_seconds=max(0.0, begun - started) + loading,
        bytes_per_pixel=0.0,
        workers=len({(r.worker.host, r.worker.pid) for r in receipts}),
        at=time.time(),
    )


def free_bytes(path: Path) -> int | None:
    """Free disk space where ``path`` will be; None where the system does not say."""
    for folder in (path, *path.parents):
        with suppress(OSError):
            return shutil.disk_usage(folder).free
    return None


def _key(job: Job, plan: Plan, pixels: float) -> str:
    """Equal for jobs whose frames take the same time."""
    recipe = msgspec.to_builtins(job.recipe)
    work = {name: value for name, value in recipe.items() if name not in _WITHOUT_EFFECT}
    work["reference_image"] = job.recipe.reference_image is not None
    # Full-size work follows the source's size; a step of 1.4 in pixels is one key.
    size = round(2 * math.log2(max(1.0, pixels)))
    parts = (work, plan.size, size, job.source.is_video, job.encoding)
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:32]


def _pixels(job: Job, items: Iterable[Item]) -> float:
    """Pixels of a frame, or the mean of the first images."""
    if job.source.video is not None:
        return float(math.prod(job.source.video.upright))
    editable = (item for item in items if item.error is None)
    sizes = [item.width * item.height for item in islice(editable, _SAMPLE)]
    return sum(sizes) / len(sizes) if sizes else 0.0


def _frame_bytes(job: Job, plan: Plan, items: Iterable[Item]) -> float:
    """Bytes of the result for each frame; of images, the mean of the first ones."""
    if job.source.is_video:
        return Path(job.output).stat().st_size / plan.frames
    sizes = []
    for item in islice((item for item in items if item.error is None), _SAMPLE):
        with suppress(OSError):
            sizes.append(Path(item.output).stat().st_size)
    return sum(sizes) / len(sizes) if sizes else 0.0


def _file(cache: Path) -> Path:
    return cache / "paces.json"


def _read(cache: Path | None) -> dict[str, Pace]:
    if cache is None:
        return {}
    try:
        return msgspec.json.decode(_file(cache).read_bytes(), type=dict[str, Pace])
    except (OSError, msgspec.DecodeError, OutputError):
        return {}
