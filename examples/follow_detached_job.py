"""Submit a job to a broker, leave, and follow it later, here or on another host.

ip2p-batch worker --broker redis://queue-host/0 &
python examples/follow_detached_job.py clip.mp4 out.mp4 "make it autumn" redis://queue-host/0
"""

from __future__ import annotations

import argparse
import sys

import ip2p_batch


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("instruction")
    parser.add_argument("broker")
    parser.add_argument("--model", default="tiny")
    arguments = parser.parse_args()
    submitted = ip2p_batch.submit(
        arguments.source,
        arguments.instruction,
        output=arguments.output,
        recipe=ip2p_batch.recipe_for(arguments.model),
        broker=arguments.broker,
    )
    print(f"submitted {submitted.id}")

    # From here on only the id is needed: this could be another process, or another day.
    job = ip2p_batch.open_job(submitted.id, broker=arguments.broker)
    for event in job.events():
        if event.kind in ("progress", "chunk"):
            print(f"{event.done} of {event.total} frames")
    status = job.status()
    print(f"{status.state}: {status.done} of {status.total} frames in {status.output}")
    result = job.result()  # raises JobFailed or JobCancelled where the job did not finish
    for warning in result.warnings:
        print(f"warning: {warning}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
