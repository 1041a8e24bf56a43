"""Celery: the app with its whole configuration, and the executor that hands chunks to it.

Messages are references: job folder, chunk id, fingerprint. Which task code answers them is the
workers' business; this module only knows names.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ..errors import BrokerError
from ..jobs.folder import JobFolder
from ..jobs.plan import Chunk
from ..jobs.records import Held
from ..planning.cost import LEAST_SECONDS, planned_seconds
from . import redis_url
from .celery_app import make_app
from .messages import (
    KEY_PREFIX,
    LEAST_TIME_LIMIT,
    PRIORITIES,
    QUEUE_KEYS,
    TASK_ASSEMBLE,
    TASK_CHUNK,
    TIME_LIMIT,
    Message,
    message,
)

_UNACKED = f"{KEY_PREFIX}unacked"
#: Of a job alone in the queue before anybody is known to work.
_LEAST_WIDTH = 4


def time_limit(job: JobFolder, chunk: Chunk) -> int:
    """Seconds after which a worker has hung at a chunk, by what the slowest CPU would need."""
    seconds = LEAST_SECONDS + planned_seconds(job.job(), job.plan(), chunk, "cpu")
    return int(min(max(seconds, LEAST_TIME_LIMIT), TIME_LIMIT))


class _Raw(msgspec.Struct):
    """A message as it lies in Redis; of what Celery adds, nothing is of interest here."""

    body: str


def _chunks_of(job: str, messages: Iterable[bytes]) -> Iterable[str | None]:
    """Chunks of that job among raw messages, None for its assembly; what is none of ours is not."""
    for raw in messages:
        try:
            if raw.startswith(b"["):  # in hand: with the exchange and the key that it came by
                body = msgspec.json.decode(raw, type=tuple[_Raw, object, object])[0].body
            else:
                body = msgspec.json.decode(raw, type=_Raw).body
            told = msgspec.json.decode(
                base64.b64decode(body), type=tuple[list[object], Message, object]
            )[1]
        except (ValueError, msgspec.MsgspecError):
            continue
        if told.job == job:
            yield told.chunk


class CeleryExecutor:
    """Hands chunks to the workers of a broker.

    Raises:
        BrokerError: in every method, when Redis does not answer or the URL is none of Redis.
    """

    def __init__(self, url: str) -> None:
        self._redis = redis_url.connect(url)  # refuses a wrong URL; no network yet
        self.url = url
        self._app = make_app(url)

    def submit(self, job: JobFolder, chunks: Sequence[Chunk]) -> None:
        """Send one message per chunk; sending a chunk twice does no harm."""
        asked = job.job()
        fingerprint = asked.fingerprint()
        messages = [(message(job, c, fingerprint), time_limit(job, c)) for c in chunks]
        self._send(TASK_CHUNK, messages, PRIORITIES[asked.priority])

    def assemble(self, job: JobFolder) -> None:
        """Send the message that joins the finished job."""
        asked = job.job()
        values = message(job, None, asked.fingerprint())
        self._send(TASK_ASSEMBLE, [(values, None)], PRIORITIES[asked.priority])

    def again(
        self, told: Message, *, limit: int | None, priority: int, headers: dict[str, str]
    ) -> None:
        """Send a message once more, behind the others of its priority: its time is yet to come."""
        values = {k: v for k, v in msgspec.to_builtins(told).items() if v is not None}
        task = TASK_CHUNK if told.chunk else TASK_ASSEMBLE
        self._send(task, [(values, limit)], priority, headers=headers)

    def poll(self, seconds: float) -> None:
        """Let time pass; others do the work."""
        time.sleep(seconds)

    def queued(self) -> int:
        """Messages that wait, and those that a worker has and has not acknowledged.

        Of all jobs on this broker together.
        """
        return sum(self._counts())

    def starving(self) -> bool:
        """Whether no message waits, of any job: a worker that is done would have to wait."""
        return self._counts()[0] == 0

    def width(self) -> int:
        """Two messages a worker: one in its hands and one that waits for it.

        A worker with something to do holds one message, so as many as are held are at work. It
        counts those of all jobs: each job may have as much in the queue as any other.
        """
        return max(_LEAST_WIDTH, 2 * self._counts()[1])

    def held(self, job: JobFolder) -> Held:
        """What the queue has of this job; reads all messages of all jobs."""
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for key in QUEUE_KEYS:
                    pipe.lrange(key, 0, -1)
                pipe.hvals(_UNACKED)
                *waiting, in_hand = pipe.execute()
        except Exception as error:
            raise self._lost(error) from None
        path = str(job.path.absolute())
        return Held(
            frozenset(_chunks_of(path, (raw for part in waiting for raw in part))),
            frozenset(_chunks_of(path, in_hand)),
        )

    def _counts(self) -> tuple[int, int]:
        """Messages that wait, and those in the hands of workers."""
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for key in QUEUE_KEYS:
                    pipe.llen(key)
                pipe.hlen(_UNACKED)
                *waiting, in_hand = pipe.execute()
        except Exception as error:
            raise self._lost(error) from None
        return int(sum(waiting)), int(in_hand)

    def workers(self, timeout: float = 2.0, *, enough: int | None = None) -> list[str]:
        """Names of the workers that answer within ``timeout`` seconds.

        Args:
            enough: after so many answers no more are waited for; None waits all the time.
        """
        try:
            control = self._app.control
            answers: list[dict[str, Any]] = control.ping(timeout=timeout, limit=enough) or []
        except Exception as error:
            raise self._lost(error) from None
        return sorted({name for answer in answers for name in answer})

    def close(self) -> None:
        """Close the connections to the broker."""
        self._redis.close()
        self._app.close()

    def _send(
        self,
        task: str,
        messages: Sequence[tuple[dict[str, str], int | None]],
        priority: int,
        headers: dict[str, str] | None = None,
    ) -> None:
        # One connection for all: thousands of chunks are handed over in seconds.
        policy = {"max_retries": 3, "interval_start": 0.2, "interval_step": 0.5}
        try:
            with self._app.producer_or_acquire() as producer:
                for values, limit in messages:
                    self._app.send_task(
                        task,
                        kwargs=values,
                        priority=priority,
                        producer=producer,
                        headers=headers,
                        time_limit=limit,
                        ignore_result=True,
                        retry=True,
                        retry_policy=policy,
                    )
        except Exception as error:
            raise self._lost(error) from None

    def _lost(self, error: Exception) -> BrokerError:
        return BrokerError(
            f"The connection to {redis_url.redact_url(self.url)} failed: "
            f"{redis_url.redact_line(str(error) or type(error).__name__, self.url)}",
            hint="When Redis is back, `ip2p-batch resume` goes on.",
            survives="Finished chunks are kept.",
        )
