"""What a worker takes from Redis, looked at before Celery sees it.

Celery trusts its queue: text that is no message ends the worker, a pickled body is refused only
after it was taken into hand, and a message may bring tasks of its own to call, a time to wait or a
limit to be killed after. Here a message of the queue has to be one of ours, to the field; what is
not is dropped with one line in the log. Uses private parts of Kombu 5.7; its version is pinned.
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
from ip2p_batch.queue.messages import LEAST_TIME_LIMIT, QUEUE, TASK_CHUNK, TIME_LIMIT, Message

log = logging.getLogger(__name__)

#: Bytes of a message as it lies in Redis. Ours have some 1500, or 45000 with the longest path.
MAX_BYTES = 64 * 1024
#: Orders from Redis that are followed. Those that only ask are; to stop, starve or empty a worker
#: is for its own host to say.
ORDERS = frozenset({"enable_events", "disable_events", "heartbeat"})
_NOT_ASKED = frozenset({"objgraph", "memdump", "memsample"})  # they write files, or take long

_Text = Annotated[str, msgspec.Meta(max_length=512)]
_Small = Annotated[int, msgspec.Meta(ge=0, le=100)]
#: Of a time limit: what an executor sets. A shorter one would have a chunk killed.
_Seconds = Annotated[float, msgspec.Meta(ge=LEAST_TIME_LIMIT, le=TIME_LIMIT)]
_Count = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,3}\Z")]
_Nothing = Annotated[list[object], msgspec.Meta(max_length=0)]


class _Headers(msgspec.Struct):
    """Of a message; those that are not named here do nothing (traces of other tools, say)."""

    task: Literal["ip2p.chunk", "ip2p.assemble"]
    id: _Text
    retries: _Small = 0
    ip2p_seen: _Count = "0"
    ip2p_again: _Count = "0"
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
    """What Celery would run beside the task, or after it."""

    callbacks: _Nothing | None = None
    errbacks: _Nothing | None = None
    chain: _Nothing | None = None
    chord: None = None


_Body = tuple[_Nothing, Message, _Embedded]


def read(raw: bytes) -> dict[str, Any]:
    """A message as Kombu wants it, once it has been looked at.

    Raises:
        ValueError: it is none of ours; says why.
    """
    if len(raw) > MAX_BYTES:
        raise ValueError(f"it has {len(raw)} bytes, more than {MAX_BYTES}")
    try:
        envelope = msgspec.json.decode(raw, type=_Envelope)
        message = msgspec.json.decode(envelope.body, type=_Body)[1]
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if (message.chunk == ASSEMBLY) == (envelope.headers.task == TASK_CHUNK):
        raise ValueError(f"{envelope.headers.task} and chunk {message.chunk} do not go together")
    found: dict[str, Any] = msgspec.json.decode(raw)
    return found


class QoS(redis.QoS):
    """Kombu's, which looks at the messages of dead workers before it puts them back.

    They lie in a hash for all to write to, and one that is damaged would end whoever restores it.
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
        except Exception as error:  # something else of that name, say
            log.error("could not look for messages of dead workers: %s", str(error)[:300])


def check_unacked(raw: bytes | str) -> None:
    """Look at a message that somebody has in hand, as Kombu keeps it.

    Raises:
        ValueError: it is none of ours; says why.
    """
    message, _, queue = msgspec.json.decode(raw, type=tuple[dict[str, object], str, str])
    if queue != QUEUE:
        raise ValueError(f"it is for the queue {queue[:100]}")
    read(msgspec.json.encode(message))


def _drop(error: Exception, where: str) -> None:
    log.error("message dropped: %s (%s)", " ".join(str(error).split())[:300], where)


class Channel(redis.Channel):
    """Kombu's, which looks at what it has popped."""

    QoS = QoS

    connection_errors: tuple[type[BaseException], ...]
    _queue_cycle: Any
    _flush_brpop_reauth: Any

    def _brpop_read(self, **options: Any) -> bool:
        # As Kombu's own, but for the part in the middle.
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
                # Else it is an answer to what this process asked of the other workers.
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
    """Kombu's, with that channel; orders that make no sense do not end the worker."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str | None) -> None:
        if queue == QUEUE:
            super()._deliver(message, queue)
            return
        try:
            super()._deliver(message, queue)
        except Exception as error:  # anything may stand in an order, and Kombu looks at nothing
            log.error("order dropped: %s: %s", type(error).__name__, str(error)[:300])


def install() -> None:
    """Have every connection of this process look at what it takes, and follow few orders."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:{Transport.__name__}"))
    for name, order in list(Panel.meta.items()):
        if name in _NOT_ASKED or (order.type == "control" and name not in ORDERS):
            for key in filter(None, (name, order.alias)):
                Panel.data[key] = _refused


def _refused(*_: Any, **__: Any) -> dict[str, str]:
    return {"error": "not followed: a worker is stopped and limited on its own host, by signals"}
