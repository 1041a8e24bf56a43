"""Poll a job's status, and check each answer against the earlier ones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from ip2p_batch import scheduler
from ip2p_batch.errors import Ip2pError
from ip2p_batch.jobs.folder import JobFolder

#: Which state may follow which at once; any may be seen twice.
NEXT = {
    "waiting": {"running", "finished", "finished with failures", "failed", "cancelled"},
    "running": {"waiting", "finished", "finished with failures", "failed", "cancelled"},
    "failed": {"waiting", "running", "cancelled", "finished", "finished with failures"},
    "cancelled": {"waiting", "running", "failed", "finished", "finished with failures"},
    "finished": set(),
    "finished with failures": set(),
}


class Witness:
    """Polls during a ``with`` block.

    Attributes:
        lie: the first answer that cannot be true; empty if there was none.
        states: the states seen, one after the other.
    """

    def __init__(self, job: JobFolder, excused: Callable[[], bool] = lambda: False) -> None:
        self.lie = ""
        self.states: list[str] = []
        self._job = job
        self._output = Path(job.job().output)
        self._total = job.plan().frames
        self._excused = excused
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._doubts = 0  # errors in a row without a cause

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()  # the final state

    def _watch(self) -> None:
        while not self.lie and not self._stop.wait(0.1):
            self._look()

    def _look(self) -> None:
        excused = self._excused()
        try:
            found = scheduler.read_status(JobFolder(self._job.path))
        except Ip2pError as error:
            # On a busy machine a folder may go and come back while one question is answered.
            self._doubts = 0 if excused or self._excused() else self._doubts + 1
            if self._doubts > 2:
                self.lie = self.lie or f"status says: {error}"
            return
        except Exception as error:
            self.lie = self.lie or f"status raises {type(error).__name__}: {error}"
            return
        self._doubts = 0
        if not 0 <= found.done <= found.total == self._total:
            self.lie = f"status says {found.done} of {found.total}; {self._total} are planned"
        if found.chunks_done > found.chunks_total:
            self.lie = f"status says {found.chunks_done} of {found.chunks_total} chunks"
        if found.state.startswith("finished") and not self._output.exists():
            self.lie = f"status says {found.state}, and {self._output} is not there"
        if found.state == "finished" and found.done != found.total:
            self.lie = f"status says finished at {found.done} of {found.total}"
        if not self.states or self.states[-1] != found.state:
            if self.states and found.state not in NEXT[self.states[-1]]:
                self.lie = f"status says {found.state} after {self.states[-1]}"
            self.states.append(found.state)
