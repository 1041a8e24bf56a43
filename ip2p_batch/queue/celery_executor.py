"""The executor that sends chunks to Celery workers through Redis.

Messages are references: job folder, chunk id, fingerprint. This module knows tasks by name only;
their code is in the ``workers`` package.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import msgspec

from ..errors import BrokerError
from ..jobs.folder import JobFolder
from ..jobs.plan import ASSEMBLY, Chunk
from ..planning.cost import MIN_CHUNK_SECONDS, planned_seconds
from . import redis_url
from .celery_app import make_app
from .executor import QueuedChunks
from .messages import (
    KEY_PREFIX,
    MIN_TIME_LIMIT,
    PRIORITIES,
    QUEUE_KEYS,
    TASK_ASSEMBLE,
    TASK_CHUNK,
    TIME_LIMIT,
    Message,
    build_message,
)

_UNACKED = f"{KEY_PREFIX}unacked"
#: In-flight limit of a job before the queue shows how many workers there are.
_MIN_INFLIGHT = 4


def time_limit(folder: JobFolder, chunk: Chunk) -> int:
    """Seconds after which a chunk counts as hung: the estimate for the slowest supported CPU."""
    seconds = MIN_CHUNK_SECONDS + planned_seconds(folder.job(), folder.plan(), chunk, "cpu")
    return int(min(max(seconds, MIN_TIME_LIMIT), TIME_LIMIT))


class CeleryExecutor:
    """Executor that queues chunks on a Redis broker.

    The constructor does not connect yet. Every method raises ``BrokerError`` when Redis does not
    answer; the message never holds the password.

    Args:
        url: broker URL; see :func:`~ip2p_batch.queue.redis_url.connect`.

    Raises:
        BrokerError: the URL is not a Redis URL.
    """

    def __init__(self, url: str) -> None:
        self._redis = redis_url.connect(url)
        self.url = url
        self._app = make_app(url)

    def enqueue(self, folder: JobFolder, chunks: Sequence[Chunk]) -> None:
        """Send one message per chunk, over one connection."""
        job = folder.job()
        fingerprint = job.fingerprint()
        messages = [
            (build_message(folder, c.id, fingerprint), time_limit(folder, c)) for c in chunks
        ]
        self._send(TASK_CHUNK, messages, PRIORITIES[job.priority])

    def enqueue_assembly(self, folder: JobFolder) -> None:
        """Send the message that assembles the output of a finished job."""
        job = folder.job()
        fields = build_message(folder, ASSEMBLY, job.fingerprint())
        self._send(TASK_ASSEMBLE, [(fields, None)], PRIORITIES[job.priority])

    def requeue(
        self, message: Message, *, limit: int | None, priority: int, headers: dict[str, str]
    ) -> None:
        """Send a message again, behind the others of its priority.

        Args:
            limit: time limit of the message in seconds; None for none of its own.
            priority: Celery's number, 0 first.
            headers: headers of the new message.
        """
        task = TASK_ASSEMBLE if message.chunk == ASSEMBLY else TASK_CHUNK
        fields = msgspec.to_builtins(message)
        self._send(task, [(fields, limit)], priority, headers=headers)

    def poll(self, seconds: float) -> None:
        """Sleep; workers run the chunks."""
        time.sleep(seconds)

    def queue_length(self) -> int:
        """Messages of all jobs on this broker, waiting and unacknowledged."""
        return sum(self._lengths())

    def is_idle(self) -> bool:
        """Whether no message waits, of any job."""
        return self._lengths()[0] == 0

    def max_inflight(self) -> int:
        """Two messages per busy worker: one that it works on and one that is ready for it.

        A busy worker holds one unacknowledged message, so their number is the number of busy
        workers. The count covers all jobs, so each job gets the same limit.
        """
        return max(_MIN_INFLIGHT, 2 * self._lengths()[1])

    def queued_chunks(self, folder: JobFolder) -> QueuedChunks:
        """Read all messages of all jobs and return those of this job."""
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for key in QUEUE_KEYS:
                    pipe.lrange(key, 0, -1)
                pipe.hvals(_UNACKED)
                *waiting, unacked = pipe.execute()
        except Exception as error:
            raise self._broker_error(error) from None
        path = str(folder.path.absolute())
        return QueuedChunks(
            frozenset(_chunk_ids(path, (raw for messages in waiting for raw in messages))),
            frozenset(_chunk_ids(path, unacked)),
        )

    def workers(self, timeout: float = 2.0, *, enough: int | None = None) -> list[str]:
        """Names of the workers that answer a ping within ``timeout`` seconds, sorted.

        Args:
            enough: return after this many answers; None waits for the whole timeout.
        """
        try:
            control = self._app.control
            answers: list[dict[str, Any]] = control.ping(timeout=timeout, limit=enough) or []
        except Exception as error:
            raise self._broker_error(error) from None
        return sorted({name for answer in answers for name in answer})

    def close(self) -> None:
        """Close the connections to the broker."""
        self._redis.close()
        self._app.close()

    def _lengths(self) -> tuple[int, int]:
        """Numbers of waiting and of unacknowledged messages."""
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for key in QUEUE_KEYS:
                    pipe.llen(key)
                pipe.hlen(_UNACKED)
                *waiting, unacked = pipe.execute()
        except Exception as error:
            raise self._broker_error(error) from None
        return int(sum(waiting)), int(unacked)

    def _send(
        self,
        task: str,
        messages: Sequence[tuple[dict[str, str], int | None]],
        priority: int,
        headers: dict[str, str] | None = None,
    ) -> None:
        policy = {"max_retries": 3, "interval_start": 0.2, "interval_step": 0.5}
        try:
            with self._app.producer_or_acquire() as producer:
                for fields, limit in messages:
                    self._app.send_task(
                        task,
                        kwargs=fields,
                        priority=priority,
                        producer=producer,
                        headers=headers,
                        time_limit=limit,
                        ignore_result=True,
                        retry=True,
                        retry_policy=policy,
                    )
        except Exception as error:
            raise self._broker_error(error) from None

    def _broker_error(self, error: Exception) -> BrokerError:
        return BrokerError(
            f"The connection to {redis_url.redact_url(self.url)} failed: "
            f"{redis_url.redact_line(str(error) or type(error).__name__, self.url)}",
            hint="When Redis is back, continue with `ip2p-batch resume`.",
            survives="Finished chunks are kept.",
        )


class _Envelope(msgspec.Struct):
    """A message as Kombu stores it in Redis; other fields are ignored."""

    body: str


def _chunk_ids(job: str, messages: Iterable[bytes]) -> Iterator[str]:
    """Chunk ids of the messages that name the job folder ``job``; skips foreign messages."""
    for raw in messages:
        try:
            if raw.startswith(b"["):  # unacknowledged: [message, exchange, routing key]
                body = msgspec.json.decode(raw, type=tuple[_Envelope, object, object])[0].body
            else:
                body = msgspec.json.decode(raw, type=_Envelope).body
            message = msgspec.json.decode(
                base64.b64decode(body), type=tuple[list[object], Message, object]
            )[1]
        except (ValueError, msgspec.MsgspecError):
            continue
        if message.job == job:
            yield message.chunk


@contextmanager
def connect_executor(url: str) -> Iterator[CeleryExecutor]:
    """Check a broker and yield an executor for it, which is closed at the end.

    Raises:
        BrokerError: Redis does not answer at ``url``, or cannot serve as a broker.
    """
    redis_url.check_broker(url)
    with closing(CeleryExecutor(url)) as executor:
        yield executor
