"""The faults: what each does to a job in work, and what puts it right again.

A fault gets a :class:`Scene` and returns what heals it, with the seconds after which that is due;
None where nothing has to be healed.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ip2p_batch.jobdir import JobDir

from .rig import KEYS, STALE, VISIBILITY, Rig, children, holders, parent, wait

Heal = Callable[[], object]
Injection = Callable[["Scene"], "tuple[Heal, float] | None"]


class Missed(Exception):
    """There was nothing to break at that moment."""


@dataclass
class Scene:
    """A job in work.

    Attributes:
        own: whether the command runs a Redis and workers of its own.
        commands: that follow the job, the oldest first.
        outputs: the folder into which the result goes.
        storage_is_ill: while it is, ``status`` may say that it cannot read.
    """

    rig: Rig
    job: JobDir
    chance: random.Random
    own: bool
    commands: list[subprocess.Popen[bytes]]
    outputs: Path
    start: Callable[[], subprocess.Popen[bytes]]
    storage_is_ill: bool = False
    notes: list[str] = field(default_factory=list)

    def holder(self) -> int:
        """A process that holds a chunk, or may be at the assembly; waits a little for one."""
        found: list[int] = []
        if not self.own and self.job.marked("submitted/assembly"):
            found = [c for main in self.rig.worker_groups() for c in children(main)]
        wait(lambda: found or found.extend(holders(self.job)) or self.job.ended, 3)
        if not found:
            raise Missed
        return self.chance.choice(found)

    def worker(self) -> int:
        """Main process of the worker that holds a chunk."""
        main = parent(self.holder())
        if main <= 1:
            raise Missed
        return main

    def redis_folder(self) -> Path:
        if not self.own:
            return self.rig.redis_folder
        for path in self.rig.folder.glob("ip2p-redis-*/redis.pid"):
            return path.parent
        raise Missed

    def processes(self) -> list[int]:
        """Workers and their children."""
        if not self.own:
            return self.rig.worker_processes()
        found = [c.pid for c in self.commands if c.poll() is None]
        for pid in found:
            found += [child for child in children(pid) if child not in found]
        return found


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
    from ip2p_batch import broker

    client = broker.connect(f"redis+socket://{scene.redis_folder() / 'redis.sock'}")
    with suppress(Exception):
        client.flushall()
    client.close()
    _kill(pid)


def empty_redis(scene: Scene) -> None:
    """Somebody says FLUSHALL to a Redis that goes on."""
    from ip2p_batch import broker

    client = broker.connect(f"redis+socket://{scene.redis_folder() / 'redis.sock'}")
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


# -- storage -----------------------------------------------------------------------------------


def fill_disk(scene: Scene) -> tuple[Heal, float]:
    """Not a block is left, where there is a small disk to fill; else no file may grow."""
    if not os.path.ismount(scene.rig.folder / "disk"):
        return limit_files(scene)
    scene.storage_is_ill = True
    ballast = scene.rig.folder / "disk" / "ballast"
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while file.write(b"\0" * size):
                    pass

    def heal() -> None:
        ballast.unlink(missing_ok=True)
        scene.storage_is_ill = False

    return heal, scene.chance.uniform(0.3, 4)


def limit_files(scene: Scene) -> tuple[Heal, float]:
    """Workers can write no file beyond so many bytes; the first bytes go well."""
    limit = scene.chance.choice((0, 200, 2000, 6000))
    pids = scene.processes()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def set_all(value: int) -> None:
        for pid in pids:
            with suppress(OSError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (value, most))

    set_all(limit)
    return lambda: set_all(most), scene.chance.uniform(0.3, 4)


def lock_folder(scene: Scene) -> tuple[Heal, float]:
    """The job folder, or the result's, can be read and not written."""
    scene.storage_is_ill = True
    top = scene.chance.choice((scene.job.path, scene.job.path, scene.outputs))
    folders = [Path(where) for where, _, _ in os.walk(top)]
    modes = {}
    for folder in folders:
        with suppress(FileNotFoundError):
            modes[folder] = stat.S_IMODE(folder.stat().st_mode)
            folder.chmod(0o555)

    def heal() -> None:
        for folder, mode in modes.items():
            with suppress(FileNotFoundError):
                folder.chmod(mode)
        scene.storage_is_ill = False

    return heal, scene.chance.uniform(0.3, 4)


def lose_share(scene: Scene) -> tuple[Heal, float]:
    """The job folder is gone for a while, as when a share is not mounted."""
    scene.storage_is_ill = True
    path = scene.job.path
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)

    def heal() -> None:
        if path.exists():
            grown = sorted(p.relative_to(path).as_posix() for p in path.rglob("*"))
            scene.notes.append(f"grew where the share was not mounted: {grown}")
            shutil.rmtree(path)
        aside.rename(path)
        scene.storage_is_ill = False

    return heal, scene.chance.uniform(0.3, 4)


def _some_file(scene: Scene) -> Path:
    folders = ["receipts", "segments", "borders"]
    scene.chance.shuffle(folders)
    for folder in folders:
        with suppress(OSError):
            found = sorted(p for p in (scene.job.path / folder).iterdir() if p.name[0] != ".")
            if found:
                return scene.chance.choice(found)
    raise Missed


def delete_file(scene: Scene) -> None:
    """A receipt, a segment or a border's latents are gone."""
    path = _some_file(scene)
    scene.notes.append(f"deleted {path.parent.name}/{path.name}")
    path.unlink(missing_ok=True)


def truncate_file(scene: Scene) -> None:
    """A receipt, a segment or a border's latents end too early."""
    path = _some_file(scene)
    with suppress(FileNotFoundError):
        size = path.stat().st_size
        cut = scene.chance.choice((0, size // 2, size - 1))
        os.truncate(path, cut)
        scene.notes.append(f"cut {path.parent.name}/{path.name} from {size} to {cut}")


def flip_byte(scene: Scene) -> None:
    """A segment, or a border's latents, has another byte than the worker wrote."""
    folder = scene.job.path / scene.chance.choice(("segments", "segments", "borders"))
    found = sorted(p for p in folder.iterdir() if p.name[0] != ".") if folder.is_dir() else []
    if not found:
        raise Missed
    path = scene.chance.choice(found)
    with suppress(FileNotFoundError):
        data = bytearray(path.read_bytes())
        at = scene.chance.randrange(len(data))
        data[at] ^= 0x41
        with path.open("r+b") as file:
            file.write(data)
        scene.notes.append(f"byte {at} of {path.name}")


# -- the user ----------------------------------------------------------------------------------


def cancel(scene: Scene) -> None:
    """The job is cancelled, and taken up again."""
    from ip2p_batch import run

    run.cancel(scene.job)


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
