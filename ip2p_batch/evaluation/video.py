"""Measure an edited video against its source, frame by frame, in one pass over both."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np

from ..errors import SourceError
from ..frame import Image
from ..media.video.probe import VideoIndex, index_video
from ..media.video.reader import VideoReader
from . import PairErrors, pair_errors, seam_ratio, ssim

#: Called with frames done and frames in all.
Progress = Callable[[int, int], None]


class ScoreRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure.

    Attributes:
        first: number of the source's frame that an excerpt begins with; None: the output is of
            the whole source, and another number of frames is an error.
        size: longest side, in pixels, at which both are compared; neither is enlarged.
        seams: first frames of chunks, counted in the output.
        cuts: first frames of shots, counted in the output; None: they are looked for.
    """

    source: Path
    output: Path
    first: int | None = None
    size: int = 512
    seams: tuple[int, ...] = ()
    cuts: tuple[int, ...] | None = None

    @property
    def first_frame(self) -> int:
        """The source's frame that is compared with the output's first."""
        return self.first or 0


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a whole video. Those of its pairs leave out scene cuts.

    Attributes:
        frames: compared.
        width, height: at which they were compared.
        warp_error, source_warp_error: see :func:`metrics.warp_error`; times 1000.
        excess: the one less the other: what the edit added to the source's own flicker.
        seam_ratio: see :func:`metrics.seam_ratio`; None without seams.
        flicker, source_flicker: one less the mean of :func:`metrics.video_flicker`, as VBench
            counts it: 1 is a still.
        source_ssim: mean SSIM of output and source: how much of its structure is kept.
        cuts: frames at which shots begin.
    """

    frames: int
    width: int
    height: int
    warp_error: float
    source_warp_error: float
    excess: float
    seam_ratio: float | None
    flicker: float
    source_flicker: float
    source_ssim: float
    seams: tuple[int, ...] = ()
    cuts: tuple[int, ...] = ()


class FrameScores(msgspec.Struct, frozen=True, kw_only=True):
    """The same by pair and by frame, for a plot.

    Attributes:
        pairs: of the frames t and t + 1, at index t; warp errors times 1000.
        source_ssim: of each frame.
    """

    pairs: tuple[PairErrors, ...]
    source_ssim: tuple[float, ...]


def score_video(
    request: ScoreRequest, progress: Progress = lambda *_: None
) -> tuple[Score, FrameScores]:
    """Measure. Holds two frames of each video at a time.

    Raises:
        SourceError: one of them cannot be read, or they do not go together.
    """
    source = index_video(request.source, scenes=request.cuts is None)
    output = index_video(request.output, scenes=False)
    total = _common(request, source, output)
    found = request.cuts
    if found is None:
        found = tuple(cut - request.first_frame for cut in source.cuts)
    cuts = tuple(cut for cut in found if 0 < cut < total)
    pairs: list[PairErrors] = []
    likeness: list[float] = []
    before: tuple[Image, Image] | None = None
    size = (0, 0)
    for now in _frames(request, source, output, total):
        size = (now[0].shape[1], now[0].shape[0])
        likeness.append(ssim(now[1], now[0]))
        if before is not None:
            errors = pair_errors((before[0], now[0]), (before[1], now[1]))
            pairs.append(errors._replace(output=1000 * errors.output, source=1000 * errors.source))
        before = now
        progress(len(likeness), total)
    inside = [pair for t, pair in enumerate(pairs) if t + 1 not in cuts]
    means = PairErrors(*(statistics.fmean(column) for column in zip(*inside, strict=True)))
    score = Score(
        frames=total,
        width=size[0],
        height=size[1],
        warp_error=means.output,
        source_warp_error=means.source,
        excess=means.output - means.source,
        seam_ratio=seam_ratio([p.output for p in pairs], request.seams, cuts),
        flicker=1 - means.output_flicker,
        source_flicker=1 - means.source_flicker,
        source_ssim=statistics.fmean(likeness),
        seams=request.seams,
        cuts=cuts,
    )
    return score, FrameScores(pairs=tuple(pairs), source_ssim=tuple(likeness))


def sample_frames(request: ScoreRequest, count: int) -> tuple[list[Image], list[Image]]:
    """Up to ``count`` frames of source and output, spread evenly, at the compared size."""
    source = index_video(request.source, scenes=False)
    output = index_video(request.output, scenes=False)
    total = _common(request, source, output)
    numbers = sorted({round(n) for n in np.linspace(0, total - 1, min(count, total))})
    sources, outputs = [], []
    with (
        VideoReader(request.source, source.facts, source.pts) as before,
        VideoReader(request.output, output.facts, output.pts) as after,
    ):
        for n in numbers:
            first = before.frame(request.first_frame + n).image
            shape = _shape(first, request.size)
            sources.append(_fitted(first, shape))
            outputs.append(_fitted(after.frame(n).image, shape))
    return sources, outputs


def _common(request: ScoreRequest, source: VideoIndex, output: VideoIndex) -> int:
    left, found = len(source.pts) - request.first_frame, len(output.pts)
    if left < found or (left > found and request.first is None):
        raise SourceError(
            f"{request.output} has {found} frames, {request.source} has {len(source.pts)}.",
            path=request.output,
            hint="Give the video that this output was made of; of an excerpt, name its job with"
            " --job, or its first frame with --first.",
        )
    if found < 2:
        raise SourceError(
            f"{request.output} has only one frame.",
            path=request.output,
            hint="Steadiness takes two.",
        )
    return found


def _frames(
    request: ScoreRequest, source: VideoIndex, output: VideoIndex, total: int
) -> Iterator[tuple[Image, Image]]:
    first = request.first_frame
    with (
        VideoReader(request.source, source.facts, source.pts) as before,
        VideoReader(request.output, output.facts, output.pts) as after,
    ):
        both = zip(before.frames(first, first + total), after.frames(0, total), strict=True)
        for one, other in both:
            shape = _shape(one.image, request.size)
            yield _fitted(one.image, shape), _fitted(other.image, shape)


def _shape(image: Image, longest: int) -> tuple[int, int]:
    height, width = image.shape[:2]
    scale = min(1.0, longest / max(height, width))
    return max(11, round(width * scale)), max(11, round(height * scale))


def _fitted(image: Image, size: tuple[int, int]) -> Image:
    if (image.shape[1], image.shape[0]) == size:
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def to_output_frames(numbers: Sequence[int], first: int) -> tuple[int, ...]:
    """Frame numbers of a source, counted in an output that begins at its frame ``first``."""
    return tuple(n - first for n in numbers if n > first)
