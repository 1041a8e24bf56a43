"""Part of ``benchmarks.fullsize``: steadiness of videos at full size, and drift."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec

from ip2p_batch.evaluation.image_metrics import psnr
from ip2p_batch.evaluation.temporal_metrics import seam_ratio, warp_error
from ip2p_batch.execution.full_size import needs_source
from ip2p_batch.frame import Frame, Image
from ip2p_batch.jobs.plan import VideoChunk
from ip2p_batch.media.resize import Resize
from ip2p_batch.recipe import Recipe
from ip2p_batch.temporal.flow import measured_flow
from ip2p_batch.training.reference_edits import REFERENCE_EDITS

from ._common import decoded
from ._fullsize_edits import TODAY, Edits, Small, default_size
from ._methods import Clip, Settings, apply, planned, planned_edit, recipe_for

FRAMES, DRIFT_FRAMES = 48, 200
EDITS, DRIFT_EDITS = ("pencil", "cartoon", "winter", "night"), ("pencil", "winter")
#: Frames of a chunk, so that short clips have seams.
_CHUNK = 16
#: Of the bundled model.
_IMAGE_GUIDANCE = 1.2
#: The methods, by what the tables call them.
UNEDITED, TRUTH = "source", "truth"
OLD, NEW, UNFILTERED = "today", "default", "default, no temporal filter"


class Row(NamedTuple):
    """Measures of one video: warp errors of its pairs x 1000, and PSNRs of its frames to the truth.

    Attributes:
        seams: first frames of chunks.
    """

    clip: str
    edit: str
    method: str
    seams: list[int]
    errors: list[float]
    psnrs: list[float]


def measure(edits: Edits, files: Mapping[str, Path]) -> list[Row]:
    """Measure the first frames of each clip: source, truth, and three methods."""
    rows: list[Row] = []
    for name, path in files.items():
        rows += _measure_clip(edits, name, decoded(path, count=FRAMES), EDITS)
    return rows


def measure_drift(edits: Edits, path: Path) -> list[Row]:
    """Measure a long shot."""
    return list(_measure_clip(edits, path.stem, decoded(path, count=DRIFT_FRAMES), DRIFT_EDITS))


def _measure_clip(
    edits: Edits, name: str, images: list[Image], names: Sequence[str]
) -> Iterator[Row]:
    motions = [measured_flow(a, b) for a, b in pairwise(images)]
    for edit in names:
        expected = [REFERENCE_EDITS[edit](image) for image in images]
        for method, seams, video in _videos(edits, name, images, edit, expected):
            errors, psnrs = [], []
            before: Image | None = None
            for number, image in enumerate(video):
                if before is not None:
                    errors.append(1000 * warp_error(before, image, motions[number - 1]))
                psnrs.append(psnr(image, expected[number]))
                before = image
            yield Row(name, edit, method, seams, errors, psnrs)
        print(f"{name}, {edit} is measured", flush=True)


def _videos(
    edits: Edits, name: str, images: list[Image], edit: str, expected: list[Image]
) -> Iterator[tuple[str, list[int], Iterator[Image]]]:
    """Yield methods, first frames of chunks, and full-size frames."""
    old = _edited(edits, name, images, edit, TODAY)
    new = _edited(edits, name, images, edit, default_size(max(images[0].shape[:2])))
    yield UNEDITED, old.seams, iter(images)
    yield TRUTH, old.seams, iter(expected)
    yield OLD, old.seams, (old.resize.restore(image) for image in old.filtered)
    for method, edited in ((NEW, new.filtered), (UNFILTERED, new.plain)):
        yield method, new.seams, _results(new, edited, images)


class Edited(NamedTuple):
    """A clip edited at one size.

    Attributes:
        small: the source at the edit size.
        plain, filtered: its edit, and the edit after the temporal filter.
        seams: first frames of chunks.
    """

    resize: Resize
    recipe: Recipe
    small: list[Image]
    plain: list[Image]
    filtered: list[Image]
    seams: list[int]


def _edited(edits: Edits, name: str, images: list[Image], edit: str, size: int) -> Edited:
    height, width = images[0].shape[:2]
    resize = Resize.for_size(width, height, size)
    small = Clip([resize.apply(image) for image in images], [])
    recipe, unfiltered = (_recipe(edit, row, size) for row in ("default", "carryover"))
    chunks = planned(small, recipe).chunks
    starts = [chunk.start for chunk in chunks if isinstance(chunk, VideoChunk)]

    def make() -> list[Image]:
        frames = [Frame(n, n, image) for n, image in enumerate(small.images)]
        return planned_edit(edits.editor, frames, unfiltered, planned(small, unfiltered))

    plain = edits.video(f"video-{name}-{edit}-{len(images)}-{size}", make)
    filtered = apply(plain, small, recipe)
    return Edited(resize, recipe, small.images, plain, filtered, sorted(starts)[1:])


def _recipe(edit: str, row: str, size: int) -> Recipe:
    recipe = recipe_for(row, edit, Settings(size, _IMAGE_GUIDANCE, "auto", 1))
    return msgspec.structs.replace(recipe, chunk_frames=_CHUNK)


def _results(video: Edited, edited: Sequence[Image], full: Sequence[Image]) -> Iterator[Image]:
    """The results of ``--detail source``, as workers make them."""
    transfers = needs_source(video.recipe, video.resize, deep=False)
    for before, after, image in zip(video.small, edited, full, strict=True):
        small = Small(video.resize, before, after)
        yield small.transferred(image) if transfers else small.enlarged()


def print_table(rows: Sequence[Row]) -> None:
    """Print a row for each clip and method, means over the edits."""
    print("\n| clip | result | E_warp x 1000 | seam ratio | PSNR dB |\n|---|---|---|---|---|")
    for clip, method in dict.fromkeys((row.clip, row.method) for row in rows):
        own = [row for row in rows if (row.clip, row.method) == (clip, method)]
        ratios = [seam_ratio(row.errors, row.seams) for row in own]
        seams = [ratio for ratio in ratios if ratio is not None]
        print(
            f"| {clip} | {method} | {_mean(e for row in own for e in row.errors):.2f}"
            f" | {_mean(seams):.3f} | {_mean(p for row in own for p in row.psnrs):.2f} |"
        )
    print("\n| E_warp x 1000, means over the clips | pencil | cartoon | winter | night |")
    print("|---|---|---|---|---|")
    for method in dict.fromkeys(row.method for row in rows):
        cells = [
            _mean(e for row in rows if (row.method, row.edit) == (method, edit) for e in row.errors)
            for edit in EDITS
        ]
        print(f"| {method} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    for row in rows:
        today = next(r for r in rows if r[:2] == row[:2] and r.method == OLD)
        error, limit = _mean(row.errors), _mean(today.errors)
        if row.method == NEW and error > limit:
            print(f"- less steady than today: {row.clip}, {row.edit}: {error:.2f}, not {limit:.2f}")


def print_drift(rows: Sequence[Row]) -> None:
    """Print the first and the last quarter, also relative to the truth's change."""
    print(
        "\n| | E_warp x 1000, first quarter | last | change | ... relative to the truth's", end=""
    )
    print(" | PSNR dB, first quarter | last |\n|---|---|---|---|---|---|---|")
    change_of = {}
    for row in rows:
        first, last = _ends(row.errors)
        change_of[row.edit, row.method] = last / first
        relative = last / first / change_of.get((row.edit, TRUTH), last / first) - 1
        psnrs = " | ".join(f"{value:.2f}" for value in _ends(row.psnrs))
        print(
            f"| {row.edit}, {row.method} | {first:.2f} | {last:.2f} | {last / first - 1:+.1%}"
            f" | {relative:+.1%} | {psnrs} |"
        )


def _ends(values: Sequence[float]) -> tuple[float, float]:
    quarter = len(values) // 4
    return _mean(values[:quarter]), _mean(values[-quarter:])


def _mean(values: Iterator[float] | Sequence[float]) -> float:
    found = list(values)
    return statistics.fmean(found) if found else float("nan")
