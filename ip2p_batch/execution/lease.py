"""Keep a chunk's lease alive while its process edits it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Self

from ..errors import ChunkTaken, Ip2pError
from ..jobs.attempts import ChunkLease
from ..jobs.folder import JobFolder
from ..jobs.log import chunk_log
from ..jobs.records import Heartbeat, WorkerInfo
from .cancellation import CancellationCheck

log = logging.getLogger(__name__)

_HEARTBEAT_SECONDS = 1.0


class LeaseKeeper:
    """Writes a heartbeat every second, and notices when the chunk belongs to another worker.

    Args:
        lease: of :func:`ip2p_batch.jobs.attempts.acquire`; ends after this object does.
        cancellation: set once the job has ended without this worker.
        on_heartbeat: called in the heartbeat's thread after each heartbeat but the first.

    Attributes:
        worker: named in the heartbeats; replaced once the device and the model are known.
    """

    def __init__(
        self,
        folder: JobFolder,
        chunk_id: str,
        lease: ChunkLease,
        worker: WorkerInfo,
        cancellation: CancellationCheck,
        on_heartbeat: Callable[[], None] = lambda: None,
    ) -> None:
        self.worker = worker
        self._folder = folder
        self._chunk_id = chunk_id
        self._lease = lease
        self._cancellation = cancellation
        self._on_heartbeat = on_heartbeat
        self._superseded = False
        self._done = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._stop.set()
        self._thread.join()
        if not self._superseded:  # else the heartbeat on disk is the new holder's
            self._folder.heartbeats.remove(self._chunk_id)

    def checkpoint(self) -> None:
        """Raise if the work is no longer needed; cheap enough for every denoising step.

        Raises:
            JobCancelled, ChunkTaken
        """
        self._cancellation.check()
        if self._superseded:
            raise ChunkTaken(f"Another worker holds chunk {self._chunk_id} now.")

    def check(self) -> None:
        """Check on disk that this worker still holds the chunk, before a file gets its name.

        Raises:
            ChunkTaken: another worker holds it.
        """
        try:
            self._lease.check()
        except ChunkTaken:
            self._supersede()
            raise

    def advance(self, frames: int) -> None:
        """Count finished frames or images; called from the encoding thread, too."""
        with self._lock:
            self._done += frames

    def record_progress(self, numbers: Iterable[int]) -> None:
        """Record which frames or images are edited from now on; on disk when this returns."""
        self._lease.record_progress(numbers)

    def _run(self) -> None:
        while not self._stop.wait(_HEARTBEAT_SECONDS):
            self._beat()
            self._on_heartbeat()

    def _beat(self) -> None:
        if not self._superseded and self._lease.superseded():
            self._supersede()
        if self._superseded:
            return
        heartbeat = Heartbeat(
            chunk=self._chunk_id, worker=self.worker, done=self._done, at=time.time()
        )
        try:
            if self._folder.ended:  # another worker had this chunk, too, and finished the job
                self._cancellation.cancel()
                return
            self._cancellation.poll()
            self._folder.heartbeats.write(heartbeat)
        except Ip2pError:
            # A full disk must not end the chunk here: writing the segment reports it better.
            return

    def _supersede(self) -> None:
        if not self._superseded:
            chunk_log(log, self._folder, self._chunk_id, "superseded")
        self._superseded = True
