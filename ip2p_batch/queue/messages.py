"""Messages in the queue: references to chunks, never pixels. Names and limits for both sides."""

from __future__ import annotations

from typing import Annotated

import msgspec

from ..errors import JobError
from ..jobs.codec import ChunkId
from ..jobs.folder import JobFolder
from ..jobs.spec import Priority

TASK_CHUNK = "ip2p.chunk"
TASK_ASSEMBLE = "ip2p.assemble"
QUEUE = "chunks"
#: Prefix of every key in Redis, so that other applications can use the same server.
KEY_PREFIX = "ip2p:"
#: Celery's retries after the process of a chunk crashed. The job folder counts crashes and finds
#: the frame at fault; this limit only ends a task that crashes before it can be counted.
MAX_RETRIES = 60

#: Seconds until a dead worker's message goes to another worker, plus up to ten until Kombu checks.
#: Workers renew it meanwhile (``workers/visibility.py``), so a long chunk does not run twice.
VISIBILITY_TIMEOUT = 90
#: Seconds that a worker which was asked to stop may spend on its current chunk.
SOFT_SHUTDOWN = 20
#: A chunk that runs longer than this many seconds has hung, and its process is killed: with a
#: renewed message nothing else would notice. A chunk of a large model can take hours on a CPU, so
#: each message carries a limit of its own, and the launcher lowers it for GPUs. The worker's
#: process notices a hang sooner (``execution/timeout.py``), unless the whole process hangs.
TIME_LIMIT = 24 * 3600
#: Lowest limit of a message, in seconds: loading a model may include a download.
MIN_TIME_LIMIT = 3600

PRIORITY_STEPS = (0, 3, 6, 9)
SEPARATOR = ":"
#: Celery's numbers. With Redis the lowest number is served first.
PRIORITIES: dict[Priority, int] = {"high": 0, "normal": 3, "low": 6}
#: Lists in Redis that hold waiting messages, in the order in which workers read them.
QUEUE_KEYS = tuple(
    KEY_PREFIX + (f"{QUEUE}{SEPARATOR}{step}" if step else QUEUE) for step in PRIORITY_STEPS
)


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of a message, checked when read; no others are accepted.

    Attributes:
        job: absolute path of the job folder.
        fingerprint: fingerprint of the job; the folder may hold a different job by now.
        chunk: id of the chunk; ``ASSEMBLY`` for the assembly.
    """

    job: Annotated[str, msgspec.Meta(pattern=r"\A/[^\x00-\x1f\x7f]+\Z", max_length=4096)]
    fingerprint: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    chunk: ChunkId

    def __post_init__(self) -> None:
        if ".." in self.job.split("/"):
            raise ValueError("`..` in the path of the job folder")


def read_message(fields: object) -> Message:
    """Check the fields of a message.

    Raises:
        JobError: a field is missing, unknown, of the wrong type or too long.
    """
    try:
        return msgspec.convert(fields, Message)
    except msgspec.ValidationError as error:
        raise JobError(f"Not a message of ip2p-batch: {error}.") from None


def build_message(folder: JobFolder, chunk_id: str, fingerprint: str) -> dict[str, str]:
    """The fields of a message about one chunk: references only, a few hundred bytes.

    Args:
        chunk_id: id of a planned chunk, or ``ASSEMBLY``.
        fingerprint: ``folder.job().fingerprint()``, which the caller computes once for many.
    """
    return {"job": str(folder.path.absolute()), "fingerprint": fingerprint, "chunk": chunk_id}
