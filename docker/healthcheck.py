"""Check that a worker process is alive in this container. Exit code 0 or 1.

Reads /proc only. This takes milliseconds, does not wait for a worker that is busy for minutes, and
does not report a healthy worker as failed because Redis is down (workers wait for Redis). It does
not detect a hung GPU: the time limit of a chunk ends such a process.

The launcher restarts dead workers, so a failed check means that the restart failed.
"""

from __future__ import annotations

import sys
from pathlib import Path

#: Module that ``workers/launcher.py`` starts as a worker process.
WORKER = b"workers.worker"


def workers(proc: Path) -> list[int]:
    """Return the ids of live worker processes; zombies have no command line and do not count."""
    pids = []
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # the process ended just now, or belongs to another user
        if WORKER in arguments:
            pids.append(int(entry.name))
    return pids


if __name__ == "__main__":
    sys.exit(0 if workers(Path("/proc")) else 1)
