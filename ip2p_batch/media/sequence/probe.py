"""Index an image sequence: facts about its frames, their times, and scene cuts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from ...errors import RecipeError, SourceError
from ...jobs.coding import DEFAULT_FPS, Decoding, frame_rate
from ...jobs.grouping import grouped
from ...jobs.video_facts import ColorFacts, VideoFacts
from ...storage.sequence import Pattern, pattern_of
from ...threads import CpuPool
from .. import limits
from ..depth import to_8_bits
from ..video.color import from_rgb
from ..video.index import VideoIndex
from ..video.scan import Progress
from ..video.scenes import CutFinder
from .frame import StoredFrame, frame_size, read_frame

_THREADS = 4
_FRAMES_PER_REPORT = 10


def sequence_numbers(path: Path) -> tuple[Pattern, range]:
    """The pattern of a sequence, and the numbers of its files.

    Raises:
        SourceError: there are none, the folder cannot be read, or a number is missing.
    """
    pattern = pattern_of(path)
    assert pattern is not None
    try:
        numbers = pattern.numbers()
    except OSError as error:
        raise SourceError(
            f"{pattern.folder}: {error.strerror}.", path=path, hint="Check the name of the folder."
        ) from None
    if not numbers:
        raise SourceError(
            f"{path}: no file has such a name; the first could be {pattern.name(1)}.",
            path=path,
            hint=f"List the names: ls {pattern.folder}",
        )
    limits.FRAMES.check(len(numbers), path, "it has")
    span = range(numbers[0], numbers[-1] + 1)
    if len(numbers) < len(span):
        missing = next(n for n, found in zip(span, numbers, strict=False) if n != found)
        count = len(span) - len(numbers)
        raise SourceError(
            f"{path}: {pattern.name(missing)} is missing"
            + (f", the first of {count} in the sequence." if count > 1 else "."),
            path=path,
            hint="Render or copy the missing frames, or move the frames after the gap to another"
            " folder and edit the parts.",
        )
    return pattern, span


def index_sequence(
    path: Path, *, decoding: Decoding, scenes: bool, progress: Progress
) -> VideoIndex:
    """Read a sequence once; see :func:`ip2p_batch.media.video.probe.index_video`.

    Without ``scenes``, only the headers of files are read, except where frames may be transparent.

    Raises:
        SourceError: as :func:`sequence_numbers`; a file cannot be read, or has another size.
        RecipeError: the frame rate is not a number, or an option is for video files.
    """
    rate = _rate(decoding)
    pattern, numbers = sequence_numbers(path)
    files = [pattern.path(number) for number in numbers]
    first = read_frame(files[0])
    scan = _Scan(files, first)
    if scenes or first.alpha is not None:
        cuts = scan.decode(progress, scenes=scenes)
    else:
        cuts = ()
        scan.check_headers(progress)
    facts = VideoFacts(
        width=first.size[0],
        height=first.size[1],
        time_base=(rate.denominator, rate.numerator),
        frame_rate=(rate.numerator, rate.denominator),
        frames=len(files),
        duration=round(float(len(files) / rate), 6),
        last_ticks=1,
        codec=first.codec,
        container="image2",
        pix_fmt=_pixel_format(first, scan.is_transparent),
        bit_depth=first.depth,
        has_alpha=scan.is_transparent,
        color=ColorFacts(),
        first_number=numbers[0],
        notes=(*_rate_note(decoding), *grouped(scan.notes, "frames")),
    )
    progress("reading frames", len(files), len(files))
    return VideoIndex(facts=facts, pts=np.arange(len(files), dtype=np.int64), cuts=cuts)


class _Scan:
    """What is found in the files of a sequence."""

    def __init__(self, files: Sequence[Path], first: StoredFrame) -> None:
        self._files = files
        self._size = first.size
        self._pool = CpuPool(min(_THREADS, os.cpu_count() or 1))
        self.is_transparent = False
        self.notes: list[tuple[str, str]] = [(str(files[0]), note) for note in first.notes]

    def decode(self, progress: Progress, *, scenes: bool) -> tuple[int, ...]:
        """Decode all files; returns the first frames of new shots."""
        finder = CutFinder()
        self.notes.clear()
        frames = self._pool.map(read_frame, self._files)
        for number, (path, frame) in enumerate(zip(self._files, frames, strict=True)):
            self._check_size(path, frame.size)
            self.notes += ((str(path), note) for note in frame.notes)
            alpha = frame.alpha
            if alpha is not None and not self.is_transparent:
                self.is_transparent = bool((alpha < np.iinfo(alpha.dtype).max).any())
            if scenes:
                finder.feed(from_rgb(to_8_bits(frame.image), ColorFacts(), "rgb24"))
            self._report(progress, number, "finding scene cuts")
        return tuple(finder.cuts) if scenes else ()

    def check_headers(self, progress: Progress) -> None:
        """Check that all frames have one size."""
        sizes = self._pool.map(frame_size, self._files)
        for number, (path, size) in enumerate(zip(self._files, sizes, strict=True)):
            self._check_size(path, size)
            self._report(progress, number, "reading frames")

    def _check_size(self, path: Path, size: tuple[int, int]) -> None:
        if size == self._size:
            return
        width, height = self._size
        raise SourceError(
            f"{path}: the frame has {size[0]}x{size[1]} pixels, and the frames before it have"
            f" {width}x{height}.",
            path=path,
            hint="All frames of a sequence have one size: scale this one, or edit the folder as"
            " separate images.",
        )

    def _report(self, progress: Progress, number: int, stage: str) -> None:
        if number % _FRAMES_PER_REPORT == 0:
            progress(stage, number, len(self._files))


def _rate(decoding: Decoding) -> Fraction:
    others = Decoding(follow_links=decoding.follow_links, fps=decoding.fps)
    if decoding != others:
        raise RecipeError(
            "--stream, --deinterlace and --hdr are for video files, and the source is an image"
            " sequence.",
            hint="Omit them.",
        )
    try:
        return frame_rate(DEFAULT_FPS if decoding.fps is None else decoding.fps)
    except ValueError as error:
        raise RecipeError(
            f"--fps {decoding.fps} is not a frame rate: {error}.",
            hint="Use a number or a fraction, such as 24, 23.976 or 24000/1001.",
        ) from None


def _rate_note(decoding: Decoding) -> list[str]:
    if decoding.fps is not None:
        return []
    return [f"The sequence is played at {DEFAULT_FPS} frames per second; --fps sets another rate."]


def _pixel_format(frame: StoredFrame, is_transparent: bool) -> str:
    """FFmpeg's name of the format that has the frame's channels and bytes per sample."""
    if frame.depth > 8:
        return "rgba64le" if is_transparent else "rgb48le"
    return "rgba" if is_transparent else "rgb24"
