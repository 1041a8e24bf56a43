"""Measure an edited video against its source, frame by frame, in one pass over both."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from ..errors import SourceError
from ..frame import Image
from ..jobs.coding import Decoding
from ..media.frames import index_frames, open_frames
from ..media.video.index import VideoIndex
from ..threads import CpuPool
from . import PairErrors, pair_errors, seam_ratio, ssim
from .full_size import FullSizeScore, full_size_score, mean_score, scale

#: Called with the numbers of frames done and of all frames.
Progress = Callable[[int, int], None]


class ScoreRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure.

    Attributes:
        source, output: video files.
        first: number of the source's frame that is the output's first; None: the output covers
            the whole source, so that a different number of frames is an error.
        size: longest side in pixels to which both are scaled down for the scores over time; they
            are never enlarged.
        seams: first frames of chunks, counted in the output.
        cuts: first frames of shots, counted in the output; None: detect them in the source.
        decoding: how the source was read.
    """

    source: Path
    output: Path
    first: int | None = None
    size: int = 512
    seams: tuple[int, ...] = ()
    cuts: tuple[int, ...] | None = None
    decoding: Decoding = Decoding()

    @property
    def first_frame(self) -> int:
        """Number of the source's frame that is compared with the output's first."""
        return self.first or 0


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of a whole video; pairs of frames across scene cuts are left out.

    Attributes:
        frames: number of frames compared.
        width, height: size in pixels at which they were compared, except for ``full_size``.
        source_width, source_height: full size of the source, in stored pixels.
        warp_error, source_warp_error: means of :func:`temporal_metrics.warp_error`, times 1000.
        excess: ``warp_error - source_warp_error``: flicker that the edit added.
        seam_ratio: see :func:`temporal_metrics.seam_ratio`; None without seams.
        flicker, source_flicker: 1 minus the mean of :func:`temporal_metrics.video_flicker`, as
            VBench defines it: 1 is a still video.
        source_ssim: mean SSIM of output and source, -1 to 1: how much structure is kept.
        full_size: sharpness and structure at the source's full size, means over all frames.
        seams: first frames of chunks, counted in the output.
        cuts: first frames of shots, counted in the output.
    """

    frames: int
    width: int
    height: int
    source_width: int
    source_height: int
    warp_error: float
    source_warp_error: float
    excess: float
    seam_ratio: float | None
    flicker: float
    source_flicker: float
    source_ssim: float
    full_size: FullSizeScore
    seams: tuple[int, ...] = ()
    cuts: tuple[int, ...] = ()


class FrameScores(msgspec.Struct, frozen=True, kw_only=True):
    """Scores by pair of frames and by frame, for a plot.

    Attributes:
        pairs: ``pairs[t]`` is of frames t and t + 1; warp errors are times 1000.
        source_ssim: SSIM of output and source, by frame.
        full_size: scores at the source's full size, by frame.
    """

    pairs: tuple[PairErrors, ...]
    source_ssim: tuple[float, ...]
    full_size: tuple[FullSizeScore, ...]


class _Compared(NamedTuple):
    """One frame: both images at the compared size, and their scores at full size."""

    source: Image
    output: Image
    full_width: int
    full_height: int
    full_size: FullSizeScore


def score_video(
    request: ScoreRequest,
    progress: Progress = lambda *_: None,
    cpu_pool: CpuPool | None = None,
) -> tuple[Score, FrameScores]:
    """Compare an edited video with its source, with a few frames of each in memory.

    Args:
        request: what to compare.
        progress: called after each frame.
        cpu_pool: threads for the scores of single frames; None: the calling thread.

    Raises:
        SourceError: a video cannot be read, has only one frame, or their numbers of frames differ.
    """
    source = index_frames(request.source, decoding=request.decoding, scenes=request.cuts is None)
    output = index_frames(request.output, scenes=False)
    total = _compared_frames(request, source, output)
    cuts = request.cuts
    if cuts is None:
        cuts = tuple(cut - request.first_frame for cut in source.cuts)
    cuts = tuple(cut for cut in cuts if 0 < cut < total)
    pairs: list[PairErrors] = []
    source_ssim: list[float] = []
    full_size: list[FullSizeScore] = []
    previous: _Compared | None = None
    frames = _frames(request, source, output, total)
    for current in (cpu_pool or CpuPool()).map(lambda both: _compare(both, request.size), frames):
        source_ssim.append(ssim(current.output, current.source))
        full_size.append(current.full_size)
        if previous is not None:
            errors = pair_errors(
                (previous.source, current.source), (previous.output, current.output)
            )
            pairs.append(errors._replace(output=1000 * errors.output, source=1000 * errors.source))
        previous = current
        progress(len(full_size), total)
    assert previous is not None  # there are at least two frames
    frame_scores = FrameScores(
        pairs=tuple(pairs), source_ssim=tuple(source_ssim), full_size=tuple(full_size)
    )
    within_shots = [pair for t, pair in enumerate(pairs) if t + 1 not in cuts]
    means = PairErrors(*(statistics.fmean(values) for values in zip(*within_shots, strict=True)))
    score = Score(
        frames=total,
        width=previous.source.shape[1],
        height=previous.source.shape[0],
        source_width=previous.full_width,
        source_height=previous.full_height,
        warp_error=means.output,
        source_warp_error=means.source,
        excess=means.output - means.source,
        seam_ratio=seam_ratio([pair.output for pair in pairs], request.seams, cuts),
        flicker=1 - means.output_flicker,
        source_flicker=1 - means.source_flicker,
        source_ssim=statistics.fmean(source_ssim),
        full_size=mean_score(full_size),
        seams=request.seams,
        cuts=cuts,
    )
    return score, frame_scores


def sample_frames(request: ScoreRequest, count: int) -> tuple[list[Image], list[Image]]:
    """Read up to ``count`` frames of source and output, spread evenly over the output.

    Returns:
        the source's and the output's frames, uint8 RGB, scaled as :func:`score_video` does.

    Raises:
        SourceError: as :func:`score_video`.
    """
    source = index_frames(request.source, decoding=request.decoding, scenes=False)
    output = index_frames(request.output, scenes=False)
    total = _compared_frames(request, source, output)
    numbers = sorted({round(number) for number in np.linspace(0, total - 1, min(count, total))})
    sources, outputs = [], []
    with (
        open_frames(request.source, source.facts, source.pts, source.ids) as source_reader,
        open_frames(request.output, output.facts, output.pts, output.ids) as output_reader,
    ):
        for number in numbers:
            image = source_reader.frame(request.first_frame + number).image
            size = _compared_size(image, request.size)
            sources.append(scale(image, size))
            outputs.append(scale(output_reader.frame(number).image, size))
    return sources, outputs


def _compared_frames(request: ScoreRequest, source: VideoIndex, output: VideoIndex) -> int:
    """Number of frames to compare.

    Raises:
        SourceError: see :func:`score_video`.
    """
    frames = len(output.pts)
    available = len(source.pts) - request.first_frame
    if available < frames or (available > frames and request.first is None):
        raise SourceError(
            f"{request.output} has {frames} frames, and {request.source} has {len(source.pts)}.",
            path=request.output,
            hint="Give the video from which this output was made. If the output is an excerpt, add"
            " --job with its job, or --first with its first frame.",
        )
    if frames < 2:
        raise SourceError(
            f"{request.output} has only one frame.",
            path=request.output,
            hint="Give a video of at least two frames: flicker is measured between frames.",
        )
    return frames


def _frames(
    request: ScoreRequest, source: VideoIndex, output: VideoIndex, total: int
) -> Iterator[tuple[Image, Image]]:
    first = request.first_frame
    with (
        open_frames(request.source, source.facts, source.pts, source.ids) as source_reader,
        open_frames(request.output, output.facts, output.pts, output.ids) as output_reader,
    ):
        frames = zip(
            source_reader.frames(first, first + total), output_reader.frames(0, total), strict=True
        )
        for source_frame, output_frame in frames:
            yield source_frame.image, output_frame.image


def _compare(images: tuple[Image, Image], longest: int) -> _Compared:
    source, output = images
    size = _compared_size(source, longest)
    height, width = source.shape[:2]
    return _Compared(
        scale(source, size), scale(output, size), width, height, full_size_score(source, output)
    )


def _compared_size(image: Image, longest: int) -> tuple[int, int]:
    """``(width, height)`` with a longest side of at most ``longest``; SSIM needs 11 pixels."""
    height, width = image.shape[:2]
    scale = min(1.0, longest / max(height, width))
    return max(11, round(width * scale)), max(11, round(height * scale))


def to_output_frames(numbers: Sequence[int], first: int) -> tuple[int, ...]:
    """Convert frame numbers of the source to those of an output that begins at frame ``first``.

    Numbers up to ``first`` are left out, because no seam or cut can be there.
    """
    return tuple(number - first for number in numbers if number > first)
