"""Supervisor of a private Redis: runs the server until the command ends, then cleans up.

Run as a separate program, ``python -I -S redis_supervisor.py FOLDER SERVER``. It needs only the
standard library, so it starts quickly and is independent of the user's folder and environment. Its
stdin is a pipe from the command, which ends when the command closes it or dies by any signal.
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
    """The command line of the server: a unix socket, no TCP port, no eviction."""
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
    """Stop the server of ``folder`` through its socket; a PID could belong to another process."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_STOP_SECONDS)
        client.connect(str(folder / "redis.sock"))
        client.sendall(b"SHUTDOWN NOSAVE\r\n")
        client.recv(256)  # ends with the connection


def delete(folder: Path) -> None:
    """Delete ``folder``, even while a server that is shutting down still writes files there."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def lock(folder: Path) -> int | None:
    """Lock ``folder``; an open descriptor, or None if another process has the lock.

    The lock is on the folder itself and lasts while any process has the descriptor open. It also
    keeps systemd-tmpfiles from deleting the folder of a job that runs for weeks.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def main(folder: Path, binary: str) -> int:
    """Run the server until stdin ends. Return 1 if the server fails to start.

    A byte on stdin means that the server has answered. A server that dies after that, killed for
    memory perhaps, is started again; its append-only file has the queues.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server: subprocess.Popen[bytes] | None = None
    answered = False
    # All output of the server, including errors before it can log (a missing library).
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
                    return 1  # keep the folder: its log has the reason
                time.sleep(_TICK_SECONDS)  # no busy loop if the server dies at every start
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
