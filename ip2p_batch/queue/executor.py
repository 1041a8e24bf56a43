"""Executor protocol: where the scheduler sends the chunks of a wave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..jobs.folder import JobFolder
from ..jobs.plan import Chunk
from ..jobs.records import Held

#: The name under which assembly leaves its failure, beside the chunks' own.
ASSEMBLY = "assemble"


class Executor(Protocol):
    """Runs chunks, in this process or through Celery."""

    def submit(self, job: JobFolder, chunks: Sequence[Chunk]) -> None:
        """Hand chunks over. Handing one over twice does no harm."""
        ...

    def assemble(self, job: JobFolder) -> None:
        """Hand over the joining of the finished job."""
        ...

    def poll(self, seconds: float) -> None:
        """Let time pass; an executor without workers of its own works meanwhile."""
        ...

    def queued(self) -> int:
        """Messages handed over and not finished, as far as the executor knows."""
        ...

    def held(self, job: JobFolder) -> Held:
        """Which of them are of this job."""
        ...

    def width(self) -> int:
        """Chunks of one job that may be in flight at once; see ``scheduler/inflight.py``."""
        ...
