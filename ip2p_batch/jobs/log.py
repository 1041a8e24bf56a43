"""Log lines for the state changes of a chunk, in one format on every machine.

::

    chunk=2-000017 job=castle-3f2a state=leased attempt=1

Every line is at level DEBUG and goes to the logger of the module that makes the change. Set
``IP2P_LOG_LEVEL=DEBUG`` to see them, and search the logs of all workers for ``chunk=2-000017`` to
trace one chunk.
"""

from __future__ import annotations

import json
import logging
from typing import Literal

from .folder import JobFolder

#: The loggers above those of all modules.
_LOGGERS = ("ip2p_batch", "workers")

#: States in the order in which a chunk usually passes through them; the last eight replace the
#: rest of the sequence, or repeat it.
ChunkState = Literal[
    "dispatched",  # its message is in the queue, or the local executor has it
    "received",  # a worker has read its message
    "leased",  # an attempt has begun; attempt= is the fencing token
    "batch-edited",
    "files-written",  # the segment, latents or images
    "receipt-written",
    "receipt-seen",  # by the process that follows the job
    "assembled",  # of the assembly only
    "retrying",  # an error; another attempt follows in this process
    "failed",  # an error, and no attempt is left
    "superseded",  # another worker has it, so this one stops
    "stalled",  # its worker is dead: the heartbeat has stopped
    "requeued",  # its message is back in the queue
    "dropped",  # its message is acknowledged without work: the job is paused or cancelled
    "released",  # stopped on purpose: the attempt does not count as a crash
    "poisoned",  # a frame that crashed its worker too often is skipped; frame= names it
]


def set_log_level(level: str) -> None:
    """Log lines of this project at ``level`` or above; other libraries keep their own level."""
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(level)


def chunk_log(
    logger: logging.Logger,
    folder: JobFolder,
    chunk_id: str,
    state: ChunkState,
    /,
    **facts: object,
) -> None:
    """Log that a chunk enters ``state``.

    Args:
        logger: the calling module's own.
        chunk_id: the chunk, or ``assemble`` for the assembly of the job.
        facts: more ``key=value`` pairs; text with spaces is quoted.
    """
    if logger.isEnabledFor(logging.DEBUG):
        pairs = {"chunk": chunk_id, "job": folder.path.name, "state": state, **facts}
        line = " ".join(f"{key}={_quoted(value)}" for key, value in pairs.items())
        logger.debug("%s", line, stacklevel=2)


def _quoted(value: object) -> str:
    """``value`` as one word: JSON text where it holds spaces, quotes or control characters."""
    text = str(value)
    plain = text.isprintable() and not set(text) & set(' "=')
    return text if plain and text else json.dumps(text)
