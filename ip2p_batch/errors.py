"""Every error this package raises on purpose.

::

    Ip2pError                what happened, what to do next, what survives
    ├─ RecipeError           an option is out of range or unknown
    ├─ SourceError           an input cannot be read; carries its path
    ├─ OutputError           the result cannot be written; carries its path
    │  └─ StorageError       a disk or share stumbled; worth another try
    ├─ ModelError            the model cannot be found, downloaded or loaded
    ├─ BrokerError           Redis cannot be started or reached
    │  └─ NoWorkerError      Redis is there, but no worker answers
    ├─ EditError             the editor failed on a chunk; worth another try
    │  └─ NotFinite          no picture came of a frame, in float32 either; carries the others
    ├─ OutsideRoots          a path that this worker may not use (IP2P_ALLOWED_ROOTS)
    ├─ JobError              a job folder is missing, damaged or busy
    │  ├─ ResumeMismatch     source or recipe changed since the plan was made
    │  ├─ IncompatibleWorker       this worker would give other bits than the chunks before
    │  ├─ IncompleteJob      receipts are missing; lists the chunks
    │  ├─ ChunkTaken         another worker is at this chunk; no failure
    │  └─ JobFailed          a chunk failed after its retries (Python API)
    └─ JobCancelled          somebody asked for it

Only ``cli/exits.py`` turns these into text and exit codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar


class Ip2pError(Exception):
    """Root of the tree.

    Args:
        message: one line that says what happened, naming the file or option.
        hint: one line with the next step for the user.
        survives: one line on what is kept, where work was already done.
    """

    #: Whether running the same chunk again may succeed.
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", survives: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.survives = survives


class RecipeError(Ip2pError):
    """An option is out of range, unknown, or does not go with another."""


class SourceError(Ip2pError):
    """An input cannot be read: missing, empty, truncated, or not a picture or video."""

    def __init__(
        self, message: str, *, path: Path | str = "", hint: str = "", survives: str = ""
    ) -> None:
        super().__init__(message, hint=hint, survives=survives)
        self.path = str(path)


class OutputError(Ip2pError):
    """The result cannot be written: it exists, the folder is read-only, the disk is full."""

    def __init__(
        self, message: str, *, path: Path | str = "", hint: str = "", survives: str = ""
    ) -> None:
        super().__init__(message, hint=hint, survives=survives)
        self.path = str(path)


class StorageError(OutputError):
    """A disk or network share stumbled (a stale handle, an I/O error); another try may do."""

    retryable = True


class ModelError(Ip2pError):
    """The model cannot be found, downloaded or loaded."""


class BrokerError(Ip2pError):
    """Redis cannot be started or reached."""


class NoWorkerError(BrokerError):
    """Redis is there, but no worker answers."""


class EditError(Ip2pError):
    """The editor failed on a chunk. The job goes on; the chunk is tried again."""

    retryable = True


class NotFinite(EditError):
    """The model gave no finite picture of some frames, in float32 either; nor would it again.

    Args:
        edited: the frames (``Frame``) that came out well, in order.
    """

    retryable = False

    def __init__(self, message: str, *, hint: str = "", edited: Sequence[Any] = ()) -> None:
        super().__init__(message, hint=hint)
        self.edited = tuple(edited)


class OutsideRoots(Ip2pError):
    """A path lies outside the folders that this worker may use (``IP2P_ALLOWED_ROOTS``)."""


class JobError(Ip2pError):
    """A job folder is missing, damaged or in use."""


class ResumeMismatch(JobError):
    """The source or the recipe changed since the plan was made; names the field."""


class IncompatibleWorker(JobError):
    """A worker would give other bits than the job's chunks so far; says in what it differs."""

    def __init__(self, message: str, *, mismatches: Sequence[str], hint: str = "") -> None:
        super().__init__(message, hint=hint, survives="Finished chunks are kept.")
        self.mismatches = tuple(mismatches)


class IncompleteJob(JobError):
    """Receipts are missing, so the output cannot be assembled."""

    def __init__(self, message: str, *, chunks: Sequence[str], hint: str = "") -> None:
        super().__init__(message, hint=hint, survives="Finished chunks are kept.")
        self.chunks = tuple(chunks)


class ChunkTaken(JobError):
    """Another worker is at this chunk, or has finished it; what is here is dropped.

    Nobody's failure: two messages of one chunk, or a worker that was thought dead and came back.
    """


class JobFailed(JobError):
    """A chunk failed after its retries, so the job has no result. Raised by the Python API.

    Args:
        error: name of the error class of the chunk's last attempt (``SourceError``).
    """

    def __init__(self, message: str, *, error: str, hint: str = "") -> None:
        super().__init__(message, hint=hint, survives="Finished chunks are kept.")
        self.error = error


class JobCancelled(Ip2pError):
    """The job was cancelled."""
