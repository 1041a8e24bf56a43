"""One case of the fault harness: a seed's scenario, the job with its faults, and the verdict."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ip2p_batch.errors import Ip2pError

from . import injections, jobs
from .injections import FAULTS, FOLLOWED_ONLY, SHARED_ONLY
from .judge import Broken
from .rig import Rig, holders, wait
from .scene import Injection, Missed, Scene
from .witness import Witness

#: Seconds for one case, resumes included, on a very busy machine; about ten on an idle one.
LIMIT = 300
#: How often a job may be resumed before it must be finished.
RESUMES = 8


@dataclass(frozen=True, slots=True)
class Moment:
    """When a fault is injected: after some receipts and seconds, or when assembly is dispatched."""

    receipts: int
    seconds: float
    assembly: bool = False

    def __str__(self) -> str:
        if self.assembly:
            return f"at assembly +{self.seconds:.2f} s"
        return f"at receipt {self.receipts} +{self.seconds:.2f} s"


@dataclass(frozen=True, slots=True)
class Scenario:
    """The scenario of a seed.

    Attributes:
        job: name in ``jobs.KINDS``.
        workers: how many.
        way: ``resume`` (a command follows, workers exist already), ``detached`` (no command
            follows), or ``own`` (the command has a Redis and workers of its own).
    """

    seed: int
    job: str
    workers: int
    way: str
    faults: tuple[tuple[Injection, Moment], ...]

    def __str__(self) -> str:
        faults = ", ".join(f"{f.__name__} {moment}" for f, moment in self.faults)
        return f"seed {self.seed}: {self.job}, {self.workers} workers, {self.way}: {faults}"


def scenario(seed: int) -> Scenario:
    """Return the scenario of a seed; the same on every machine."""
    # Neighbouring seeds have the same number of workers, which need not be started anew then.
    workers = 1 + seed // 8 % 3
    chance = random.Random(f"chaos:{seed}")
    job = chance.choices(list(jobs.KINDS), [k.share for k in jobs.KINDS.values()])[0]
    way = chance.choices(("resume", "detached", "own"), (6, 1, 1))[0]
    kinds = [
        f
        for f in FAULTS
        if not ((f in SHARED_ONLY and way == "own") or (f in FOLLOWED_ONLY and way == "detached"))
    ]
    faults = []
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3))):
        kind = chance.choices(kinds, [FAULTS[k] for k in kinds])[0]
        late = chance.random() < 0.1
        receipts = chance.randrange(jobs.KINDS[job].chunks)
        faults.append((kind, Moment(receipts, chance.uniform(0, 0.3) * (not late), late)))
    faults.sort(key=lambda pair: (pair[1].assembly, pair[1].receipts))
    return Scenario(seed, job, workers, way, tuple(faults))


@dataclass
class Ending:
    """How a case ended.

    Attributes:
        came: names of the injected faults, in order.
        wrong: the violated guarantee; empty if there is none.
        resumes: how often the job was resumed.
    """

    scenario: Scenario
    came: list[str]
    wrong: str = ""
    resumes: int = 0
    seconds: float = 0.0


class Course:
    """One case, from a new job to the verdict."""

    def __init__(self, rig: Rig, case: Scenario, report: Callable[[str], None]) -> None:
        self.rig, self.case = rig, case
        self.ending = Ending(case, [])
        self._log = report
        self._began = time.monotonic()
        self._said_before = len(rig.said())
        kind = jobs.KINDS[case.job]
        self.outputs = rig.folder / "disk" / f"out-{case.seed}"
        self.job = kind.create(rig.folder, self.outputs)
        self._heals: list[tuple[float, Callable[[], object]]] = []
        self._left = list(case.faults)
        self.scene = Scene(
            rig, self.job, random.Random(f"scene:{case.seed}"), case.way == "own", [],
            self.outputs, self._start,
        )  # fmt: skip

    def do(self) -> Ending:
        """Run the case; failures of the job are in the result, not raised."""
        watching = Witness(self.job, lambda: self.scene.storage_is_ill)
        try:
            with watching:
                self._follow()
                self._rest()
            self.ending.wrong = watching.lie or self._judge()
        except (Broken, Ip2pError) as error:
            self.ending.wrong = f"{type(error).__name__}: {error}"
        finally:
            for _, heal in self._heals:
                heal()
            self._clean()
        self._log("; ".join([*self.scene.notes, " -> ".join(watching.states)]))
        self.ending.seconds = time.monotonic() - self._began
        return self.ending

    # -- what happens ------------------------------------------------------------------

    def _start(self, detach: bool = False) -> subprocess.Popen[bytes]:
        more = ("--workers", str(self.case.workers)) if self.scene.own else ()
        if detach:
            more = ("--detach",)
        self._log(f"{self._at()} resume {' '.join(more)}")
        return self.rig.command("resume", str(self.job.path), *more, own=self.scene.own)

    def _follow(self) -> None:
        detached = self.case.way == "detached"
        commands = self.scene.commands
        commands.append(self._start(detached))
        waited = 0.0
        while True:
            now = time.monotonic()
            if now - self._began > LIMIT:
                raise Broken(f"hangs: not done after {LIMIT} s; {self._where()}")
            self._heal(now)
            self._break(now)
            running = [c for c in commands if c.poll() is None]
            if self.job.ended and not self._heals and not running:
                return
            idle = not running and not self.job.ended and not self._heals
            # A detached job continues without a command; resume it only if it stalls.
            patience = 12.0 if detached and self.ending.resumes == 0 else 0.0
            waited = waited + 0.03 if idle and not holders(self.job) else 0.0
            if idle and waited >= patience:
                self.ending.resumes += 1
                if self.ending.resumes > RESUMES:
                    raise Broken(f"not done after {RESUMES} resumes; {self._where()}")
                commands.append(self._start())
            time.sleep(0.03)

    def _break(self, now: float) -> None:
        while self._left and not self.job.ended and self._is_time(self._left[0][1], now):
            fault, _ = self._left.pop(0)
            try:
                heal = fault(self.scene)
            except (Missed, FileNotFoundError) as why:
                self._log(f"{self._at()} {fault.__name__} missed {why}")
                continue
            self._log(f"{self._at()} {fault.__name__}")
            self.ending.came.append(fault.__name__)
            if heal is not None:
                self._heals.append((time.monotonic() + heal[1], heal[0]))

    _reached: float | None = None

    def _is_time(self, moment: Moment, now: float) -> bool:
        if moment.assembly:
            reached = (self.job.path / "inflight" / "assembly").exists()
        else:
            try:
                names = os.listdir(self.job.path / "receipts")
            except OSError:
                names = []
            receipts = sum(name[0] != "." for name in names)
            reached = receipts >= moment.receipts and bool(receipts or holders(self.job))
        if not reached:
            return False
        self._reached = self._reached or now
        if now - self._reached < moment.seconds:
            return False
        self._reached = None
        return True

    def _heal(self, now: float) -> None:
        for due, heal in list(self._heals):
            if now >= due:
                heal()
                self._heals.remove((due, heal))
                self._log(f"{self._at()} healed")

    def _rest(self) -> None:
        """Wait for processes that have not noticed the end of the job."""
        if injections.DOUBLE & set(self.ending.came):
            time.sleep(1.3)  # workers send a heartbeat every second
        wait(lambda: not holders(self.job), 30)
        far = injections.FAR & set(self.ending.came)
        if far and not self.scene.own and not self.rig.all_answer(40):
            raise Broken(f"after {sorted(far)} a worker answers no more")

    # -- the verdict ---------------------------------------------------------------

    def _judge(self) -> str:
        kind = jobs.KINDS[self.case.job]
        kind.compare(self.job, self.outputs)
        said = self.rig.said()[self._said_before :]
        if "Traceback" in said or "unexpected" in said:
            return f"a traceback: {said[-600:]}"
        if self.scene.notes and (grown := [n for n in self.scene.notes if "grew" in n]):
            return grown[0]
        left = [p.name for n in ("segments", "borders", "heartbeats")
                if (self.job.path / n).is_dir() for p in (self.job.path / n).iterdir()]  # fmt: skip
        if left:
            return f"left in the job folder of a finished job: {sorted(left)[:5]}"
        return ""

    def _clean(self) -> None:
        for command in self.scene.commands:
            if command.poll() is None:
                command.kill()
            command.wait()
        if not self.scene.own:
            self.rig.forget_messages()
        shutil.rmtree(self.job.path, ignore_errors=True)
        shutil.rmtree(self.outputs, ignore_errors=True)

    def _at(self) -> str:
        return f"{time.monotonic() - self._began:6.2f}"

    def _where(self) -> str:
        found: list[str] = []
        with suppress(Exception):
            found = sorted(
                p.relative_to(self.job.path).as_posix()
                for p in self.job.path.rglob("*")
                if p.is_file()
            )
        return f"commands said: {self.rig.said()[self._said_before :][-500:]!r}; {found}"
