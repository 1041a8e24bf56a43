"""How many worker processes this machine can run."""

from __future__ import annotations

import os
from pathlib import Path

#: Bytes that a worker needs before it loads a model. With Celery, torch, OpenCV and diffusers
#: imported, 546 MB are resident on Linux.
_WORKER_BYTES = 750 * 2**20
#: Workers for each core. More than one helps where workers wait for a GPU or a disk.
_PER_CORE = 4


def most_workers(cores: int, memory: int | None) -> int:
    """The largest sensible number of workers.

    Args:
        cores: that this process may use.
        memory: bytes available; None where the system does not say.

    >>> most_workers(2, None), most_workers(64, 8 * 2**30), most_workers(1, 0)
    (8, 10, 1)
    """
    fits = cores * _PER_CORE if memory is None else memory // _WORKER_BYTES
    return max(1, min(cores * _PER_CORE, fits))


def limited_workers(requested: int) -> tuple[int, str]:
    """The number of workers to start for a requested number, and a warning where it is smaller.

    Returns:
        The number, and one line for the user; empty if it is the requested one.
    """
    cores = available_cores()
    most = most_workers(cores, available_memory())
    if requested <= most:
        return requested, ""
    return most, (
        f"{requested} workers are more than this machine holds; {most} are started"
        f" (by {cores} cores and its free memory)."
    )


def available_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory() -> int | None:
    """Bytes of memory that new processes may use; None where the system does not say.

    The smaller of the machine's available memory and what the container's cgroup (v2) leaves.
    """
    known = [value for value in (_machine_memory(), _cgroup_memory()) if value is not None]
    return min(known, default=None)


def _machine_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    values = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return values[0] if values else None


def _cgroup_memory(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = (folder / "memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return max(0, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else None
