"""Open the job folders that messages name, also where a network share shows them late."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from ip2p_batch.errors import JobError
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.storage.roots import Roots

#: Seconds to wait for a job folder: on a network share it may appear after its message.
_APPEAR_SECONDS = 5.0
#: Seconds for which a folder that did not appear is not waited for again.
_MISSING_SECONDS = 60.0
_POLL_SECONDS = 0.25


class JobFolders:
    """The job folders that this process can see.

    Args:
        roots: where the process may read and write.
        clock, sleep: for tests.
    """

    def __init__(
        self,
        roots: Roots,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._roots = roots
        self._clock = clock
        self._sleep = sleep
        #: When each folder that did not appear was last waited for.
        self._missing: dict[str, float] = {}

    def open(self, path: str, fingerprint: str) -> JobFolder | None:
        """Return the job folder at ``path``; None where this machine has no such folder.

        Raises:
            JobError: the folder is damaged, or holds another job by now.
            OutsideRoots: this worker may not use it.
        """
        folder = JobFolder(path, self._roots)
        folder.roots.allow(folder.path)  # before the folder is looked for
        if not self._appears(folder):
            return None
        if folder.job().fingerprint() != fingerprint:
            raise JobError(f"{path} holds another job by now")
        return folder

    def _appears(self, folder: JobFolder) -> bool:
        """Return whether the job folder exists; wait for one that was not missing lately."""
        key, start = str(folder.path), self._clock()
        waited_at = self._missing.get(key)
        recently = waited_at is not None and start - waited_at < _MISSING_SECONDS
        timeout = 0.0 if recently else _APPEAR_SECONDS
        while not folder.exists():
            if self._clock() - start >= timeout:
                if not recently:
                    self._missing[key] = self._clock()
                return False
            self._sleep(_POLL_SECONDS)
            with suppress(OSError):
                # NFS caches "no such file" until the parent folder is read.
                next(folder.path.parent.iterdir(), None)
        self._missing.pop(key, None)
        return True
