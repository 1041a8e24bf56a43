"""The companions that a recipe names: find out what they are, and compare them with the source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..errors import SourceError
from ..jobs.companion import MASK, Companion, hints_use
from ..jobs.spec import Item, Job, Source
from ..media.companion.files import companion_stamp
from ..media.companion.items import match_items
from ..media.companion.match import SourceFrames, match_video
from ..media.source import SourceKind, classify_source
from ..media.video.timestamps import Times
from ..recipe import Recipe
from ..storage.publish import path_stamp
from . import masks


class Named(NamedTuple):
    """A companion that a recipe names.

    Attributes:
        use: as :attr:`Companion.use`.
        shared: whether one image may be for all frames or images of the source.
    """

    use: str
    path: Path
    shared: bool


def named_companions(recipe: Recipe) -> Iterator[Named]:
    """The companions that a recipe names."""
    for n, net in enumerate(recipe.control):
        if net.hints is not None:
            yield Named(hints_use(n), Path(net.hints), shared=False)
    if (mask := masks.drawn_path(recipe)) is not None:
        yield Named(MASK, mask, shared=True)


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """Make the paths of companions absolute, since workers have another working folder."""
    control = tuple(
        net
        if net.hints is None
        else msgspec.structs.replace(net, hints=str(Path(net.hints).expanduser().absolute()))
        for net in recipe.control
    )
    recipe = msgspec.structs.replace(recipe, control=control) if control else recipe
    return masks.with_absolute_path(recipe)


def files_read(recipe: Recipe) -> list[Path]:
    """The files of all companions, which no result may replace."""
    files = []
    for named in named_companions(recipe):
        files.append(named.path)
        if named.path.is_dir():
            files += _files_of(named.path)
    boxes = masks.boxes_path(recipe)
    return files if boxes is None else [*files, boxes]


def _files_of(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def stamps(recipe: Recipe) -> tuple[str, ...]:
    """The stamps of all companions; of one that cannot be read, its error."""
    found = []
    for named in named_companions(recipe):
        try:
            found.append(companion_stamp(named.path))
        except SourceError as error:
            found.append(error.message)
    if (boxes := masks.boxes_path(recipe)) is not None:
        found.append(path_stamp(str(boxes)))
    return tuple(found)


def of_video(recipe: Recipe, source: Source, pts: Times) -> tuple[Companion, ...]:
    """The companions of a video.

    Args:
        source: with its facts.
        pts: presentation times of all its frames, in ticks.

    Raises:
        SourceError, RecipeError: see :func:`~ip2p_batch.media.companion.match.match_video`.
    """
    assert source.video is not None
    frames = SourceFrames(source.video, pts, source.start, source.stop)
    found = tuple(
        match_video(named.use, named.path, frames, shared=named.shared)
        for named in named_companions(recipe)
    )
    masks.check_video(recipe, source.video, found)
    return found


def of_items(
    recipe: Recipe, source: Path, kind: SourceKind, items: Sequence[Item]
) -> tuple[tuple[Companion, ...], list[Item]]:
    """The companions of images, and the images with theirs.

    Raises:
        SourceError, RecipeError: see :func:`~ip2p_batch.media.companion.items.match_items`.
    """
    masks.check_images(recipe)
    found, matched = [], list(items)
    for named in named_companions(recipe):
        companion, matched = match_items(
            named.use, named.path, source, kind, matched, shared=named.shared
        )
        found.append(companion)
    return tuple(found), masks.check_items(matched)


def of_items_again(job: Job, items: Sequence[Item]) -> list[Item]:
    """Find the companion images of a job's images again, for a retry.

    Raises:
        SourceError: a companion cannot be read any more.
    """
    source = Path(job.source.path)
    return of_items(job.recipe, source, classify_source(source), items)[1]
