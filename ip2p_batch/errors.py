"""Errors that this package raises on purpose.

::

    Ip2pError                what happened, what to do next, what survives
    ├─ RecipeError           an option is out of range or unknown
    ├─ PathError             has the path of a file
    │  ├─ SourceError        an input cannot be read
    │  └─ OutputError        the result cannot be written
    │     ├─ OutputTaken     a file that is not the job's has the name of its result
    │     └─ StorageError    a transient error of a disk or share; retryable
    ├─ ModelError            the model cannot be found, downloaded or loaded
    ├─ BrokerError           Redis cannot be started or reached
    │  └─ NoWorkerError      Redis answers, but no worker does
    ├─ EditError             the editor failed on a chunk; retryable
    │  └─ NotFinite          a frame has no finite result, in float32 either; has the others
    ├─ OutsideRoots          a path that this worker may not use (IP2P_ALLOWED_ROOTS)
    ├─ JobError              a job folder is missing, damaged or busy
    │  ├─ ResumeMismatch     source or recipe changed since the plan was made
    │  ├─ IncompatibleWorker the worker's results would not be bit-identical
    │  ├─ IncompleteJob      receipts are missing; lists the chunks
    │  ├─ ChunkTaken         another worker holds this chunk; not a failure
    │  └─ JobFailed          a chunk failed after its retries (Python API)
    └─ JobCancelled          a user cancelled the job

``cli/exits.py`` turns them into text and exit codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar


class Ip2pError(Exception):
    """Root of the tree.

    Args:
        message: one line on what happened, with the file or option.
        hint: one line with the next step for the user.
        survives: one line on what is kept, where work was already done.

    ``str(error)`` is the message followed by the hint.
    """

    #: Whether running the same chunk again may succeed.
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", survives: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.survives = survives

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class RecipeError(Ip2pError):
    """An option is out of range, unknown, or contradicts another."""


class PathError(Ip2pError):
    """An error about one file or folder.

    Args:
        path: of the file; empty where there is none.
    """

    def __init__(
        self, message: str, *, path: Path | str = "", hint: str = "", survives: str = ""
    ) -> None:
        super().__init__(message, hint=hint, survives=survives)
        self.path = str(path)


class SourceError(PathError):
    """An input cannot be read: missing, empty, truncated, or not an image or video."""


class OutputError(PathError):
    """The result cannot be written: it exists, the folder is read-only, the disk is full."""


class OutputTaken(OutputError):
    """A file that is not the job's has the name of its result, and is left alone."""


class StorageError(OutputError):
    """A transient error of a disk or share (stale handle, I/O error) outlasted the retries."""

    retryable = True


class ModelError(Ip2pError):
    """The model cannot be found, downloaded or loaded, or is not allowed here."""


class BrokerError(Ip2pError):
    """Redis cannot be started or reached, or its URL is wrong."""


class NoWorkerError(BrokerError):
    """Redis answers, but no worker does, or the local workers ended."""


class EditError(Ip2pError):
    """The editor failed on a chunk. The chunk is retried and the rest of the job continues."""

    retryable = True


class NotFinite(EditError):
    """The model gave no finite result for some frames, in float32 either. Not retryable.

    Args:
        edited: the frames (``Frame``) that have a finite result, in order.
    """

    retryable = False

    def __init__(self, message: str, *, hint: str = "", edited: Sequence[Any] = ()) -> None:
        super().__init__(message, hint=hint)
        self.edited = tuple(edited)


class OutsideRoots(Ip2pError):
    """A path is outside the folders that this worker may use (``IP2P_ALLOWED_ROOTS``)."""


class JobError(Ip2pError):
    """A job folder is missing, damaged or in use, or a job cannot continue."""


class ResumeMismatch(JobError):
    """The source or the recipe changed since the plan was made."""


class IncompatibleWorker(JobError):
    """The worker's results would not be bit-identical to the finished chunks.

    Args:
        mismatches: the differences, one each ("precision bfloat16 instead of float32").
    """

    def __init__(self, message: str, *, mismatches: Sequence[str], hint: str = "") -> None:
        super().__init__(message, hint=hint, survives="Finished chunks are kept.")
        self.mismatches = tuple(mismatches)


class IncompleteJob(JobError):
    """Receipts are missing, so the output cannot be assembled.

    Args:
        chunks: ids of the chunks without a receipt.
    """

    def __init__(self, message: str, *, chunks: Sequence[str], hint: str = "") -> None:
        super().__init__(message, hint=hint, survives="Finished chunks are kept.")
        self.chunks = tuple(chunks)


class ChunkTaken(JobError):
    """Another worker holds this chunk or finished it, so this attempt is dropped.

    Not a failure: a chunk had two messages, or a worker that counted as dead came back.
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
    """The job was cancelled by a user."""
