"""One worker process: ``python -m workers.worker NAME SECONDS``, started by the launcher.

It leads a process group of its own, and its stdin is a pipe from the launcher.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings

from celery.exceptions import SecurityWarning

from .app import app
from .parent_watch import when_stdin_ends


def main(name: str, time_limit: str) -> None:
    """Run until a signal stops the worker, or until the launcher has ended.

    Args:
        name: of this worker on this host.
        time_limit: seconds after which a chunk counts as hung.
    """
    # The whole group: the child process that uses the GPU must not outlive its worker.
    when_stdin_ends(lambda: os.killpg(0, signal.SIGKILL))
    # The launcher waits for the soft shutdown, so SIGQUIT releases the chunk at once.
    app.conf.worker_soft_shutdown_timeout = 0
    # Celery warns about running as root, as containers do, because of pickle; none is accepted.
    warnings.simplefilter("ignore", SecurityWarning)
    app.conf.task_time_limit = float(time_limit)
    options = ["--hostname", f"{name}@%h", "--loglevel", "WARNING"]
    # Gossip and mingle help workers that share state in Celery; ours share a folder.
    app.worker_main(["-q", "worker", *options, "--without-gossip", "--without-mingle"])


if __name__ == "__main__":
    main(*sys.argv[1:])
