"""Check whether a job was cancelled, often and cheaply."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import JobCancelled
from ..jobs.folder import JobFolder

#: Seconds between two reads of the job folder ...
POLL_SECONDS = 0.05
#: ... or more on a slow share, so that reading takes at most this fraction of the time.
_POLL_FRACTION = 0.02


class CancellationCheck:
    """Raises once the job was cancelled or has ended; never takes that back.

    The heartbeat's thread and the chunk's own thread share one.

    Args:
        job_id: names the job in the error.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self, folder: JobFolder, job_id: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._job_id = job_id
        self._clock = clock
        self._cancelled = False
        self._next_poll = 0.0

    def check(self) -> None:
        """Read the job folder where that is due; cheap enough for every denoising step.

        Raises:
            JobCancelled
        """
        if not self._cancelled and (before := self._clock()) >= self._next_poll:
            self.poll()
            after = self._clock()
            self._next_poll = after + max(POLL_SECONDS, (after - before) / _POLL_FRACTION)
        if self._cancelled:
            raise JobCancelled(f"{self._job_id} was cancelled, or has ended.")

    def check_now(self) -> None:
        """Read the job folder in any case.

        Raises:
            JobCancelled
        """
        self.poll()
        self.check()

    def poll(self) -> None:
        """Read the job folder; raises nothing but what reading raises."""
        self._cancelled = self._cancelled or self._folder.cancelled

    def cancel(self) -> None:
        """Make every later check raise."""
        self._cancelled = True
