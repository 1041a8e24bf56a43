"""Is a worker process alive in this container? Exit code 0 or 1.

Reads /proc only: takes milliseconds, asks nothing of a worker that is busy for minutes, and does
not call a healthy worker ill because Redis is down (it waits for Redis by itself). It does not see
a hung GPU: that is what the time limit of a chunk is for, which ends its process.

The launcher starts dead workers again, so what is found here is that it could not.
"""

from __future__ import annotations

import sys
from pathlib import Path

#: The module that every worker process is started as (``workers/launcher.py``).
WORKER = b"workers.worker"


def workers(proc: Path) -> list[int]:
    """Ids of the live worker processes; zombies have no command line, so they do not count."""
    found = []
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended in this moment, or is another user's
        if WORKER in arguments:
            found.append(int(entry.name))
    return found


if __name__ == "__main__":
    sys.exit(0 if workers(Path("/proc")) else 1)
