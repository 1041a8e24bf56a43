"""Messages in the queue: references to chunks, never pixels. Names and limits for both sides."""

from __future__ import annotations

from typing import Annotated

import msgspec

from ..errors import JobError
from ..jobs.codec import ChunkId
from ..jobs.folder import JobFolder
from ..jobs.plan import Chunk
from ..jobs.spec import Priority

TASK_CHUNK = "ip2p.chunk"
TASK_ASSEMBLE = "ip2p.assemble"
QUEUE = "chunks"
#: Before every key in Redis, so that a broker may be shared with others.
KEY_PREFIX = "ip2p:"
#: Retries that Celery makes when a chunk's process dies. Deaths are counted in the job folder,
#: and a chunk is narrowed down by them; this only ends what dies before it can be counted.
MAX_RETRIES = 60

#: Seconds until the message of a worker that died goes to another, and ten for Kombu to notice.
#: Workers renew it meanwhile (``workers/lease.py``), so a long chunk is not run twice.
VISIBILITY_TIMEOUT = 90
#: Seconds that a worker which was told to end gives the chunk in hand.
SOFT_SHUTDOWN = 20
#: A chunk that runs longer than this many seconds has hung, and its process is killed. The
#: renewed lease would hide it otherwise. A CPU can be at a chunk of the large model for hours;
#: messages say how long theirs may take, and the launcher lowers the limit for GPUs. A worker's
#: own process notices sooner (``execution/timeout.py``), unless all of it hangs.
TIME_LIMIT = 24 * 3600
#: No message's limit is lower: to load a model may take a download.
LEAST_TIME_LIMIT = 3600

_PRIORITY_STEPS = (0, 3, 6, 9)
_SEPARATOR = ":"
#: What Celery calls them; with Redis the lowest number is served first.
PRIORITIES: dict[Priority, int] = {"high": 0, "normal": 3, "low": 6}
#: The lists in which messages wait, in the order in which workers look at them.
QUEUE_KEYS = tuple(
    KEY_PREFIX + (f"{QUEUE}{_SEPARATOR}{step}" if step else QUEUE) for step in _PRIORITY_STEPS
)


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker is told, as it is read: these fields and no others.

    Attributes:
        job: absolute path of the job folder.
        fingerprint: of the job that is meant; a folder may hold another one by now.
        chunk: id of the chunk; None for assembly.
    """

    job: Annotated[str, msgspec.Meta(pattern=r"\A/[^\x00-\x1f\x7f]+\Z", max_length=4096)]
    fingerprint: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    chunk: ChunkId | None = None

    def __post_init__(self) -> None:
        if ".." in self.job.split("/"):
            raise ValueError("`..` in the path of the job folder")


def read_message(fields: object) -> Message:
    """A message's fields, checked.

    Raises:
        JobError: one is missing, unknown, of the wrong type or too long.
    """
    try:
        return msgspec.convert(fields, Message)
    except msgspec.ValidationError as error:
        raise JobError(f"That is no message of ours: {error}.") from None


def message(job: JobFolder, chunk: Chunk | None, fingerprint: str) -> dict[str, str]:
    """What travels through Redis: references, a few hundred bytes."""
    values = {"job": str(job.path.absolute()), "fingerprint": fingerprint}
    return values if chunk is None else values | {"chunk": chunk.id}
