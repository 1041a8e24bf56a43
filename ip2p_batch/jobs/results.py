"""The files that the job of a video writes: one, or one for each frame."""

from __future__ import annotations

from collections.abc import Iterator

from ..storage.sequence import Pattern, pattern_of
from .spec import Job, Source

#: Number of the first frame of a sequence that is made from a video file, as FFmpeg counts.
_FIRST = 1


def result_pattern(output: str) -> Pattern | None:
    """The pattern of a result that is an image sequence; None for a video file."""
    return pattern_of(output)


def first_number(source: Source) -> int:
    """Number of the first edited frame in the names of results: the source's own, or 1."""
    facts = source.video
    if facts is None or facts.first_number is None:
        return _FIRST
    return facts.first_number + source.start


def result_files(job: Job) -> Iterator[str]:
    """Absolute paths of all results of a video, in the order of frames."""
    yield from files_of(job.output, job.source)


def result_place(job: Job) -> str:
    """The file or folder of a job's results: several sequences can share a folder."""
    if job.source.is_video and (pattern := result_pattern(job.output)) is not None:
        return str(pattern.folder)
    return job.output


def files_of(output: str, source: Source) -> Iterator[str]:
    """As :func:`result_files`, of a job that does not exist yet."""
    pattern = result_pattern(output)
    if pattern is None:
        yield output
        return
    first = first_number(source)
    for number in range(first, first + source.stop - source.start):
        yield str(pattern.path(number))
