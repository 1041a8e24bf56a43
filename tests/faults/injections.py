"""The faults: what each does to a job in work, and what puts it right again.

A fault gets a :class:`Scene` and returns what heals it, with the seconds after which that is due;
None where nothing has to be healed.
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
    """A worker and its child are gone in one moment, as when a host loses power."""
    scene.rig.kills += 1
    _kill_group(scene.worker())


def kill_child(scene: Scene) -> None:
    """The process at the chunk dies, as for want of memory; its worker lives."""
    _kill(scene.holder())


def kill_parent(scene: Scene) -> None:
    """The worker's main process dies; its child is at a chunk."""
    scene.rig.kills += 1
    _kill(scene.worker())


def kill_launcher(scene: Scene) -> tuple[Heal, float] | None:
    """All workers of a host are gone."""
    if scene.own:
        main = parent(parent(scene.holder()))
        if main <= 1:
            raise Missed
        _kill(main)
        return None  # the command sees it, and says so
    assert scene.rig.launcher is not None
    _kill(scene.rig.launcher.pid)
    return lambda: scene.rig.hire(and_wait=False), scene.chance.uniform(0.2, 2)


def stop_worker(scene: Scene) -> tuple[Heal, float]:
    """A worker stands still for longer than its lease, and then goes on as if nothing were."""
    main = scene.worker()
    _kill_group(main, signal.SIGSTOP)
    seconds = scene.chance.uniform(STALE + 1, STALE + VISIBILITY + 5)
    return lambda: _kill_group(main, signal.SIGCONT), seconds


def stop_child(scene: Scene) -> tuple[Heal, float]:
    """The process at the chunk stands still; its worker renews the lease for it."""
    child = scene.holder()
    _kill(child, signal.SIGSTOP)
    return lambda: _kill(child, signal.SIGCONT), scene.chance.uniform(STALE + 1, STALE + 4)


def kill_command(scene: Scene) -> None:
    """Whoever follows the job dies."""
    _kill(scene.commands[-1].pid)


def interrupt_command(scene: Scene) -> None:
    """Ctrl-C, or the terminal's end."""
    number = scene.chance.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    _kill(scene.commands[-1].pid, number)


def second_command(scene: Scene) -> None:
    """Two follow one job; each hands over what is not done."""
    scene.commands.insert(0, scene.start())


# -- Redis and the way to it -------------------------------------------------------------------


def kill_redis(scene: Scene) -> None:
    """Redis dies and comes back with what it had written."""
    _kill(_redis_pid(scene))


def wipe_redis(scene: Scene) -> None:
    """Redis comes back with nothing."""
    pid = _redis_pid(scene)
    from ip2p_batch.queue import redis_url

    client = redis_url.connect(f"redis+socket://{scene.redis_folder() / 'redis.sock'}")
    with suppress(Exception):
        client.flushall()
    client.close()
    _kill(pid)


def empty_redis(scene: Scene) -> None:
    """Somebody says FLUSHALL to a Redis that goes on."""
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
    """Every connection to Redis ends, once or a few times in a row."""
    for _ in range(scene.chance.choice((1, 1, 2, 5))):
        scene.rig.proxy.cut()
        time.sleep(scene.chance.uniform(0, 0.3))


def close_the_way(scene: Scene) -> tuple[Heal, float]:
    """Redis cannot be reached for some seconds."""
    scene.rig.proxy.refuse(True)
    return lambda: scene.rig.proxy.refuse(False), scene.chance.uniform(0.5, 6)


def hold_the_way(scene: Scene) -> tuple[Heal, float]:
    """What is sent to Redis arrives seconds later."""
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
    except RedisError:  # an earlier fault has it on its way up again
        raise Missed from None
    finally:
        client.close()
    if not found:
        raise Missed


def double_messages(scene: Scene) -> None:
    """Every message that waits comes twice, and some three times."""

    def change(client: Any, key: str, messages: list[bytes]) -> None:
        copies = messages + scene.chance.sample(messages, len(messages) // 2)
        client.lpush(key, *copies)

    _lists(scene, change)


def shuffle_messages(scene: Scene) -> None:
    """The messages that wait change places."""

    def change(client: Any, key: str, messages: list[bytes]) -> None:
        scene.chance.shuffle(messages)
        with client.pipeline() as pipe:
            pipe.delete(key)
            pipe.rpush(key, *messages)
            pipe.execute()

    _lists(scene, change)


def lose_messages(scene: Scene) -> None:
    """Some of the messages that wait are gone."""

    def change(client: Any, key: str, messages: list[bytes]) -> None:
        for message in scene.chance.sample(messages, (len(messages) + 1) // 2):
            client.lrem(key, 1, message)

    _lists(scene, change)


def steal_message(scene: Scene) -> None:
    """What a worker holds comes to another, too: the lease is not what it seemed."""
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
    """The job is cancelled, and taken up again."""

    scene.job.cancel()


#: Every kind, with the number of shares it has in the drawing.
FAULTS: dict[Injection, int] = {
    kill_worker: 3, kill_child: 3, kill_parent: 2, kill_launcher: 2, stop_worker: 3, stop_child: 1,
    kill_command: 3, interrupt_command: 1, second_command: 2,
    kill_redis: 2, wipe_redis: 2, empty_redis: 1, cut_connections: 2, close_the_way: 2,
    hold_the_way: 1, double_messages: 2, shuffle_messages: 1, lose_messages: 2, steal_message: 1,
    fill_disk: 2, limit_files: 2, lock_folder: 2, lose_share: 2, delete_file: 2, truncate_file: 2,
    flip_byte: 1, cancel: 1,
}  # fmt: skip
#: These need the rig's own Redis and workers.
SHARED_ONLY = frozenset(
    {cut_connections, close_the_way, hold_the_way, double_messages, shuffle_messages,
     lose_messages, steal_message}
)  # fmt: skip
#: These need a command that follows the job.
FOLLOWED_ONLY = frozenset({kill_command, interrupt_command})
#: After these another process may still be at a chunk when the job has ended.
DOUBLE = frozenset(
    f.__name__
    for f in (
        stop_worker, stop_child, second_command, double_messages, lose_messages, steal_message,
        cut_connections, close_the_way, hold_the_way, kill_command, interrupt_command, wipe_redis,
        empty_redis,
    )
)  # fmt: skip
#: After these all workers must be at work again.
FAR = frozenset(
    f.__name__
    for f in (
        kill_redis, wipe_redis, empty_redis, cut_connections, close_the_way, hold_the_way,
        double_messages, steal_message,
    )
)  # fmt: skip
