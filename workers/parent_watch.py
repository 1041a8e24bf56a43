"""End a process when its parent has ended, by a pipe whose other end the parent holds.

The pipe closes however the parent dies, also by SIGKILL, and on every operating system. A chain of
such pipes leads from the command to the launcher and to each worker.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable


def when_stdin_ends(then: Callable[[], None]) -> None:
    """Call ``then`` in a new thread once stdin has ended."""

    def wait() -> None:
        # Not sys.stdin, whose lock would block the interpreter's exit.
        while os.read(descriptor, 1):
            pass
        then()

    descriptor = sys.stdin.fileno()
    threading.Thread(target=wait, name="parent-watch", daemon=True).start()
