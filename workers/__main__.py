"""Run workers for the broker that IP2P_BROKER_URL names; `ip2p-batch worker --help` says more."""

from __future__ import annotations

import argparse
import logging
import sys

from ip2p_batch.errors import BrokerError, Ip2pError
from ip2p_batch.queue import redis_url
from ip2p_batch.settings import Settings

from .launcher import launch


def main() -> int:
    """Read the command line and run the launcher; 2 where it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    # No --broker here: a command line is everybody's to read, and a URL may hold a password.
    parser.add_argument("--devices", help="auto, cpu, or GPU numbers such as 0,1")
    parser.add_argument(
        "--workers",
        type=int,
        help="how many; by default two on each GPU with 40 GB, one on others, else one per core",
    )
    parser.add_argument("--exit-with-parent", action="store_true", help="end when stdin ends")
    options = parser.parse_args()
    if options.workers is not None and options.workers < 1:
        parser.error("--workers must be 1 or more")
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
    try:
        url = Settings.from_env().broker_url
        if url is None:
            raise BrokerError("A worker needs a broker to listen to.", hint="Set IP2P_BROKER_URL.")
        redis_url.connect(url).close()  # a wrong URL; a Redis that is not up yet is waited for
        return launch(options.devices, options.workers, exit_with_parent=options.exit_with_parent)
    except Ip2pError as error:
        sys.stderr.write(f"error: {error.message} {error.hint}".rstrip() + "\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
