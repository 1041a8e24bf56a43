"""Split the sources of one command into requests: one for each video and each set of images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ..errors import Ip2pError, OutputError, SourceError
from ..jobs.coding import Decoding, Encoding
from ..jobs.spec import Item
from ..media.images.formats import SUFFIXES
from ..media.images.listing import Listing
from ..media.images.naming import alike_names, is_text, printable, reject_conflicts
from ..media.images.writer import output_suffix
from ..media.sequence.output import output_name
from ..media.source import SourceKind, classify_source
from ..media.video.suffixes import VIDEO_SUFFIXES
from ..storage.sequence import is_sequence
from . import images
from .prepare import default_output, resolve_paths
from .request import EditRequest, absolute_path, check_instruction


class RefusedSource(msgspec.Struct, frozen=True):
    """A source that gets no job, and why.

    Attributes:
        path: printable.
        request: what was requested for it.
    """

    path: str
    error: Ip2pError
    request: EditRequest

    @property
    def reason(self) -> str:
        """The error without the path."""
        return self.error.message.removeprefix(f"{self.path}: ").removesuffix(".")


class SplitRequest(msgspec.Struct, frozen=True):
    """The requests of one command, in the order of its sources, and the sources without one.

    Attributes:
        folder: of all results, if there is one.
        notes: on folders and lists without images; those with images have theirs in their listing.
    """

    requests: tuple[EditRequest, ...]
    refused: tuple[RefusedSource, ...] = ()
    folder: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_single(self) -> bool:
        """Whether there is only one video that is named itself, or only one set of images."""
        if len(self.requests) != 1 or self.refused:
            return False
        return self.folder is None or not is_video(self.requests[0])


def split_request(request: EditRequest, sources: Sequence[Path]) -> SplitRequest:
    """Split a command into requests that can become jobs.

    Each video becomes a request of its own, also one in a folder or in a list. The images of a
    folder or a list remain one set, and so do images that are named one by one. The results of
    several sources have the sources' names, in the folder ``request.output``.

    Args:
        request: what to do with each of them; its source is not used.
        sources: videos, images, folders and lists; at least one.

    Raises:
        SourceError: the only source cannot be read.
        RecipeError: there is no instruction.
        OutputError: the output of several sources is not a folder.
    """
    paths = list(dict.fromkeys(absolute_path(source) for source in sources))
    found = _Found()
    if len(paths) == 1:
        kind = classify_source(paths[0])
        only = _of(request, paths[0])
        _split(only, kind, found)
        folder = resolve_paths(paths[0], kind, only) if kind in ("folder", "manifest") else None
        return _settled(found, folder)
    output, stills = _output_folder(request), []
    for path in paths:
        try:
            kind = classify_source(path)
            if kind == "still":
                stills.append(path)
                continue
            target = output and output / _name(path, kind, request.encoding)
            _split(_of(request, path, target), kind, found, output)
        except (SourceError, OutputError) as error:
            unnamed = msgspec.structs.replace(request, source=path, output=None)
            found.refused.append(RefusedSource(printable(path), error, unnamed))
    if stills:
        found.requests.insert(0, _of_stills(request, stills, output))
    return _settled(found, output)


@dataclass(slots=True)
class _Found:
    """What was found so far; as :class:`SplitRequest`."""

    requests: list[EditRequest] = field(default_factory=list)
    refused: list[RefusedSource] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _of(request: EditRequest, source: Path, output: Path | None = None) -> EditRequest:
    return msgspec.structs.replace(request, source=source, output=output or request.output)


def _output_folder(request: EditRequest) -> Path | None:
    """The folder for the results of several sources; None is next to each source.

    Raises:
        OutputError: it is a file, or has the name of one.
    """
    if request.output is None:
        return None
    output = absolute_path(request.output)
    is_named_as_file = output.suffix.lower() in (*SUFFIXES, *VIDEO_SUFFIXES)
    exists = os.path.lexists(output)  # no error for names that cannot be used
    if os.path.isdir(output) or not (exists or is_named_as_file):  # noqa: PTH112
        return output
    raise OutputError(
        f"{output} is a file, and several sources need a folder for their results.",
        path=output,
        hint="Name a folder with -o, such as -o edited/.",
    )


def _name(path: Path, kind: SourceKind, encoding: Encoding) -> str:
    """Name of a source's result in the folder of several results."""
    if kind == "video" and is_sequence(path) and encoding.codec is None:
        return f"{path.parent.name}/{output_name(path, encoding)}"  # their names are often equal
    if kind == "video":
        return output_name(path, encoding)
    return path.stem if kind == "manifest" else path.name


def _of_stills(request: EditRequest, paths: Sequence[Path], output: Path | None) -> EditRequest:
    """The request for images that are named one by one: one set, listed under the first name."""
    encoding = request.encoding
    items = []
    for path in paths:
        if output is not None:
            target = output / (path.stem + output_suffix(path, encoding))
        else:
            target = default_output(path, "still", encoding)
        error = None if is_text(str(path)) else "its name is not UTF-8; rename the file"
        items.append(Item(source=printable(path), output=printable(target), error=error))
    if len(paths) == 1:
        return _of(request, paths[0], Path(items[0].output))
    items = reject_conflicts(items)
    listing = Listing(items, tuple(alike_names(items)))
    request = _of(request, paths[0], output or paths[0].parent)
    return msgspec.structs.replace(request, listing=listing)


def _split(
    request: EditRequest, kind: SourceKind, found: _Found, results: Path | None = None
) -> None:
    """Add the requests of one source, and its videos that cannot be read.

    Raises:
        SourceError: a folder or list cannot be read, or has neither images nor videos.
    """
    path = request.source
    if kind in ("video", "still"):
        found.requests.append(request)
        return
    output = resolve_paths(path, kind, request)
    listing = images.list_source(path, output, kind, request.encoding, request.decoding, results)
    if not listing.items and not listing.videos:
        raise images.no_images(path, listing)
    if listing.items:
        found.requests.append(msgspec.structs.replace(request, listing=listing))
    else:
        found.notes += listing.notes
    videos = list(listing.videos)
    if kind == "manifest":  # elsewhere no video has an instruction of its own
        videos = images.without_instruction(videos, request.recipe)
    for video in videos:
        part = _of_video(request, video)
        if video.error is None:
            found.requests.append(part)
        else:
            unnamed = msgspec.structs.replace(part, output=None)
            found.refused.append(_refused(unnamed, video.error))


def _of_video(request: EditRequest, video: Item) -> EditRequest:
    """The request for a video of a folder or list."""
    source, output = Path(video.source), Path(video.output)
    if output.suffix == source.suffix:  # none was requested
        output = output.with_name(output_name(output, request.encoding))
    # As if it were named alone: the links that lead to it do not make it another job.
    decoding = msgspec.structs.replace(request.decoding, follow_links=False)
    recipe = msgspec.structs.replace(request.recipe, **video.own_values())
    request = msgspec.structs.replace(request, decoding=decoding, recipe=recipe)
    return _of(request, source, output)


def _refused(request: EditRequest, reason: str) -> RefusedSource:
    path = printable(request.source)
    error = SourceError(f"{path}: {reason}.", path=path, hint="Check the file.")
    return RefusedSource(path, error, request)


def _settled(found: _Found, folder: Path | None) -> SplitRequest:
    """Options for one kind of source are removed from the others; equal outputs are refused.

    Raises:
        RecipeError: there is no instruction for a video.
    """
    count = len(found.requests)
    videos = [r for r in found.requests if is_video(r)]
    reads = [r.source for r in found.requests] if count > 1 else []
    is_mixed = 0 < len(videos) < count
    owners: dict[Path, Path] = {}
    requests = []
    for request in found.requests:
        # No result replaces a source of another job.
        request = msgspec.structs.replace(request, reads=(*request.reads, *reads))
        if not is_video(request):
            requests.append(_images_only(request) if is_mixed else request)
            continue
        check_instruction(request.recipe.instruction, request.source.name)
        if count > 1 and request.output is not None:
            output = absolute_path(request.output)
            owner = owners.setdefault(output, request.source)
            if owner is not request.source:
                reason = f"{output} is already the output of {owner}"
                found.refused.append(_refused(request, reason))
                continue
        requests.append(_video_only(request) if is_mixed else request)
    return SplitRequest(tuple(requests), tuple(found.refused), folder, tuple(found.notes))


def _images_only(request: EditRequest) -> EditRequest:
    """Without the options that only videos have."""
    decoding = Decoding(follow_links=request.decoding.follow_links)
    return msgspec.structs.replace(request, start=None, end=None, decoding=decoding)


def _video_only(request: EditRequest) -> EditRequest:
    """Without the options that only images have."""
    encoding = msgspec.structs.replace(request.encoding, format=None, quality=None)
    return msgspec.structs.replace(request, encoding=encoding)


def is_video(request: EditRequest) -> bool:
    """Whether a part of a split request is one video."""
    if request.listing is not None:
        return False
    try:
        return classify_source(request.source) == "video"
    except SourceError:  # of a list, and missing: it is refused when it is planned
        return True
