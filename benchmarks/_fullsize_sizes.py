"""Part of ``benchmarks.fullsize``: the smallest edit size that loses nothing measurable."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence

from ip2p_batch.models.edit_sizes import EditSizeRow

from ._fullsize_edits import KINDS, TODAY
from ._fullsize_quality import HEAD, Row, medians

SIZES = (96, 128, 160, 192, 256, 384)
#: Edits of both kinds.
EDITS = (
    "black_and_white", "night", "winter", "sunset", "thermal", "pencil", "cartoon", "oil",
    "blueprint",
)  # fmt: skip
#: Longest sides of sources, above the first and up to the second of each pair.
GROUPS = ((0, 1280), (1280, 2560), (2560, 8192))
#: Losses of the median PSNR in dB and of the median SSIM that count as nothing.
_PSNR_LOSS, _SSIM_LOSS = 0.2, 0.005


def print_sizes(rows: Sequence[Row], measured: str) -> None:
    """Print medians by group and edit size, and the rows of the bundled model's table.

    A size is chosen if it and all sizes up to the training size lose nothing measurable against
    the training size, in the median of the photometric and of the drawn edits.
    """
    new = [row for row in rows if row.detail == "source"]
    chosen = []
    print(f"\n| longest side | edits | edit size | {HEAD} |\n|---|---|---|---|---|---|---|")
    for low, high in GROUPS:
        group = [row for row in new if low < row.longest <= high]
        if not group:
            continue
        for kind, edits in KINDS.items():
            for size in sorted({row.size for row in group}):
                own = [row for row in group if row.size == size and row.edit in edits]
                print(f"| {low + 1} to {high} | {kind} | {size} | {medians(own)} |")
        chosen.append(EditSizeRow(up_to=high, edit_size=smallest(group)))
    sizes = [{"up_to": row.up_to, "edit_size": row.edit_size} for row in ascending(chosen)]
    table = {"training_size": TODAY, "sizes": sizes, "measured": measured}
    print(f"\nRows of ip2p_edit_sizes.json:\n\n```\n{json.dumps(table, indent=1)}\n```")


def smallest(rows: Sequence[Row]) -> int:
    """The smallest edit size of these rows that loses nothing measurable."""
    best = TODAY
    for size in sorted({row.size for row in rows if row.size < TODAY}, reverse=True):
        if not all(_is_as_good(rows, edits, size) for edits in KINDS.values()):
            break
        best = size
    return best


def _is_as_good(rows: Sequence[Row], edits: Sequence[str], size: int) -> bool:
    (psnr, ssim), (best_psnr, best_ssim) = (
        [
            statistics.median(
                getattr(r.scores, name) for r in rows if r.size == n and r.edit in edits
            )
            for name in ("psnr", "ssim")
        ]
        for n in (size, TODAY)
    )
    return bool(psnr >= best_psnr - _PSNR_LOSS and ssim >= best_ssim - _SSIM_LOSS)


def ascending(rows: Sequence[EditSizeRow]) -> list[EditSizeRow]:
    """Raise edit sizes where a smaller source has a larger one; the table must ascend."""
    result: list[EditSizeRow] = []
    for row in rows:
        least = max((earlier.edit_size for earlier in result), default=0)
        result.append(EditSizeRow(up_to=row.up_to, edit_size=max(least, row.edit_size)))
    return result
