"""Owner of a private Redis: runs the server until its user is gone, then tidies up.

Run as a program of its own, ``python -I -S guardian.py FOLDER SERVER``, so it needs only the
standard library and starts in a moment; nothing in the user's folder or environment can get in
its way. Its stdin is a pipe from the command: the pipe ends when the command closes it or dies,
by whatever signal.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_STOP_SECONDS = 5.0
_TICK_SECONDS = 0.2


def server_command(folder: Path, binary: str) -> list[str]:
    """The server's command line: a unix socket, no port, nothing ever evicted."""
    return [
        binary,
        *("--port", "0"),
        *("--unixsocket", str(folder / "redis.sock")),
        *("--unixsocketperm", "700"),
        *("--dir", str(folder)),
        *("--pidfile", str(folder / "redis.pid")),
        *("--appendonly", "yes"),
        *("--appendfsync", "everysec"),
        *("--save", ""),
        *("--maxmemory-policy", "noeviction"),
        *("--daemonize", "no"),
    ]


def shutdown(folder: Path) -> None:
    """Ask the server of ``folder`` to end, by its own socket: no process number can be mistaken."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_STOP_SECONDS)
        client.connect(str(folder / "redis.sock"))
        client.sendall(b"SHUTDOWN NOSAVE\r\n")
        client.recv(256)  # ends with the connection


def delete(folder: Path) -> None:
    """Delete ``folder``, also while a server that is on its way out still puts files there."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def lock(folder: Path) -> int | None:
    """Hold ``folder``: an open descriptor, or None where another process holds it.

    The lock is on the folder itself, and lasts while any process has the descriptor open. It
    also keeps systemd-tmpfiles from ageing the folder away under a job that runs for weeks.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def main(folder: Path, binary: str) -> int:
    """Run the server until stdin ends; 1 where the server does not start.

    A byte on stdin says that the server has answered. When it dies after that, killed for memory
    perhaps, it is started again: the append-only file knows its queues.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server: subprocess.Popen[bytes] | None = None
    answered = False
    # Whatever the server says goes there, also what it says before it can log (no such program,
    # a library that is missing).
    with (folder / "redis.log").open("ab", buffering=0) as log:
        try:
            while True:
                try:
                    server = subprocess.Popen(
                        server_command(folder, binary),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
                except OSError as error:
                    log.write(f"{binary}: {error.strerror}\n".encode())
                    return 1
                while server.poll() is None:
                    if not select.select([sys.stdin], [], [], _TICK_SECONDS)[0]:
                        continue
                    if not os.read(sys.stdin.fileno(), 1):
                        _stop(server)
                        delete(folder)
                        return 0
                    answered = True
                if not answered:
                    return 1  # the folder stays: the reason is in its log
                time.sleep(_TICK_SECONDS)  # not in a tight circle, should it die at every start
        finally:
            if server is not None:
                _stop(server)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
