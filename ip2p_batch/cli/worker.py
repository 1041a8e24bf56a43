"""``worker``: replace this process by the workers' launcher."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from ..errors import RecipeError
from .options import DevicesOption, WorkersOption, broker_option


def worker(
    broker: Annotated[str | None, broker_option()] = None,
    devices: DevicesOption = None,
    workers: WorkersOption = None,
) -> int:
    """Start workers for a broker: run this on every GPU machine.

    Workers keep the model loaded between chunks. A GPU with 40 GB or more gets two workers: one
    computes while the other decodes and encodes. SIGTERM stops the workers after their current
    chunks; chunks that take too long are requeued. All machines must see sources, results and job
    folders (IP2P_JOBS_DIR) under the same paths.

    Examples:
      ip2p-batch worker --broker redis://host/0
      ip2p-batch worker --broker redis://host/0 --devices 0,1
      ip2p-batch worker --broker redis://host/0 --devices cpu --workers 4
    """
    if not broker:
        raise RecipeError(
            "A worker needs a broker.",
            hint="Give --broker redis://host/0, or set IP2P_BROKER_URL.",
        )
    from ..queue.local_workers import launcher_command, launcher_env
    from ..queue.redis_url import check_broker

    check_broker(broker)
    sys.stderr.flush()
    # Replaces this process, so that signals reach the launcher directly.
    os.execve(  # noqa: S606
        sys.executable, launcher_command(devices, workers), launcher_env(broker)
    )
