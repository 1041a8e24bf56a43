"""Part of ``benchmarks.fullsize``: results of single images against the reference edits."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ip2p_batch.evaluation.image_metrics import psnr, ssim
from ip2p_batch.evaluation.sharpness import edge_f1, gradient_energy
from ip2p_batch.frame import Image

from . import _fullsize_edits as common
from ._fullsize_edits import (
    DRAWN,
    KINDS,
    LARGE,
    PHOTOMETRIC,
    TODAY,
    Edits,
    default_size,
    most_detailed,
    truth,
)

#: Results are compared with the truth in the square of this side with most detail.
AREA = 768
SIZES = (128, 192, 256, 512)
DEFAULT = "default"
HEAD = "PSNR dB | SSIM | edge F1 | gradient"
_MEASURES = ("PSNR", "SSIM", "edge F1")


class Scores(NamedTuple):
    """Of a result against the truth: dB, SSIM of luma, F1 of edges, ratio of gradient energies."""

    psnr: float
    ssim: float
    edges: float
    gradient: float


class Row(NamedTuple):
    """The scores of one source, edit, method (``edit`` or ``source``) and edit size."""

    source: str
    longest: int
    edit: str
    detail: str
    size: int
    scores: Scores


def measure(
    edits: Edits, files: Mapping[str, Path], names: Sequence[str], sizes: Sequence[int]
) -> list[Row]:
    """Score ``--detail edit`` and ``--detail source`` on all sources.

    Of ``--detail edit``, only today's edit size and, if it is in ``sizes``, the large one.

    Args:
        names: of the edits.
        sizes: edit sizes of ``--detail source``.
    """
    rows: list[Row] = []
    for name, image in common.stills(files):
        for edit in names:
            rows += _measure_one(edits, name, image, edit, sizes)
        print(f"{name} is measured", flush=True)
    return rows


def _measure_one(
    edits: Edits, name: str, image: Image, edit: str, sizes: Sequence[int]
) -> Iterator[Row]:
    area = most_detailed(image, AREA)
    expected = truth(image, edit, area)
    energy = max(1e-6, gradient_energy(expected))
    for size in sorted({*sizes, TODAY} | ({LARGE} if LARGE in sizes else set())):
        small = edits.small(name, image, edit, size)
        results = {"edit": small.enlarged()} if size in (TODAY, LARGE) else {}
        if size in sizes:
            results["source"] = small.transferred(image)
        for detail, result in results.items():
            part = area.of(result)
            scores = Scores(
                psnr(part, expected),
                ssim(part, expected),
                edge_f1(part, expected),
                gradient_energy(part) / energy,
            )
            yield Row(name, max(image.shape[:2]), edit, detail, size, scores)


def print_tables(rows: Sequence[Row]) -> None:
    """Print medians by kind of edit, by edit and by source, and the results below today's."""
    methods = {
        f"`{detail}` at {size}": [r for r in rows if (r.detail, r.size) == (detail, size)]
        for detail, size in sorted({(row.detail, row.size) for row in rows})
    }
    methods[DEFAULT] = new_default(rows)
    for kind, edits in KINDS.items():
        print(f"\n| {kind} edits | {HEAD} | PSNR gain | lower: {', '.join(_MEASURES)} |")
        print("|---|---|---|---|---|---|---|")
        for label, of_method in methods.items():
            own = [row for row in of_method if row.edit in edits]
            gain = statistics.median(row.scores.psnr - old.psnr for row, old in _pairs(own, rows))
            lower = _count_lower(own, rows)
            print(f"| {label} | {medians(own)} | {gain:+.2f} | {lower} of {len(own)} |")
    _print_groups("edit", rows, lambda row: row.edit)
    _print_groups("source", [r for r in rows if r.edit in PHOTOMETRIC], lambda row: row.source)
    _print_groups("source, drawn edits", [r for r in rows if r.edit in DRAWN], lambda r: r.source)
    _print_lower(rows)


def medians(rows: Sequence[Row]) -> str:
    """The cells of a table's row: the median of each score."""
    middle = [
        statistics.median(values) for values in zip(*(row.scores for row in rows), strict=True)
    ]
    return "{:.2f} | {:.3f} | {:.2f} | {:.2f}".format(*middle)


def _print_groups(title: str, rows: Sequence[Row], key: Callable[[Row], str]) -> None:
    """Print PSNR / SSIM / F1 / gradient of three methods for each group, medians."""
    methods = {
        f"`edit` at {size}": [r for r in rows if (r.detail, r.size) == ("edit", size)]
        for size in (TODAY, LARGE)
    } | {DEFAULT: new_default(rows)}
    print(f"\n| {title} | {' | '.join(methods)} |\n|---|---|---|---|")
    for group in dict.fromkeys(map(key, rows)):
        cells = [medians([r for r in own if key(r) == group]) for own in methods.values()]
        text = " | ".join(cell.replace(" | ", " / ") for cell in cells)
        print(f"| {group.replace('_', ' ')} | {text} |")


def new_default(rows: Sequence[Row]) -> list[Row]:
    """The results with default options: ``--detail source --size auto``."""
    return [r for r in rows if r.detail == "source" and r.size == default_size(r.longest)]


def _pairs(rows: Iterable[Row], all_rows: Iterable[Row]) -> Iterator[tuple[Row, Scores]]:
    """Yield rows with the scores of today's default for the same source and edit."""
    today = {
        (row.source, row.edit): row.scores
        for row in all_rows
        if (row.detail, row.size) == ("edit", TODAY)
    }
    for row in rows:
        yield row, today[row.source, row.edit]


def _count_lower(rows: Sequence[Row], all_rows: Sequence[Row]) -> str:
    pairs = list(_pairs(rows, all_rows))
    return ", ".join(
        str(sum(row.scores[n] < today[n] for row, today in pairs)) for n in range(len(_MEASURES))
    )


def _print_lower(rows: Sequence[Row]) -> None:
    """Print each result with default options that is below today's."""
    print("\nResults with default options that are lower than today's:\n")
    for row, today in _pairs(new_default(rows), rows):
        for name, own, its in zip(_MEASURES, row.scores[:3], today[:3], strict=True):
            if own < its:
                print(f"- {row.source}, {row.edit}: {name} {own:.3f}, today {its:.3f}")
