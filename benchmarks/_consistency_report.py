"""The tables of ``benchmarks.consistency``, from the results that it kept."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._methods import ROWS

Facts = dict[str, Any]
Kept = dict[str, dict[tuple[str, str], Facts]]

#: File of the results of ``--timing``.
TIMING = "timing.json"


def read_results(output: Path) -> Kept:
    """Return results by row, then by clip and instruction."""
    found: Kept = {}
    for row in ROWS:
        base = output / folder_name(row)
        for path in sorted(base.glob("*/*/facts.json")):
            key = (path.parts[-3], path.parts[-2])
            found.setdefault(row, {})[key] = json.loads(path.read_text())
    return found


def folder_name(row: str) -> str:
    return row.replace(" ", "-").replace(",", "")


def report(output: Path, instructions: Sequence[str]) -> str:
    """Return Markdown: rows with all pairs of clip and instruction, then those with fewer."""
    found = read_results(output)
    if not found:
        return "There are no results yet.\n"
    timing = output / TIMING
    seconds = json.loads(timing.read_text()) if timing.exists() else {}
    sizes = sorted({len(facts) for facts in found.values()}, reverse=True)
    complete = {row: facts for row, facts in found.items() if len(facts) == sizes[0]}
    parts = [table(complete, seconds)]
    for size in sizes[1:]:  # incomplete rows are shown with two complete ones
        incomplete = {row: facts for row, facts in found.items() if len(facts) == size}
        references = {row: complete[row] for row in ("fixed seed", "default") if row in complete}
        parts.append(table(references | incomplete, seconds))
    parts += [compare_with_seeds(complete), by_instruction(complete, instructions)]
    return "\n".join(part for part in parts if part)


def table(found: Kept, seconds: dict[str, float]) -> str:
    """Return one line per row, over the pairs of clip and instruction that all rows have."""
    keys = common(found)
    lines = [
        f"{len(keys)} pairs of clip and instruction, {_frames(found, keys)} frames",
        "",
        "| | E_warp | above the source's | excess over the reference edit's, summed | seam ratio"
        " | ... over the fixed seed's | flicker (VBench) | PSNR to the reference edit's"
        " | CPU s per frame |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row, facts in found.items():
        some = [facts[key] for key in keys]
        fixed = [found["fixed seed"][key] for key in keys]
        seam, fixed_seam = seam_of(some), seam_of(fixed)
        time = f"{seconds[row]:.2f}" if row in seconds else ""
        lines.append(
            f"| {row} | {mean(some, 'warp_error'):.3f} |"
            f" {mean(some, 'warp_error') - mean(some, 'source_warp_error'):+.3f} |"
            f" {excess(some):.3f} | {seam:.3f} | {seam / fixed_seam:.3f} |"
            f" {mean(some, 'flicker'):.4f} | {mean(some, 'psnr'):.2f} | {time} |"
        )
    return "\n".join(lines) + "\n"


def compare_with_seeds(found: Kept) -> str:
    """Compare the default with a fixed and a fresh seed."""
    names = ("default", "fixed seed", "fresh seed")
    if not set(names) <= set(found):
        return ""
    keys = common({name: found[name] for name in names})
    default, fixed, fresh = ([found[name][key] for key in keys] for name in names)
    best = max(mean(fixed, "psnr"), mean(fresh, "psnr"))
    return "\n".join(
        (
            f"default: excess {excess(default) / max(excess(fixed), 1e-9):.3f} of the fixed seed's,"
            f" {excess(default) / max(excess(fresh), 1e-9):.3f} of the fresh seed's;"
            f" PSNR {mean(default, 'psnr') - best:+.2f} dB against the better of the two;"
            f" seam ratio {seam_of(default):.3f}",
            "",
        )
    )


def by_instruction(found: Kept, instructions: Sequence[str]) -> str:
    keys = common(found)
    lines = ["| excess, mean over clips / PSNR | " + " | ".join(instructions) + " |"]
    lines.append("|---" * (len(instructions) + 1) + "|")
    for row, facts in found.items():
        cells = []
        for name in instructions:
            some = [facts[key] for key in keys if key[1] == name]
            cells.append(f"{mean(some, 'excess'):+.3f} / {mean(some, 'psnr'):.2f}" if some else "-")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def common(found: Kept) -> list[tuple[str, str]]:
    return sorted(set.intersection(*(set(facts) for facts in found.values())))


def mean(facts: Sequence[Facts], name: str) -> float:
    values: list[float] = [f[name] for f in facts]
    return statistics.fmean(values)


def excess(facts: Sequence[Facts]) -> float:
    """Return the sum of the warp errors above the reference edit's, each at least 0."""
    values: list[float] = [max(0.0, f["excess"]) for f in facts]
    return sum(values)


def seam_of(facts: Sequence[Facts]) -> float:
    ratios = [f["seam_ratio"] for f in facts if f["seam_ratio"] is not None]
    return statistics.fmean(ratios) if ratios else float("nan")


def _frames(found: Kept, keys: Sequence[tuple[str, str]]) -> str:
    counts = {found["fixed seed"][key]["frames"] for key in keys}
    return " to ".join(str(n) for n in sorted({min(counts), max(counts)}))
