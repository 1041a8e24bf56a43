"""Celery: the app with its whole configuration, and the executor that hands chunks to it.

Messages are references: job folder, chunk id, fingerprint. Which task code answers them is the
workers' business; this module only knows names.
"""

from __future__ import annotations

import base64
import importlib
import ssl
import time
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Annotated, Any

import msgspec
from celery import Celery
from celery.loaders.app import AppLoader
from kombu import Queue

from . import broker
from .errors import BrokerError, JobError
from .job import Chunk, ChunkId, Held, Priority
from .jobdir import JobDir
from .process.patience import LEAST_SECONDS, planned_seconds

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
#: own process notices sooner (``process/patience.py``), unless all of it hangs.
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
_UNACKED = f"{KEY_PREFIX}unacked"
#: Of a job alone in the queue before anybody is known to work.
_LEAST_WIDTH = 4


class Loader(AppLoader):
    """Imports modules as everybody does.

    Celery's own puts the current folder before everything else: a user's folder of pictures may
    hold a ``workers`` or a ``random.py``.
    """

    def import_from_cwd(self, module: str, imp: Any = None, package: Any = None) -> ModuleType:
        return importlib.import_module(module, package)


def make_app(url: str, *, visibility_timeout: float = VISIBILITY_TIMEOUT) -> Celery:
    """The Celery app on the broker at ``url``; both sides of the queue use this one.

    Args:
        visibility_timeout: seconds; of all apps on one broker the shortest rules.
    """
    app = Celery("ip2p", broker=url, loader=Loader, set_as_current=False)
    app.conf.update(
        # JSON both ways, and nothing else is even read: pickle runs what it is sent.
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_queues=[Queue(QUEUE)],
        task_default_queue=QUEUE,
        task_create_missing_queues=False,
        # Receipts say what is done; results would only fill Redis.
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # An event per message halves the rate of handing over; workers' events feed Flower.
        task_send_sent_event=False,
        worker_send_task_events=True,
        # One process, one chunk, one GPU. Prefetching more would sit on work that another worker
        # could do; disabling it closes the moment before the limit of one takes hold.
        worker_pool="prefork",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # CUDA cannot be initialised again in a forked child (pytorch #40403).
        worker_pool_start_method="spawn",
        # Recycling a process would load the model again.
        worker_max_tasks_per_child=None,
        # Importing torch from a cold disk takes longer than the usual four seconds.
        worker_proc_alive_timeout=120,
        # For workers run by hand with REMAP_SIGTERM=SIGQUIT; the launcher does better, since
        # this sleeps for the whole window although the chunk may be done at once.
        worker_soft_shutdown_timeout=SOFT_SHUTDOWN,
        # On Redis a task survives a broken connection, and is acknowledged after it.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Redis may come up after its workers, and may be restarted: wait for it.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # Acknowledged when done, so that a worker's death gives the chunk back; but not for ever:
        # reject_on_worker_lost alone runs a deadly chunk without end, retry counts.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_retry_on_worker_lost=True,
        # A chunk that hung comes back, too, and is narrowed down like one that kills.
        task_acks_on_timeout=False,
        task_time_limit=TIME_LIMIT,
        broker_transport_options={
            "visibility_timeout": visibility_timeout,
            # Look for expired messages every 10 s; by default it is every 100 s.
            "unacked_restore_interval": min(10, visibility_timeout),
            "unacked_restore_throttle": 1,
            # A machine that dies in the midst of that holds the others up; for five minutes else.
            "unacked_mutex_expire": 10,
            "global_keyprefix": KEY_PREFIX,
            # The default separator is made of control characters, a nuisance in monitoring.
            "sep": _SEPARATOR,
            "queue_order_strategy": "priority",
            "priority_steps": list(_PRIORITY_STEPS),
            # Kombu notices a half-open connection only where reads can time out.
            "socket_timeout": 60,
            "socket_connect_timeout": 10,
            "socket_keepalive": not url.startswith("redis+socket"),
            "health_check_interval": 25,
            # Never True: redis-py then reconnects by itself in the midst of a read for orders, and
            # waits there, with no limit, for the first one. The worker takes no chunk ever again.
            "retry_on_timeout": False,
        },
        visibility_timeout=visibility_timeout,
    )
    if url.startswith("rediss://") and "ssl_" not in url:
        # Kombu's own default for rediss:// accepts any certificate.
        app.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    return app


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


def message(job: JobDir, chunk: Chunk | None, fingerprint: str) -> dict[str, str]:
    """What travels through Redis: references, a few hundred bytes."""
    values = {"job": str(job.path.absolute()), "fingerprint": fingerprint}
    return values if chunk is None else values | {"chunk": chunk.id}


def time_limit(job: JobDir, chunk: Chunk) -> int:
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
        self._redis = broker.connect(url)  # refuses a wrong URL; no network yet
        self.url = url
        self._app = make_app(url)

    def submit(self, job: JobDir, chunks: Sequence[Chunk]) -> None:
        """Send one message per chunk; sending a chunk twice does no harm."""
        asked = job.job()
        fingerprint = asked.fingerprint()
        messages = [(message(job, c, fingerprint), time_limit(job, c)) for c in chunks]
        self._send(TASK_CHUNK, messages, PRIORITIES[asked.priority])

    def assemble(self, job: JobDir) -> None:
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

    def held(self, job: JobDir) -> Held:
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
            f"The connection to {broker.redact(self.url)} failed: "
            f"{broker.scrub(str(error) or type(error).__name__, self.url)}",
            hint="When Redis is back, `ip2p-batch resume` goes on.",
            survives="Finished chunks are kept.",
        )
