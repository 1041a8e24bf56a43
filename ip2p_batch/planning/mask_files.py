"""Masks that planning makes for a video: boxes with times, and a drawn mask that is followed.

All workers then read the same masks from the job folder.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import RecipeError
from ..frame import Image, Mask
from ..jobs.companion import Companion
from ..jobs.plan import Shot
from ..jobs.spec import Source
from ..masks import boxes, planned, track
from ..masks.make import from_drawing
from ..masks.spec import MaskSpec
from ..media.companion.reader import open_companion
from ..media.depth import to_8_bits
from ..media.frames import open_frames
from ..media.video import hdr
from ..media.video.index import VideoIndex
from ..media.video.pyav import fraction
from ..recipe import Recipe
from .masks import spec_of

#: Called with the number of frames done.
Progress = Callable[[int], None]


def planned_masks(
    recipe: Recipe,
    source: Source,
    index: VideoIndex,
    shots: tuple[Shot, ...],
    drawing: Companion | None,
    progress: Progress = lambda _: None,
) -> tuple[bytes, list[str]]:
    """The masks of a video that planning makes, packed, and notes on them; no bytes for others.

    Args:
        source: with facts and range.
        shots: of the frames that are edited.
        drawing: the companion of a followed mask.

    Raises:
        RecipeError: the boxes cannot be read, no frame has one, or the time of the drawn mask is
            not in the part that is edited.
        SourceError: the video or the drawn mask cannot be read.
    """
    spec = spec_of(recipe)
    if spec is None or spec.kind not in ("boxes", "track"):
        return b"", []
    if spec.kind == "boxes":
        return _of_boxes(recipe, spec, source, index)
    assert drawing is not None
    key = _key_frame(spec, source, index)
    shot = next(shot for shot in shots if shot.start <= key < shot.stop)
    with open_companion(drawing) as reader:
        (image,) = reader.images_at([key])
    followed = _Followed(from_drawing(image), source, index, shot, key, progress)
    packed = planned.pack(followed.runs())
    return packed, [
        *followed.notes(),
        *_left_out(recipe, source, shot.stop - shot.start, "the mask's shot"),
    ]


def _of_boxes(
    recipe: Recipe, spec: MaskSpec, source: Source, index: VideoIndex
) -> tuple[bytes, list[str]]:
    assert source.video is not None
    seconds = _seconds(source, index)
    runs = list(
        boxes.drawn_runs(
            boxes.read_boxes(Path(spec.path)),
            seconds,
            range(source.start, source.stop),
            source.video.upright,
        )
    )
    shown = sum(len(frames) for frames, mask in runs if mask.any())
    if not shown:
        raise RecipeError(
            f"{spec.path}: no frame that is edited has a box.",
            hint="Compare the times and places with those of the video.",
        )
    return planned.pack(runs), _left_out(recipe, source, shown, "the times of the boxes")


def _left_out(recipe: Recipe, source: Source, masked: int, where: str) -> list[str]:
    total = source.stop - source.start
    if masked == total:
        return []
    outcome = "all of them may change" if recipe.mask_invert else "they are not edited"
    return [f"{total - masked} of {total} frames lie outside of {where}; {outcome}."]


def _seconds(source: Source, index: VideoIndex) -> list[float]:
    """The times of all frames, from the first, in seconds."""
    assert source.video is not None
    base = float(fraction(source.video.time_base))
    return [float((int(pts) - int(index.pts[0])) * base) for pts in index.pts]


def _key_frame(spec: MaskSpec, source: Source, index: VideoIndex) -> int:
    """The number of the frame in which the mask was drawn."""
    if spec.seconds is None:
        return source.start
    # A microsecond of tolerance: 0.04 s is the frame at 1/25 s whatever the rounding.
    key = bisect_left(_seconds(source, index), spec.seconds - 1e-6)
    if not source.start <= key < source.stop:
        raise RecipeError(
            f"--mask {spec.text}: the frame at {spec.seconds:g} s is not among the edited ones.",
            hint="Choose a time in the part that is edited.",
        )
    return key


class _Followed:
    """A drawn mask and where it is in each frame of its shot."""

    def __init__(
        self,
        drawn: Mask,
        source: Source,
        index: VideoIndex,
        shot: Shot,
        key: int,
        progress: Progress,
    ) -> None:
        self._drawn, self._source, self._index = drawn, source, index
        self._shot, self._key = shot, key
        self._progress = progress
        self._lost: dict[str, int] = {}  # by direction

    def runs(self) -> Iterator[tuple[range, Mask]]:
        """The mask of each frame: the key frame, then later ones, then earlier ones."""
        shot, key = self._shot, self._key
        earlier = list(self._frames(shot.start, key))
        later = self._frames(key, shot.stop)
        key_image = next(later)
        yield range(key, key + 1), self._drawn
        yield from self._follow(key_image, later, range(key + 1, shot.stop), "after")
        yield from self._follow(
            key_image, reversed(earlier), range(key - 1, shot.start - 1, -1), "before"
        )

    def notes(self) -> list[str]:
        """Where the mask was lost, if it was."""
        seconds = _seconds(self._source, self._index)
        return [
            f"The mask is lost {direction} frame {number} ({seconds[number]:.2f} s): less than"
            f" {track.LEAST_SEEN:.0%} of it can be followed. Draw it there, and edit that part of"
            " the video on its own."
            for direction, number in self._lost.items()
        ]

    def _follow(
        self, key: Image, frames: Iterator[Image], numbers: range, direction: str
    ) -> Iterator[tuple[range, Mask]]:
        followed = track.follow(self._drawn, key, frames)
        for number, one in zip(numbers, followed, strict=True):
            if one.seen < track.LEAST_SEEN and direction not in self._lost:
                self._lost[direction] = number
            yield range(number, number + 1), one.mask

    def _frames(self, start: int, stop: int) -> Iterator[Image]:
        facts, index = self._source.video, self._index
        assert facts is not None
        path = Path(self._source.path)
        with open_frames(path, facts, index.pts, index.ids, deep=facts.keeps_hdr) as reader:
            for frame in reader.frames(start, stop):
                self._progress(frame.index)
                yield track.small(to_8_bits(hdr.shown(frame.image, facts)))
