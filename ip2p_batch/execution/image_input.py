"""Read and resize the images of a chunk, in the thread that runs ahead.

The pixels of a large image are freed once it is resized, and read again where the result is made
from them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..editing.editor import Overrides
from ..errors import OutsideRoots, SourceError
from ..frame import Frame, FullImage, Image
from ..jobs.plan import ImageChunk
from ..jobs.publications import Publication
from ..jobs.spec import Item, Job
from ..media import limits
from ..media.alpha import fill_hidden, partly_visible, weigh_visible
from ..media.images.reader import Still, read_still
from ..media.resize import Resize
from .chunk_run import ChunkRun
from .full_size import keeps_depth, needs_source
from .image_hints import image_hints
from .masks import at_edit_size, item_mask
from .publication import source_identity

#: The pixels of an image up to this size are kept until its result is written; reading a larger one
#: again takes less time than its edit.
_MAX_KEPT_PIXELS = 1 << 21
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)

_POISONED = "the worker process crashed or hung at this image repeatedly; it is skipped"


@dataclass(frozen=True, slots=True, eq=False)
class LoadedImage:
    """An image in the queues.

    Attributes:
        still: the image; without its pixels if they are not needed, or many.
        source: its resized pixels.
        frame: the same, or the edit.
        needs_source: whether the result is made from the full-size pixels.
        made: the record of its result, so far.
    """

    item: Item
    still: Still
    resize: Resize
    source: Image
    frame: Frame
    needs_source: bool
    made: Publication

    @property
    def overrides(self) -> Overrides:
        return Overrides(self.item.instruction, self.item.negative_prompt, self.item.seed)

    def edited(self, frame: Frame) -> LoadedImage:
        return dataclasses.replace(self, frame=frame)


def read_images(run: ChunkRun, chunk: ImageChunk) -> Iterator[tuple[int, LoadedImage | str]]:
    """Read and resize the chunk's images; yield the reason for one that cannot be read."""
    recipe = run.job.recipe
    for index, item in enumerate(run.folder.items(chunk.start, chunk.stop), chunk.start):
        if index in chunk.excluded:
            continue
        if index in run.poisoned:
            yield index, _POISONED
            continue
        try:
            made = _made(run, item)
            still = read_full_size(run, item)
            mask = item_mask(run, item, still)
        except SourceError as error:
            yield index, error.message.removeprefix(f"{error.path}: ")  # the report names the path
            continue
        except OutsideRoots as error:
            yield index, error.message
            continue
        height, width = still.image.shape[:2]
        resize, small = resized_still(run.job, still)
        try:
            hints = image_hints(run.job, item, small, resize, run.folder.roots.allow)
        except (SourceError, OutsideRoots) as error:
            yield index, error.message
            continue
        uses_source = needs_source(
            recipe,
            resize,
            deep=still.image.dtype == np.uint16,
            transparent=still.alpha is not None and bool(partly_visible(still.alpha).any()),
        )
        uses_source = uses_source or mask is not None
        if width * height > _MAX_KEPT_PIXELS or not uses_source:
            still.image = _NO_PIXELS
        frame = Frame(index, 0, small, hints=hints, mask=at_edit_size(mask, resize))
        yield index, LoadedImage(item, still, resize, small, frame, uses_source, made)


def read_full_size(run: ChunkRun, item: Item) -> Still:
    """An image, whose hidden pixels continue the visible ones."""
    return read_item(run.job, item, run.folder.roots.allow)


def read_item(job: Job, item: Item, allow: Callable[[Path | str], Path]) -> Still:
    """An image, whose hidden pixels continue the visible ones.

    Args:
        allow: resolves its path before it is opened; see :class:`~ip2p_batch.storage.roots.Roots`.

    Raises:
        SourceError: it cannot be read.
        OutsideRoots: it may not be read here.
    """
    # An image that planning accepted is not refused because of another limit here.
    most = max(limits.PIXELS.value(), item.width * item.height)
    still = read_still(allow(item.source), deep=keeps_depth(job.recipe), max_pixels=most)
    if still.alpha is not None:
        still.image = fill_hidden(still.image, still.alpha)
    return still


def resized_still(job: Job, still: Still) -> tuple[Resize, Image]:
    """How an image is resized for the edit, and its resized pixels."""
    height, width = still.image.shape[:2]
    resize = Resize.for_size(width, height, job.edit_size(width, height))
    return resize, resize.apply(_shown(still))


def _shown(still: Still) -> FullImage:
    """The pixels for the edit: colours count as much as they are visible."""
    return still.image if still.alpha is None else weigh_visible(still.image, still.alpha)


def _made(run: ChunkRun, item: Item) -> Publication:
    """The record of a result that is made from the source as it is now."""
    stamp, source_digest = source_identity(run.folder.roots.allow(item.source))
    return Publication(
        output=item.output,
        stamp="",
        recipe=run.job.item_fingerprint(item),
        source=stamp,
        source_digest=source_digest,
    )
