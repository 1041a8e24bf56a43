"""Compare a companion with the frames of a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import RecipeError, SourceError
from ...jobs.companion import Companion
from ...jobs.video_facts import VideoFacts
from .. import limits
from ..images.reader import still_size
from ..source import classify_source
from ..video.index import VideoIndex
from ..video.pyav import fraction
from ..video.timestamps import Times
from .files import companion_stamp, listed_images
from .reader import indexed
from .shape import Size, same_shape, shape_error, shown_size

#: Rounding of times in containers that count milliseconds, in seconds.
_CLOCK = 0.002


@dataclass(frozen=True, eq=False)
class SourceFrames:
    """The frames of a video that companions are compared with.

    Attributes:
        facts: of the video.
        pts: presentation times of all its frames, in ticks.
        start, stop: the frames that are edited, half-open.
    """

    facts: VideoFacts
    pts: Times
    start: int
    stop: int

    @property
    def edited(self) -> int:
        return self.stop - self.start


def match_video(use: str, path: Path, source: SourceFrames, *, shared: bool) -> Companion:
    """What a companion of a video is; it fits the video.

    It has one image for each frame of the whole video, or of the part that is edited, in order.
    Its size may be another one, its shape may not.

    Args:
        use: as :attr:`Companion.use`.
        path: absolute.
        shared: whether one image may be for all frames.

    Raises:
        SourceError: it cannot be read, or a number of a sequence is missing.
        RecipeError: its count, shape or frame rate is not the source's.
    """
    kind = classify_source(path)
    if kind == "manifest":
        raise RecipeError(
            f"{path} is a list; the images for a video are a video, a sequence or a folder.",
            hint="Name the folder of the images.",
        )
    stamp = companion_stamp(path)
    if kind == "video":
        index = indexed(str(path), stamp)
        count, size, shape = len(index.pts), index.facts.upright, shown_size(index.facts)
    else:
        files = listed_images(path) if kind == "folder" else [path]
        count, size = len(files), _common_size(files)
        shape = size
    is_shared = kind == "still" and shared
    first = 0 if is_shared else _first_frame(path, count, source)
    if not same_shape(shape, shown_size(source.facts)):
        raise RecipeError(
            f"{path}: {shape_error(shape, shown_size(source.facts))}.",
            hint="Scale or crop it as the source.",
        )
    if kind == "video" and not (index.facts.is_sequence or source.facts.is_sequence):
        _check_times(path, index, source, first)
    return Companion(
        use=use,
        path=str(path),
        kind="video" if kind == "video" else "image" if is_shared else "folder",
        stamp=stamp,
        count=count,
        first=first,
        width=size[0],
        height=size[1],
    )


def _first_frame(path: Path, count: int, source: SourceFrames) -> int:
    """The number of the frame that the first of ``count`` images belongs to.

    Raises:
        RecipeError: there is not one image for each frame.
    """
    whole = len(source.pts)
    if count == whole:
        return 0
    if count == source.edited:
        return source.start
    edited = "" if source.edited == whole else f", {source.edited} of them edited"
    missing = f" Frame {count} is the first without an image." if count < whole else ""
    raise RecipeError(
        f"{path} has {count} image{'s' * (count != 1)}, and the source has {whole} frames{edited}."
        f"{missing}",
        hint="Give one image for each frame of the source.",
    )


def _common_size(files: Sequence[Path]) -> Size:
    limits.FRAMES.check(len(files), files[0].parent, "it has")
    size = still_size(files[0])
    for file in files[1:]:
        own = still_size(file)
        if own != size:
            raise SourceError(
                f"{file} has {own[0]}x{own[1]} pixels, and {files[0].name} has"
                f" {size[0]}x{size[1]}.",
                path=file,
                hint="Give all images of the folder one size.",
            )
    return size


def _check_times(path: Path, index: VideoIndex, source: SourceFrames, first: int) -> None:
    """Refuse a video whose frames are shown at other times than the source's.

    Times count from the first frame. Half of the time between two frames is allowed, and at the end
    a hundredth of the duration, so that another rate shows in a short video, too.
    """
    own = _seconds(index.pts, index.facts)
    theirs = _seconds(source.pts[first : first + len(index.pts)], source.facts)
    if len(theirs) < 2:
        return
    late = np.abs(own - theirs) > float(np.median(np.diff(theirs))) / 2
    late[-1] |= abs(own[-1] - theirs[-1]) > max(_CLOCK, theirs[-1] / 100)
    if late.any():
        number = int(np.argmax(late))
        raise RecipeError(
            f"{path}: frame {number} is at {own[number]:.3f} s, and frame {first + number} of the"
            f" source at {theirs[number]:.3f} s; the frame rates are"
            f" {_rate(index.facts)} and {_rate(source.facts)}.",
            hint="Make it with the source's frame rate, or give an image sequence.",
        )


def _seconds(pts: Times, facts: VideoFacts) -> np.ndarray:
    return np.asarray((pts - pts[0]) * float(fraction(facts.time_base)))


def _rate(facts: VideoFacts) -> str:
    return f"{float(fraction(facts.frame_rate)):.6g}"
