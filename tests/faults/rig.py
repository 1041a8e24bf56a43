"""The system under test: a Redis behind a proxy, worker processes, and commands that follow jobs.

All of it is real. Every process carries ``CHAOS_RIG`` in its environment, so that all
are found when they are counted at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from ip2p_batch.errors import BrokerError
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.queue import redis_url
from ip2p_batch.queue.celery_executor import CeleryExecutor
from ip2p_batch.queue.private_redis import PrivateRedis

ROOT = Path(__file__).parents[2]
#: Seconds, short: a lease that runs out is a fault like any other here.
STALE = 3
VISIBILITY = 4
KEYS = ("ip2p:chunks", "ip2p:chunks:3", "ip2p:chunks:6", "ip2p:chunks:9")


class Proxy:
    """Forwards connections to a unix socket; can cut or delay them."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._flow = threading.Event()
        self._flow.set()
        self._refuse = False
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> int:
        """Close every connection and return their number."""
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return len(ends) // 2

    def refuse(self, refuse: bool) -> None:
        """Refuse new connections and cut the existing ones."""
        self._refuse = refuse
        if refuse:
            self.cut()

    def hold(self, hold: bool) -> None:
        """Hold data back: the network hangs, without an error on either side."""
        if hold:
            self._flow.clear()
        else:
            self._flow.set()

    def close(self) -> None:
        self._server.close()
        self.hold(False)
        self.cut()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                if self._refuse:
                    raise OSError
                server.connect(str(self._target))
            except OSError:
                client.close()
                server.close()
                continue
            with self._lock:
                self._open |= {client, server}
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flow.wait()
                target.sendall(data)
        with self._lock:
            self._open -= {source, target}
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()


class Rig:
    """A Redis, a proxy before it, and a launcher with its workers.

    Args:
        folder: for everything that is written.
        workers: how many.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.workers = workers
        self.mark = uuid.uuid4().hex
        os.environ |= {
            "CHAOS_RIG": self.mark,
            "XDG_STATE_HOME": str(folder / "state"),
            "IP2P_HEARTBEAT_TIMEOUT": str(STALE),
            "IP2P_VISIBILITY_TIMEOUT": str(VISIBILITY),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        self.log = folder / "workers.log"
        self.kills = 0
        self._redis = PrivateRedis()
        self._redis.__enter__()
        self.proxy = Proxy(self._redis.socket)
        self.url = f"redis://127.0.0.1:{self.proxy.port}/0"
        self.launcher: subprocess.Popen[bytes] | None = None
        self.hire()

    # -- workers -----------------------------------------------------------------------

    def hire(self, *, and_wait: bool = True) -> None:
        """Start the launcher with its workers, in place of the one before."""
        self.dismiss()
        self.kills = 0
        with self.log.open("ab") as log:
            self.launcher = subprocess.Popen(
                [sys.executable, "-m", "workers", "--devices", "cpu", "--exit-with-parent",
                 "--workers", str(self.workers)],
                env=self.env(), stdin=subprocess.PIPE, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        if and_wait and not self.all_answer(60):
            raise RuntimeError(f"no workers: {self.log.read_text()[-2000:]}")

    def all_answer(self, seconds: float) -> bool:
        """Return whether every worker answers within ``seconds``."""
        with closing(CeleryExecutor(self.url)) as executor:

            def answer() -> bool:
                with suppress(BrokerError):  # a connection from before the last cut
                    return len(executor.workers(0.5)) >= self.workers
                return False

            return wait(answer, seconds)

    def dismiss(self) -> None:
        if self.launcher is None:
            return
        assert self.launcher.stdin is not None
        for pid in self.worker_groups():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGCONT)
        self.launcher.stdin.close()
        try:
            self.launcher.wait(20)
        except subprocess.TimeoutExpired:
            self.launcher.kill()
            self.launcher.wait()

    def worker_groups(self) -> list[int]:
        """Main processes of the workers; each leads its group."""
        return children(self.launcher.pid) if self.launcher is not None else []

    def worker_processes(self) -> list[int]:
        """Main processes and their children."""
        return [p for main in self.worker_groups() for p in (main, *children(main))]

    def env(self, **more: str) -> dict[str, str]:
        return {**os.environ, "IP2P_BROKER_URL": self.url, "PYTHONPATH": str(ROOT), **more}

    # -- Redis -------------------------------------------------------------------------

    @property
    def redis_folder(self) -> Path:
        return self._redis.folder

    def redis(self) -> Any:
        """A client that bypasses the proxy."""
        return redis_url.connect(self._redis.url)

    def forget_messages(self) -> None:
        """Remove what the last case left."""
        client = self.redis()
        for _ in range(100):
            with suppress(Exception):
                client.delete(*KEYS, "ip2p:unacked", "ip2p:unacked_index")
                break
            time.sleep(0.1)
        client.close()

    # -- commands ----------------------------------------------------------------------

    def command(self, *arguments: str, own: bool = False) -> subprocess.Popen[bytes]:
        """``ip2p-batch ARGUMENTS``, on this Redis, or with one and workers of its own."""
        env = self.env()
        if own:
            del env["IP2P_BROKER_URL"]
        with (self.folder / "commands.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "ip2p_batch", *arguments],
                env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                start_new_session=True,
            )  # fmt: skip

    def said(self) -> str:
        """Return the output of all commands so far."""
        path = self.folder / "commands.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> list[str]:
        """End everything; command lines of processes that are left after that."""
        self.dismiss()
        self._redis.__exit__()
        self.proxy.close()
        end = time.monotonic() + 15
        while (left := list(marked(self.mark))) and time.monotonic() < end:
            time.sleep(0.1)
        return left


def holders(job: JobFolder) -> list[int]:
    """Processes that hold a chunk of this job now, as far as its folder says."""
    with suppress(Exception):
        return [
            c.worker.pid for c in job.heartbeats.all() if Path(f"/proc/{c.worker.pid}").exists()
        ]
    return []


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def parent(pid: int) -> int:
    """The parent's number; 0 where there is no such process."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def marked(mark: str) -> Iterator[str]:
    """Command lines of running processes that carry the mark, except this one."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            if f"CHAOS_RIG={mark}".encode() not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            line = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            if (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                yield f"{entry.name} {line}"


def wait(condition: Callable[[], object], seconds: float, step: float = 0.02) -> bool:
    """Whether ``condition()`` became true within ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(step)
    return False


def small_disk(folder: Path, size: str) -> bool:
    """Mount a small file system at ``folder``; False where this process may not."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.environ.get("CHAOS_NAMESPACE") != "own" or shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "chaos", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def new_folder() -> Path:
    """A folder with a short path: the paths of sockets are limited."""
    return Path(tempfile.mkdtemp(prefix="chaos-"))
