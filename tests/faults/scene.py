"""A running job, as the faults of ``injections`` see it."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ip2p_batch.jobs.folder import JobFolder

from .rig import Rig, children, holders, parent, wait

Heal = Callable[[], object]
Injection = Callable[["Scene"], "tuple[Heal, float] | None"]


class Missed(Exception):
    """There was nothing to break at this moment."""


@dataclass
class Scene:
    """A running job.

    Attributes:
        own: whether the command runs a Redis and workers of its own.
        commands: commands that follow the job, the oldest first.
        outputs: the folder into which the result goes.
        storage_is_ill: while true, ``status`` may report a read error.
    """

    rig: Rig
    job: JobFolder
    chance: random.Random
    own: bool
    commands: list[subprocess.Popen[bytes]]
    outputs: Path
    start: Callable[[], subprocess.Popen[bytes]]
    storage_is_ill: bool = False
    notes: list[str] = field(default_factory=list)

    def holder(self) -> int:
        """A process that holds a chunk, or may be at the assembly; waits a little for one."""
        found: list[int] = []
        if not self.own and self.job.dispatch.assembling:
            found = [c for main in self.rig.worker_groups() for c in children(main)]
        wait(lambda: found or found.extend(holders(self.job)) or self.job.ended, 3)
        if not found:
            raise Missed
        return self.chance.choice(found)

    def worker(self) -> int:
        """Main process of the worker that holds a chunk."""
        main = parent(self.holder())
        if main <= 1:
            raise Missed
        return main

    def redis_folder(self) -> Path:
        if not self.own:
            return self.rig.redis_folder
        for path in self.rig.folder.glob("ip2p-redis-*/redis.pid"):
            return path.parent
        raise Missed

    def processes(self) -> list[int]:
        """Workers and their children."""
        if not self.own:
            return self.rig.worker_processes()
        commands = [c.pid for c in self.commands if c.poll() is None]
        found = [*commands]
        for pid in found:
            found += [child for child in children(pid) if child not in found]
        return [pid for pid in found if pid not in commands]
