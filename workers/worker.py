"""One worker process: ``python -m workers.worker NAME SECONDS``, started by the launcher.

It is the leader of a process group of its own and has a pipe from the launcher as stdin.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings

from celery.exceptions import SecurityWarning

from . import task_request
from .app import app
from .parent_watch import when_stdin_ends


def main(name: str, time_limit: str) -> None:
    """Work until told to stop, or until the launcher is gone.

    Args:
        name: of this worker on this host.
        time_limit: seconds after which a chunk has hung.
    """
    # The whole group: the child at the GPU must not outlive its worker.
    when_stdin_ends(lambda: os.killpg(0, signal.SIGKILL))
    # The launcher counts the soft window, so SIGQUIT gives the chunk back at once.
    app.conf.worker_soft_shutdown_timeout = 0
    # About running as root, as containers do: the risk is pickle's, and none is accepted.
    warnings.simplefilter("ignore", SecurityWarning)
    task_request.limit_to(float(time_limit))
    options = ["--hostname", f"{name}@%h", "--loglevel", "WARNING"]
    # Gossip and mingle only help workers that share state; ours share a folder.
    app.worker_main(["-q", "worker", *options, "--without-gossip", "--without-mingle"])


if __name__ == "__main__":
    main(*sys.argv[1:])
