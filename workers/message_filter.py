"""Validate messages from Redis before Celery sees them.

Celery trusts its queue: text that is no message ends the worker, a pickled body is rejected only
after delivery, and a message may name further tasks to call, a delay or a time limit. Here every
field of a message must be as this project sends it; other messages are dropped with one line in
the log. Uses private parts of Kombu 5.7, whose version is pinned.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal

import msgspec
from celery.worker.control import Panel
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.transport.virtual import Empty
from kombu.utils.encoding import bytes_to_str

from ip2p_batch.jobs.plan import ASSEMBLY
from ip2p_batch.queue.messages import MIN_TIME_LIMIT, QUEUE, TASK_CHUNK, TIME_LIMIT, Message

log = logging.getLogger(__name__)

#: Bytes of a message in Redis. Ours have about 1500, or 45000 with the longest path.
MAX_BYTES = 64 * 1024
#: Control commands from Redis that are obeyed, in addition to queries. Only signals on its own host
#: stop or limit a worker.
CONTROL_COMMANDS = frozenset({"enable_events", "disable_events", "heartbeat"})
_DISABLED_QUERIES = frozenset({"objgraph", "memdump", "memsample"})  # write files, or are slow

_Text = Annotated[str, msgspec.Meta(max_length=512)]
_Small = Annotated[int, msgspec.Meta(ge=0, le=100)]
#: Time limits that an executor sets; a shorter one would kill a chunk.
_Seconds = Annotated[float, msgspec.Meta(ge=MIN_TIME_LIMIT, le=TIME_LIMIT)]
_Count = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,3}\Z")]
_Nothing = Annotated[list[object], msgspec.Meta(max_length=0)]


class _Headers(msgspec.Struct):
    """Headers of a message; other ones have no effect, such as traces of monitoring tools."""

    task: Literal["ip2p.chunk", "ip2p.assemble"]
    id: _Text
    retries: _Small = 0
    ip2p_folder_missing: _Count = "0"
    ip2p_chunk_taken: _Count = "0"
    compression: None = None
    eta: None = None
    expires: None = None
    timelimit: tuple[_Seconds | None, None] | None = None
    shadow: None = None
    group: None = None
    stamped_headers: _Nothing | None = None


class _Properties(msgspec.Struct):
    delivery_tag: _Text
    body_encoding: Literal["base64"]
    delivery_info: dict[str, object]
    priority: _Small = 0


class _Envelope(msgspec.Struct, rename="kebab"):
    body: bytes  # from base64
    content_type: Literal["application/json"]
    content_encoding: Literal["utf-8"]
    headers: _Headers
    properties: _Properties


class _Embedded(msgspec.Struct, forbid_unknown_fields=True):
    """Tasks that Celery would run after this one; all must be empty."""

    callbacks: _Nothing | None = None
    errbacks: _Nothing | None = None
    chain: _Nothing | None = None
    chord: None = None


_Body = tuple[_Nothing, Message, _Embedded]


def read(raw: bytes) -> dict[str, Any]:
    """Validate a message and return it in Kombu's form.

    Raises:
        ValueError: the message is not one of this project; says why.
    """
    if len(raw) > MAX_BYTES:
        raise ValueError(f"it has {len(raw)} bytes, more than {MAX_BYTES}")
    try:
        envelope = msgspec.json.decode(raw, type=_Envelope)
        message = msgspec.json.decode(envelope.body, type=_Body)[1]
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if (message.chunk == ASSEMBLY) == (envelope.headers.task == TASK_CHUNK):
        raise ValueError(f"{envelope.headers.task} does not match chunk {message.chunk}")
    decoded: dict[str, Any] = msgspec.json.decode(raw)
    return decoded


class QoS(redis.QoS):
    """Kombu's QoS, which validates messages of dead workers before it requeues them.

    Every client of Redis can write that hash, and a damaged entry would end the worker.
    """

    channel: Any
    _remove_from_indices: Any

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        with self.channel.conn_or_acquire(client) as connected:
            raw = connected.hget(self.unacked_key, tag)
            try:
                if raw is not None:
                    check_unacked(raw)
            except (ValueError, msgspec.MsgspecError, RecursionError) as error:
                _drop(error, "unacked")
                self._remove_from_indices(tag).execute()
                return
            super().restore_by_tag(tag, connected, leftmost)

    def restore_visible(self, *arguments: Any, **options: Any) -> None:
        try:
            super().restore_visible(*arguments, **options)
        except self.channel.connection_errors:
            raise
        except Exception as error:  # for example a key of another type under that name
            log.error("messages of dead workers were not restored: %s", str(error)[:300])


def check_unacked(raw: bytes | str) -> None:
    """Validate an unacknowledged message in the form in which Kombu stores it.

    Raises:
        ValueError: the message is not one of this project; says why.
    """
    message, _, queue = msgspec.json.decode(raw, type=tuple[dict[str, object], str, str])
    if queue != QUEUE:
        raise ValueError(f"it is for the queue {queue[:100]}")
    read(msgspec.json.encode(message))


def _drop(error: Exception, where: str) -> None:
    log.error("message dropped: %s (%s)", " ".join(str(error).split())[:300], where)


class Channel(redis.Channel):
    """Kombu's channel, which validates every message that it takes from a queue."""

    QoS = QoS

    connection_errors: tuple[type[BaseException], ...]
    _queue_cycle: Any
    _flush_brpop_reauth: Any

    def _brpop_read(self, **options: Any) -> bool:
        # As in Kombu, except for the validation.
        try:
            try:
                popped = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            if not popped:
                raise Empty
            key, raw = popped
            queue = bytes_to_str(key).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            try:
                raw = raw if isinstance(raw, bytes) else str(raw).encode()
                # Other queues carry answers of workers to queries of this process.
                message = read(raw) if queue == QUEUE else msgspec.json.decode(raw)
            except (ValueError, msgspec.MsgspecError) as error:
                _drop(error, queue)
                raise Empty from None
            self.connection._deliver(message, queue)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()


class Transport(redis.Transport):
    """Kombu's transport with that channel; invalid control commands do not end the worker."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str | None) -> None:
        if queue == QUEUE:
            super()._deliver(message, queue)
            return
        try:
            super()._deliver(message, queue)
        except Exception as error:  # Kombu does not validate control commands
            log.error("control command dropped: %s: %s", type(error).__name__, str(error)[:300])


def install() -> None:
    """Validate messages on every connection of this process, and disable control commands."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:{Transport.__name__}"))
    for name, command in list(Panel.meta.items()):
        if name in _DISABLED_QUERIES or (
            command.type == "control" and name not in CONTROL_COMMANDS
        ):
            for key in filter(None, (name, command.alias)):
                Panel.data[key] = _reject


def _reject(*_: Any, **__: Any) -> dict[str, str]:
    return {"error": "rejected: stop and limit a worker on its own host, by signals"}
