"""The faults: what each does to a running job, and how it is undone.

A fault gets a :class:`Scene`. It returns a function that heals it, with the seconds after which to
call that, or None where nothing has to be healed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError

from .rig import KEYS, STALE, VISIBILITY, parent
from .scene import Heal, Injection, Missed, Scene
from .storage_faults import (
    delete_file,
    fill_disk,
    flip_byte,
    limit_files,
    lock_folder,
    lose_share,
    truncate_file,
)


def _kill(pid: int, number: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _kill_group(pid: int, number: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


# -- processes ---------------------------------------------------------------------------------


def kill_worker(scene: Scene) -> None:
    """Kill a worker and its child at once, as when a host loses power."""
    scene.rig.kills += 1
    _kill_group(scene.worker())


def kill_child(scene: Scene) -> None:
    """Kill the process that edits a chunk, as when memory runs out; its worker survives."""
    _kill(scene.holder())


def kill_parent(scene: Scene) -> None:
    """Kill a worker's main process while its child edits a chunk."""
    scene.rig.kills += 1
    _kill(scene.worker())


def kill_launcher(scene: Scene) -> tuple[Heal, float] | None:
    """Kill all workers of a host."""
    if scene.own:
        main = parent(parent(scene.holder()))
        if main <= 1:
            raise Missed
        _kill(main)
        return None  # the command reports it
    assert scene.rig.launcher is not None
    _kill(scene.rig.launcher.pid)
    return lambda: scene.rig.hire(and_wait=False), scene.chance.uniform(0.2, 2)


def stop_worker(scene: Scene) -> tuple[Heal, float]:
    """Stop a worker for longer than its lease, then let it continue."""
    main = scene.worker()
    _kill_group(main, signal.SIGSTOP)
    seconds = scene.chance.uniform(STALE + 1, STALE + VISIBILITY + 5)
    return lambda: _kill_group(main, signal.SIGCONT), seconds


def stop_child(scene: Scene) -> tuple[Heal, float]:
    """Stop the process that edits a chunk; its worker keeps renewing the lease."""
    child = scene.holder()
    _kill(child, signal.SIGSTOP)
    return lambda: _kill(child, signal.SIGCONT), scene.chance.uniform(STALE + 1, STALE + 4)


def kill_command(scene: Scene) -> None:
    """Kill the command that follows the job."""
    _kill(scene.commands[-1].pid)


def interrupt_command(scene: Scene) -> None:
    """Send Ctrl-C, or close the terminal."""
    number = scene.chance.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    _kill(scene.commands[-1].pid, number)


def second_command(scene: Scene) -> None:
    """Let two commands follow one job; each dispatches unfinished chunks."""
    scene.commands.insert(0, scene.start())


# -- Redis and the way to it -------------------------------------------------------------------


def kill_redis(scene: Scene) -> None:
    """Kill Redis; it restarts with what it had written."""
    _kill(_redis_pid(scene))


def wipe_redis(scene: Scene) -> None:
    """Restart Redis without its data."""
    pid = _redis_pid(scene)
    from ip2p_batch.queue import redis_url

    client = redis_url.connect(f"redis+socket://{scene.redis_folder() / 'redis.sock'}")
    with suppress(Exception):
        client.flushall()
    client.close()
    _kill(pid)


def empty_redis(scene: Scene) -> None:
    """Send FLUSHALL to a running Redis."""
    from ip2p_batch.queue import redis_url

    client = redis_url.connect(f"redis+socket://{scene.redis_folder() / 'redis.sock'}")
    client.flushall()
    client.close()


def _redis_pid(scene: Scene) -> int:
    try:
        return int((scene.redis_folder() / "redis.pid").read_text())
    except (OSError, ValueError):
        raise Missed from None


def cut_connections(scene: Scene) -> None:
    """Cut every connection to Redis, once or a few times in a row."""
    for _ in range(scene.chance.choice((1, 1, 2, 5))):
        scene.rig.proxy.cut()
        time.sleep(scene.chance.uniform(0, 0.3))


def refuse_connections(scene: Scene) -> tuple[Heal, float]:
    """Make Redis unreachable for some seconds."""
    scene.rig.proxy.refuse(True)
    return lambda: scene.rig.proxy.refuse(False), scene.chance.uniform(0.5, 6)


def delay_connections(scene: Scene) -> tuple[Heal, float]:
    """Delay what is sent to Redis by seconds."""
    scene.rig.proxy.hold(True)
    return lambda: scene.rig.proxy.hold(False), scene.chance.uniform(0.5, 6)


def _lists(scene: Scene, change: Callable[[Any, str, list[bytes]], None]) -> None:
    client = scene.rig.redis()
    found = False
    try:
        for key in KEYS:
            if messages := client.lrange(key, 0, -1):
                found = True
                change(client, key, messages)
    except RedisError:  # it is restarting after an earlier fault
        raise Missed from None
    finally:
        client.close()
    if not found:
        raise Missed


def double_messages(scene: Scene) -> None:
    """Duplicate every queued message, some of them twice."""

    def change(client: Any, key: str, messages: list[bytes]) -> None:
        copies = messages + scene.chance.sample(messages, len(messages) // 2)
        client.lpush(key, *copies)

    _lists(scene, change)


def shuffle_messages(scene: Scene) -> None:
    """Shuffle the queued messages."""

    def change(client: Any, key: str, messages: list[bytes]) -> None:
        scene.chance.shuffle(messages)
        with client.pipeline() as pipe:
            pipe.delete(key)
            pipe.rpush(key, *messages)
            pipe.execute()

    _lists(scene, change)


def lose_messages(scene: Scene) -> None:
    """Delete some of the queued messages."""

    def change(client: Any, key: str, messages: list[bytes]) -> None:
        for message in scene.chance.sample(messages, (len(messages) + 1) // 2):
            client.lrem(key, 1, message)

    _lists(scene, change)


def steal_message(scene: Scene) -> None:
    """Deliver the message of a busy worker to another one, as if its lease had expired."""
    client = scene.rig.redis()
    try:
        held = list(client.hvals("ip2p:unacked"))
        if not held:
            raise Missed
        import json

        for value in held:
            body, *_ = json.loads(value)
            client.lpush(KEYS[0], json.dumps(body))
    finally:
        client.close()


# -- the user ----------------------------------------------------------------------------------


def cancel(scene: Scene) -> None:
    """Cancel the job and resume it."""

    scene.job.cancel()


#: Every fault, with its weight in the random choice.
FAULTS: dict[Injection, int] = {
    kill_worker: 3, kill_child: 3, kill_parent: 2, kill_launcher: 2, stop_worker: 3, stop_child: 1,
    kill_command: 3, interrupt_command: 1, second_command: 2,
    kill_redis: 2, wipe_redis: 2, empty_redis: 1, cut_connections: 2, refuse_connections: 2,
    delay_connections: 1, double_messages: 2, shuffle_messages: 1, lose_messages: 2,
    steal_message: 1,
    fill_disk: 2, limit_files: 2, lock_folder: 2, lose_share: 2, delete_file: 2, truncate_file: 2,
    flip_byte: 1, cancel: 1,
}  # fmt: skip
#: These need the rig's own Redis and workers.
SHARED_ONLY = frozenset(
    {cut_connections, refuse_connections, delay_connections, double_messages, shuffle_messages,
     lose_messages, steal_message}
)  # fmt: skip
#: These need a command that follows the job.
FOLLOWED_ONLY = frozenset({kill_command, interrupt_command})
#: After these another process may still be at a chunk when the job has ended.
DOUBLE = frozenset(
    f.__name__
    for f in (
        stop_worker, stop_child, second_command, double_messages, lose_messages, steal_message,
        cut_connections, refuse_connections, delay_connections, kill_command, interrupt_command,
        wipe_redis, empty_redis,
    )
)  # fmt: skip
#: After these all workers must be at work again.
FAR = frozenset(
    f.__name__
    for f in (
        kill_redis, wipe_redis, empty_redis, cut_connections, refuse_connections, delay_connections,
        double_messages, steal_message,
    )
)  # fmt: skip
