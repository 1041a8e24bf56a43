"""Celery worker processes, one or two on each GPU or one for each core; kept running.

A worker that dies is started again. The first SIGTERM or SIGINT lets each worker finish the chunk
in hand, or give it back when that takes longer than the soft window; the second ends them now.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

from ip2p_batch.queue.messages import SOFT_SHUTDOWN, TIME_LIMIT
from ip2p_batch.settings import Settings

from .devices import available_cores, choose, with_room_for_two
from .parent_watch import when_stdin_ends

log = logging.getLogger("workers")

#: Deaths in a row, each soon after the start, before a worker is given up ...
_DEATHS = 5
#: ... where it was killed: that may be a chunk's fault, and it takes some until that is known.
_KILLS = 25
_SOON_SECONDS = 30.0
#: A chunk takes seconds on a GPU, minutes where frames are large; after this it has hung. Long
#: before, its pace tells (``execution/timeout.py``).
_GPU_TIME_LIMIT = 4 * 3600
#: Threads for flow and filters beside one GPU, at the most: they keep up with it by then.
_MOST_HELPERS = 8
#: After the soft window, for giving the chunk back.
_COLD_SECONDS = 10.0
_TICK_SECONDS = 0.2
#: Every chunk has threads of its own, and glibc gives each an arena: without a limit freed memory
#: is scattered over all of them, and a worker grows by a tenth in some hundred chunks.
_ENV = {"MALLOC_ARENA_MAX": "2"}


@dataclass
class Slot:
    """A place for one worker: what it computes on, and the process that holds it."""

    name: str
    env: Mapping[str, str]
    time_limit: int = TIME_LIMIT
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    failed_chunks: bool = False

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


def slots(devices: str, workers: int | None, threads: int) -> list[Slot]:
    """The workers to run.

    On a GPU a second one is at work while the first decodes the next chunk and encodes the last.

    Args:
        devices: see :func:`workers.devices.choose`.
        workers: how many, on GPUs in turn; None is one per GPU and a second one where there is
            room (:func:`workers.devices.with_room_for_two`), or as many as the cores hold.
        threads: torch threads in each CPU worker.

    Raises:
        RecipeError: ``devices`` is not known, or there is no such GPU.
    """
    gpus = choose(devices)
    if gpus:
        if workers is None:
            places = [*gpus, *with_room_for_two(gpus)]
        else:
            places = [gpus[number % len(gpus)] for number in range(workers)]
        cpu_pool = str(min(_MOST_HELPERS, max(1, available_cores() // len(places))))
        return [
            Slot(
                f"gpu{number}",
                {
                    "CUDA_VISIBLE_DEVICES": gpu,
                    # As nvidia-smi counts.
                    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
                    "IP2P_GPU_MEMORY_FRACTION": f"{1 / places.count(gpu):.3f}",
                    "IP2P_DEVICE": "cuda",
                    "IP2P_CPU_THREADS": os.environ.get("IP2P_CPU_THREADS") or cpu_pool,
                },
                _GPU_TIME_LIMIT,
            )
            for number, gpu in enumerate(places)
        ]
    # More threads than cores would only hinder each other, and another number of threads
    # would give other bits.
    env = {
        "IP2P_DEVICE": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        **{f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")},
    }
    count = workers or max(1, available_cores() // threads)
    return [Slot(f"cpu{number}", env) for number in range(count)]


class Launcher:
    """Starts the workers and keeps them until told to stop."""

    def __init__(self, places: Sequence[Slot], *, window: float = SOFT_SHUTDOWN) -> None:
        self._slots = places
        self._window = window
        self._asked = 0  # how often we were told to stop; twice means now
        self._asked_at = 0.0
        self._sent = 0
        self._wake = threading.Event()

    def run(self, *, exit_with_parent: bool) -> int:
        """Work until stopped; 0 unless every worker was given up."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        if exit_with_parent:
            when_stdin_ends(self._end_now)
        while True:
            if self._asked:
                self._stop()
            else:
                self._revive()
            if not any(s.alive for s in self._slots):
                if self._asked:
                    return 0
                if all(s.failed_chunks for s in self._slots):
                    return 1
            self._wake.wait(_TICK_SECONDS)
            self._wake.clear()

    def _start(self, slot: Slot) -> None:
        # The broker is in the environment, not here: a command line is everybody's to read.
        command = [sys.executable, "-m", "workers.worker", f"{slot.name}-{os.getpid()}"]
        slot.started = time.monotonic()
        slot.process = subprocess.Popen(
            [*command, str(slot.time_limit)],
            env={**_ENV, **os.environ, "TOKENIZERS_PARALLELISM": "false", **slot.env},
            stdin=subprocess.PIPE,  # never written; its end tells the worker that we are gone
            # Ctrl-C in a terminal is ours to pass on; and a worker ends with its children.
            process_group=0,
        )

    def _revive(self) -> None:
        """Start those that do not run, except those that die at every start."""
        now = time.monotonic()
        for slot in self._slots:
            if slot.alive or slot.failed_chunks:
                continue
            if slot.process is not None:
                self._bury(slot, now)
            if not slot.failed_chunks and now >= slot.started:
                self._start(slot)

    def _bury(self, slot: Slot, now: float) -> None:
        """Note a death, and when to start again: ``slot.started`` then lies ahead."""
        process = slot.process
        assert process is not None
        self._kill(slot)  # its child, which may still be at a chunk
        slot.process = None
        slot.deaths = slot.deaths + 1 if now - slot.started < _SOON_SECONDS else 1
        if slot.deaths > (_DEATHS if process.returncode >= 0 else _KILLS):
            log.error(
                "worker %s is given up: it died %d times soon after its start",
                slot.name,
                slot.deaths,
            )
            slot.failed_chunks = True
            return
        log.warning("worker %s ended with %s; it is started again", slot.name, process.returncode)
        slot.started = now + min(0.2 * 2.0**slot.deaths, 10.0)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._asked += 1
        self._wake.set()

    def _end_now(self) -> None:
        self._asked = 2
        self._wake.set()

    def _stop(self) -> None:
        """Tell the workers what is due by now: finish, give back, or end."""
        now = time.monotonic()
        self._asked_at = self._asked_at or now
        waited = now - self._asked_at
        if self._asked > 1 or waited > self._window + _COLD_SECONDS:
            for slot in self._slots:
                self._kill(slot)
            return
        # SIGTERM: take no more, and leave once the chunk is done. SIGQUIT: give it back.
        due = (signal.SIGTERM, signal.SIGQUIT)[: 1 if waited < self._window else 2]
        for number in due[self._sent :]:
            for slot in self._slots:
                if slot.alive and slot.process is not None:
                    slot.process.send_signal(number)
        self._sent = len(due)

    def _kill(self, slot: Slot) -> None:
        if slot.process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(slot.process.pid, signal.SIGKILL)
        slot.process.wait()
        if slot.process.stdin is not None:
            slot.process.stdin.close()


def launch(devices: str | None, workers: int | None, *, exit_with_parent: bool) -> int:
    """Run workers until stopped; the exit code.

    Args:
        devices: ``auto``, ``cpu`` or GPU numbers; None takes ``IP2P_DEVICE``.
        workers: how many; None: see :func:`slots`.
        exit_with_parent: end at once when stdin ends.

    Raises:
        RecipeError: ``devices`` is not known, or there is no such GPU.
    """
    settings = Settings.from_env()
    places = slots(devices or settings.device, workers, settings.torch_threads)
    return Launcher(places).run(exit_with_parent=exit_with_parent)
