"""Start Celery workers, one or two per GPU or one per core, and restart those that die.

The first SIGTERM or SIGINT lets each worker finish its chunk, or release it when that takes longer
than the soft shutdown; the second one kills all workers.
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

from ip2p_batch.queue.capacity import available_cores, limited_workers
from ip2p_batch.queue.messages import SOFT_SHUTDOWN, TIME_LIMIT
from ip2p_batch.settings import Settings

from .devices import choose, with_memory_for_two
from .parent_watch import when_stdin_ends

log = logging.getLogger("workers")

#: Exits in a row, each soon after the start, after which a worker is not restarted ...
_MAX_EXITS = 5
#: ... or that many where it was killed: crash isolation needs some crashes to find a bad frame.
_MAX_KILLS = 25
_SOON_SECONDS = 30.0
#: A chunk takes seconds on a GPU, or minutes where frames are large; after this time it has hung.
#: The chunk timeout notices that much earlier (``execution/timeout.py``).
_GPU_TIME_LIMIT = 4 * 3600
#: Threads for optical flow and filters per GPU; more are not faster than the GPU.
_MAX_CPU_THREADS = 8
#: Seconds after the soft shutdown, for releasing the chunk.
_RELEASE_SECONDS = 10.0
_TICK_SECONDS = 0.2
#: Every chunk starts threads, and glibc gives each an arena. Without a limit, freed memory is
#: scattered over all arenas, and a worker grows by a tenth within some hundred chunks.
_ENV = {"MALLOC_ARENA_MAX": "2"}


@dataclass
class Slot:
    """A place for one worker: its device, and its process while it runs.

    Attributes:
        env: added to the environment of the worker.
        time_limit: seconds after which a chunk has hung.
        started: when the worker was started, or is to be restarted.
        exits: in a row, each soon after the start.
        given_up: whether the worker exited too often to be restarted.
    """

    name: str
    env: Mapping[str, str]
    time_limit: int = TIME_LIMIT
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    exits: int = 0
    given_up: bool = False

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


def slots(devices: str, workers: int | None, threads: int) -> list[Slot]:
    """Return the slots of the workers to run.

    The second worker of a GPU computes while the first one decodes and encodes.

    Args:
        devices: see :func:`workers.devices.choose`.
        workers: their number, distributed over the GPUs in turn. None means one or two per GPU
            (:func:`workers.devices.with_memory_for_two`), or as many as the cores allow.
        threads: torch threads in each CPU worker.

    Raises:
        RecipeError: ``devices`` is unknown, or there is no such GPU.
    """
    gpus = choose(devices)
    if gpus:
        if workers is None:
            gpu_by_slot = [*gpus, *with_memory_for_two(gpus)]
        else:
            gpu_by_slot = [gpus[number % len(gpus)] for number in range(workers)]
        cpu_threads = str(min(_MAX_CPU_THREADS, max(1, available_cores() // len(gpu_by_slot))))
        return [
            Slot(
                f"gpu{number}",
                {
                    "CUDA_VISIBLE_DEVICES": gpu,
                    # The order of nvidia-smi.
                    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
                    "IP2P_GPU_MEMORY_FRACTION": f"{1 / gpu_by_slot.count(gpu):.3f}",
                    "IP2P_DEVICE": "cuda",
                    "IP2P_CPU_THREADS": os.environ.get("IP2P_CPU_THREADS") or cpu_threads,
                },
                _GPU_TIME_LIMIT,
            )
            for number, gpu in enumerate(gpu_by_slot)
        ]
    # More threads than cores slow each other down, and results are bit-identical only with the
    # same number of threads.
    env = {
        "IP2P_DEVICE": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        **{f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")},
    }
    count = workers or max(1, available_cores() // threads)
    return [Slot(f"cpu{number}", env) for number in range(count)]


class Launcher:
    """Keeps the workers of all slots running until a signal stops them.

    Args:
        soft_shutdown: seconds for workers to finish their chunks after the first signal.
        max_exits: exits in a row, each soon after the start, after which a worker is given up.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        *,
        soft_shutdown: float = SOFT_SHUTDOWN,
        max_exits: int = _MAX_EXITS,
    ) -> None:
        self._slots = slots
        self._soft_shutdown = soft_shutdown
        self._max_exits = max_exits
        self._stop_requests = 0  # two mean that the workers are killed
        self._stop_requested_at = 0.0
        self._signals_sent = 0
        self._wake = threading.Event()

    def run(self, *, exit_with_parent: bool) -> int:
        """Run until stopped; return 0, or 1 once every worker was given up."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        if exit_with_parent:
            when_stdin_ends(self._kill_all)
        while True:
            if self._stop_requests:
                self._stop()
            else:
                self._start_missing()
            if not any(s.alive for s in self._slots):
                if self._stop_requests:
                    return 0
                if all(s.given_up for s in self._slots):
                    return 1
            self._wake.wait(_TICK_SECONDS)
            self._wake.clear()

    def _start(self, slot: Slot) -> None:
        # The broker is in the environment: every user can read a command line.
        command = [sys.executable, "-m", "workers.worker", f"{slot.name}-{os.getpid()}"]
        slot.started = time.monotonic()
        slot.process = subprocess.Popen(
            [*command, str(slot.time_limit)],
            env={**_ENV, **os.environ, "TOKENIZERS_PARALLELISM": "false", **slot.env},
            stdin=subprocess.PIPE,  # never written; it closes when this process ends
            # So that Ctrl-C in a terminal reaches the launcher only, and that a worker is killed
            # with its children.
            process_group=0,
        )

    def _start_missing(self) -> None:
        """Start the workers that do not run, except those that were given up."""
        now = time.monotonic()
        for slot in self._slots:
            if slot.alive or slot.given_up:
                continue
            if slot.process is not None:
                self._on_exit(slot, now)
            if not slot.given_up and now >= slot.started:
                self._start(slot)

    def _on_exit(self, slot: Slot, now: float) -> None:
        """Count an exit, and set ``slot.started`` to the time of the restart."""
        process = slot.process
        assert process is not None
        self._kill(slot)  # its child process may still edit a chunk
        slot.process = None
        slot.exits = slot.exits + 1 if now - slot.started < _SOON_SECONDS else 1
        if slot.exits > (self._max_exits if process.returncode >= 0 else _MAX_KILLS):
            log.error(
                "worker %s is given up: it exited %d times soon after its start",
                slot.name,
                slot.exits,
            )
            slot.given_up = True
            return
        log.warning("worker %s exited (%s) and is restarted", slot.name, process.returncode)
        slot.started = now + min(0.2 * 2.0**slot.exits, 10.0)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop_requests += 1
        self._wake.set()

    def _kill_all(self) -> None:
        self._stop_requests = 2
        self._wake.set()

    def _stop(self) -> None:
        """Send the workers the signals that are due: finish the chunk, release it, or kill."""
        now = time.monotonic()
        self._stop_requested_at = self._stop_requested_at or now
        waited = now - self._stop_requested_at
        if self._stop_requests > 1 or waited > self._soft_shutdown + _RELEASE_SECONDS:
            for slot in self._slots:
                self._kill(slot)
            return
        # SIGTERM: finish the chunk and exit. SIGQUIT: release the chunk.
        due = (signal.SIGTERM, signal.SIGQUIT)[: 1 if waited < self._soft_shutdown else 2]
        for number in due[self._signals_sent :]:
            for slot in self._slots:
                if slot.alive and slot.process is not None:
                    slot.process.send_signal(number)
        self._signals_sent = len(due)

    def _kill(self, slot: Slot) -> None:
        if slot.process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(slot.process.pid, signal.SIGKILL)
        slot.process.wait()
        if slot.process.stdin is not None:
            slot.process.stdin.close()


def launch(devices: str | None, workers: int | None, *, exit_with_parent: bool) -> int:
    """Run workers until stopped; return the exit code.

    Args:
        devices: ``auto``, ``cpu`` or GPU numbers; None takes ``IP2P_DEVICE``.
        workers: their number; for None see :func:`slots`.
        exit_with_parent: kill the workers and exit when stdin ends.

    Raises:
        RecipeError: ``devices`` is unknown, or there is no such GPU.
    """
    settings = Settings.from_env()
    if workers is not None:
        workers, warning = limited_workers(workers)
        if warning:
            log.warning(warning)
    to_run = slots(devices or settings.device, workers, settings.torch_threads)
    return Launcher(to_run).run(exit_with_parent=exit_with_parent)
