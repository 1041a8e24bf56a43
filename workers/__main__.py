"""Run workers for the broker that IP2P_BROKER_URL names; see `ip2p-batch worker --help`."""

from __future__ import annotations

import argparse
import logging
import sys

from ip2p_batch.errors import BrokerError, Ip2pError
from ip2p_batch.jobs.log import set_log_level
from ip2p_batch.queue import redis_url
from ip2p_batch.settings import Settings

from .launcher import launch


def main() -> int:
    """Read the command line and run the launcher; return 2 where it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    # No --broker here: command lines are public, and a URL may contain a password.
    parser.add_argument("--devices", help="auto, cpu, or GPU numbers such as 0,1")
    parser.add_argument(
        "--workers",
        type=int,
        help="number of workers; default: two per GPU with 40 GB, one per other GPU or core",
    )
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when stdin ends")
    options = parser.parse_args()
    if options.workers is not None and options.workers < 1:
        parser.error("--workers must be 1 or more")
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
    try:
        settings = Settings.from_env()
        set_log_level(settings.log_level)
        url = settings.broker_url
        if url is None:
            raise BrokerError("A worker needs a broker.", hint="Set IP2P_BROKER_URL.")
        redis_url.connect(
            url
        ).close()  # rejects a wrong URL; workers wait for a Redis that is not up yet
        return launch(options.devices, options.workers, exit_with_parent=options.exit_with_parent)
    except Ip2pError as error:
        sys.stderr.write(f"error: {error.message} {error.hint}".rstrip() + "\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
