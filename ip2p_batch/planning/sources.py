"""Plan each of the sources of one command: some may be skipped, and some cannot be edited."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from ..errors import OutputError, RecipeError, SourceError
from ..jobs.events import Event
from ..jobs.history import FindHistory
from ..media.images.naming import printable
from .prepare import own_history, prepare_job, resolve_paths, video_options
from .repeat import Finding, look_at_video, notes_on
from .request import EditRequest, PreparedJob, Report, absolute_path
from .split import RefusedSource, is_video, split_request

T = TypeVar("T")


class ForSources(msgspec.Struct, Generic[T], frozen=True):
    """What was made for the sources of one command.

    Attributes:
        made: for each video and each set of images, in order.
        refused: sources without one.
        skipped: requests for videos whose output exists.
        folder: of all results, if several were requested and have one.
        sources: of the command.
        notes: on folders and lists without images; each was reported as a warning.
    """

    made: tuple[T, ...]
    refused: tuple[RefusedSource, ...] = ()
    skipped: tuple[EditRequest, ...] = ()
    folder: Path | None = None
    sources: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_single(self) -> bool:
        """Whether the command names exactly one video or set of images."""
        single = len(self.made) == 1 and not self.refused and not self.skipped
        return single and self.folder is None


def for_sources(
    request: EditRequest,
    sources: Sequence[Path],
    make: Callable[[EditRequest], T],
    report: Report = lambda _: None,
    find_history: FindHistory = own_history,
) -> ForSources[T]:
    """Call ``make`` for each video and each set of images in ``sources``.

    If there are several, a source that cannot be edited is reported as ``failed_item``, and the
    others are used. Without ``overwrite``, a video whose output exists is skipped, unless an
    earlier job wrote it with other options or from another source, and it is unchanged since.

    Args:
        request: what to do with each of them; its source is not used.
        find_history: what earlier jobs wrote; the jobs of this user by default.

    Raises:
        SourceError, OutputError, RecipeError: the only source cannot be edited.
        Ip2pError: for another reason than the source, such as the model.
    """
    split = split_request(request, sources)
    if split.is_single:
        return ForSources((make(split.requests[0]),))
    made, skipped, refused = [], [], list(split.refused)
    outputs: dict[Finding, list[str]] = {}
    find_history = functools.cache(find_history)
    for part in split.requests:
        if (found := _existing(part, find_history)) is not None:
            finding, output = found
            outputs.setdefault(finding, []).append(part.source.name)
            if finding is not Finding.STALE:
                skipped.append(msgspec.structs.replace(part, output=output))
                continue
            part = msgspec.structs.replace(part, overwrite=True)
        try:
            made.append(make(part))
        except (SourceError, OutputError, RecipeError) as error:
            refused.append(RefusedSource(printable(part.source), error, part))
    for source in refused:
        report(_refused_event(source))
    for note in (*split.notes, *notes_on(outputs, "video")):
        report(Event(kind="warning", message=note))
    return ForSources(
        tuple(made),
        tuple(refused),
        tuple(skipped),
        split.folder,
        tuple(map(Path, sources)),
        split.notes,
    )


def prepare_jobs(
    request: EditRequest, sources: Sequence[Path], report: Report = lambda _: None
) -> ForSources[PreparedJob]:
    """Plan each video and each set of images in ``sources``; errors as for :func:`for_sources`."""
    return for_sources(request, sources, lambda part: prepare_job(part, report), report)


def _existing(request: EditRequest, find_history: FindHistory) -> tuple[Finding, Path] | None:
    """The output of one of several videos, if it exists, and what it is."""
    if request.overwrite or not is_video(request):
        return None
    output = resolve_paths(request.source, "video", request)
    source, options = absolute_path(request.source), video_options(request)
    finding = look_at_video(output, options, source, find_history)
    return None if finding is None else (finding, output)


def _refused_event(source: RefusedSource) -> Event:
    data = {"path": source.path, "error": type(source.error).__name__, "hint": source.error.hint}
    return Event(kind="failed_item", message=source.reason, data=data)
