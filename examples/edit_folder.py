"""Edit a folder of images from Python, with progress, and list what failed.

python examples/edit_folder.py catalog/ edited/ "make it snow" --model tiny
"""

from __future__ import annotations

import argparse
import sys

import ip2p_batch


def show(event: ip2p_batch.Event) -> None:
    if event.kind == "progress":
        print(f"\r{event.done} of {event.total}", end="", file=sys.stderr)
    elif event.kind == "warning":
        print(f"warning: {event.message}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("instruction")
    parser.add_argument("--model", default="tiny")
    arguments = parser.parse_args()
    try:
        result = ip2p_batch.edit(
            arguments.source,
            arguments.instruction,
            output=arguments.output,
            recipe=ip2p_batch.recipe_for(arguments.model, seed=7),
            encoding=ip2p_batch.Encoding(format="png"),
            progress=show,
        )
    except ip2p_batch.Ip2pError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{result.frames} images in {result.output}, {result.fps:.2f} a second")
    for path, reason in result.failed:
        print(f"failed: {path}: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
