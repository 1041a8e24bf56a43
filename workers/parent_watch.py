"""Ends processes whose parent is gone: the parent holds one end of a pipe, they read the other.

A pipe ends however the parent dies, also by SIGKILL, and on every system; a chain of such pipes
goes from the command to the launcher and on to each worker.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable


def when_stdin_ends(then: Callable[[], None]) -> None:
    """Call ``then`` in a thread of its own once stdin has ended."""

    def wait() -> None:
        # Not sys.stdin: its lock would hold up the interpreter's exit.
        while os.read(descriptor, 1):
            pass
        then()

    descriptor = sys.stdin.fileno()
    threading.Thread(target=wait, name="lifeline", daemon=True).start()
