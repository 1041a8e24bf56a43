"""Edit the chunks of images. The receipt names images that fail; the others are written.

Reading and resizing run ahead in one thread, writing follows in another. The pixels of a large
image are freed once it is resized, and read again where the result is made from them. So memory
depends on the size of the edit and on the one or two images that are being read and written, not on
the size of all images in the queues.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from ..editing.editor import Overrides
from ..errors import (
    EditError,
    Ip2pError,
    NotFinite,
    OutputError,
    OutputTaken,
    OutsideRoots,
    SourceError,
)
from ..frame import Frame, FullImage, Image
from ..jobs.log import chunk_log
from ..jobs.plan import ImageChunk
from ..jobs.publications import Publication
from ..jobs.records import ItemResult
from ..jobs.spec import Item, Job
from ..media import limits
from ..media.alpha import fill_hidden, partly_visible, weigh_visible
from ..media.images.reader import Still, read_still
from ..media.images.writer import write_still
from ..media.resize import Resize
from ..storage.atomic import atomic_path, sync_directory, write_error
from .chunk_run import ChunkOutput, ChunkRun, Inline
from .full_size import at_full_size, keeps_depth, needs_source
from .image_sessions import ImageSessions
from .publication import Publisher, source_identity
from .tile_pass import TilePass
from .video import NewSession

log = logging.getLogger(__name__)

#: The pixels of an image up to this size are kept until its result is written; reading a larger one
#: again takes less time than its edit.
_MAX_KEPT_PIXELS = 1 << 21
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)

#: Names no number: the user knows images by their paths, which the report adds.
_NO_IMAGE = NotFinite("The model gave no finite image, not even in float32.")
_POISONED = "the worker process crashed or hung at this image repeatedly; it is skipped"


@dataclass(frozen=True, slots=True, eq=False)
class _LoadedImage:
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

    def edited(self, frame: Frame) -> _LoadedImage:
        return dataclasses.replace(self, frame=frame)


def edit_images(run: ChunkRun, chunk: ImageChunk, new_session: NewSession) -> ChunkOutput:
    """Edit the images of one bucket.

    Raises:
        OutputError: the disk is full or the folder cannot be written, so the next image would
            fail, too.
    """
    sessions = ImageSessions(run, new_session)
    tiled = sessions.first.tiles is not None
    results: dict[int, ItemResult] = {}
    digests = hashlib.sha256()

    def settle(index: int, *, error: str = "", warning: str = "") -> None:
        results[index] = ItemResult(index=index, error=error, warning=warning)
        run.lease.advance(1)

    def finish(picture: _LoadedImage) -> None:
        index, still = picture.frame.index, picture.still
        try:
            digests.update(_write(run, picture, sessions.of(picture.item).tiles).encode())
        except OutputError as error:
            if isinstance(error.__cause__, OSError):
                raise
            settle(index, error=error.message)
        except OutsideRoots as error:
            settle(index, error=error.message)
        except SourceError as error:
            settle(index, error=error.message.removeprefix(f"{error.path}: "))
        except EditError as error:
            settle(index, error=error.message)
        else:
            settle(index, warning="\n".join((*still.warnings, *sessions.notes(index))))

    size = sessions.first.session.batch_size
    with (
        run.ahead(_read(run, chunk), size) as ready,
        # The tile pass uses the device, so it runs between the edits and not next to them.
        Inline(finish) if tiled else run.behind(finish, size) as writer,
    ):
        numbers = chunk.numbers
        for batch in run.batches(run.timer.iterate(ready, "decode"), numbers, size):
            good = []
            for index, picture in batch:
                if isinstance(picture, str):
                    settle(index, error=picture)
                else:
                    good.append(picture)
            for picture, edited in _edit_each(run, sessions, good):
                if isinstance(edited, Ip2pError):
                    settle(picture.frame.index, error=edited.message)
                else:
                    with run.timer.stage("encode"):
                        writer.put(picture.edited(edited))
            first = batch[0][0]
            chunk_log(log, run.folder, run.chunk.id, "batch-edited", first=first, frames=len(batch))
    _sync_output_folders(run, chunk)
    items = tuple(results[index] for index in sorted(results))
    return ChunkOutput(digests.hexdigest(), sessions.warnings, items)


def _sync_output_folders(run: ChunkRun, chunk: ImageChunk) -> None:
    """Make the names of the results durable, once for each folder, before the receipt."""
    items = run.folder.items(chunk.start, chunk.stop)
    for folder in sorted({Path(item.output).parent for item in items}):
        try:
            if folder.is_dir():  # it does not exist if all of its images failed
                sync_directory(run.folder.roots.allow(folder))
        except OutsideRoots:
            continue  # nothing was written there
        except OSError as error:
            raise write_error(folder, error) from error


def _read(run: ChunkRun, chunk: ImageChunk) -> Iterator[tuple[int, _LoadedImage | str]]:
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
            still = _read_still(run, item)
        except SourceError as error:
            yield index, error.message.removeprefix(f"{error.path}: ")  # the report names the path
            continue
        except OutsideRoots as error:
            yield index, error.message
            continue
        height, width = still.image.shape[:2]
        resize = Resize.for_size(width, height, run.job.edit_size(width, height))
        small = resize.apply(_shown(still))
        uses_source = needs_source(
            recipe,
            resize,
            deep=still.image.dtype == np.uint16,
            transparent=still.alpha is not None and bool(partly_visible(still.alpha).any()),
        )
        if width * height > _MAX_KEPT_PIXELS or not uses_source:
            still.image = _NO_PIXELS
        frame = Frame(index, 0, small)
        yield index, _LoadedImage(item, still, resize, small, frame, uses_source, made)


def _read_still(run: ChunkRun, item: Item) -> Still:
    """An image, whose hidden pixels continue the visible ones."""
    # An image that planning accepted is not refused because of another limit here.
    most = max(limits.PIXELS.value(), item.width * item.height)
    path = run.folder.roots.allow(item.source)
    still = read_still(path, deep=keeps_depth(run.job.recipe), max_pixels=most)
    if still.alpha is not None:
        still.image = fill_hidden(still.image, still.alpha)
    return still


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


def _full_size(run: ChunkRun, picture: _LoadedImage, tiles: TilePass | None) -> FullImage:
    """The result's pixels.

    Raises:
        SourceError: the source cannot be read again, or has another size now.
        EditError: the tile pass failed.
    """
    resize = picture.resize
    if not picture.needs_source:
        return resize.restore(picture.frame.image)
    pixels = picture.still.image
    if not pixels.size:
        pixels = _read_still(run, picture.item).image
        if (pixels.shape[1], pixels.shape[0]) != resize.stored:
            path = picture.item.source
            raise SourceError(
                f"{path}: it changed while it was edited", path=path, hint="Run `ip2p-batch retry`."
            )
    alpha = picture.still.alpha
    result = at_full_size(resize, picture.source, picture.frame.image, pixels, alpha)
    if tiles is None:
        return result
    return tiles.refine(pixels, result, picture.frame, picture.overrides)


def _write(run: ChunkRun, picture: _LoadedImage, tiles: TilePass | None) -> str:
    """Write one result; returns its SHA-256."""
    item, result_digest = picture.item, ""
    reads = (item.source, *filter(None, (run.job.recipe.reference_image,)))
    publisher = Publisher(run.folder, run.chunk.id, item.output, item.replaces, reads)
    output = publisher.place()
    kept = f"{picture.frame.index:06d}{output.suffix}"

    def publish(temporary: Path, path: Path) -> None:
        made = msgspec.structs.replace(picture.made, digest=result_digest)
        try:
            publisher.publish(temporary, path, made)
        except OutputTaken as taken:
            place = publisher.keep(temporary, kept)
            raise OutputTaken(
                f"{taken.message} The result is in {place}; move the other file away, then run"
                f" `ip2p-batch retry {run.job.id}`.",
                path=output,
            ) from None
        publisher.drop_kept(kept)

    temporary = output
    check = run.lease.check
    try:
        with atomic_path(output, sync_parent=False, check=check, publish=publish) as temporary:
            result_digest = write_still(
                temporary,
                _full_size(run, picture, tiles),
                picture.still,
                comment=_comment(run.job, picture),
                encoding=run.job.encoding,
            )
        return result_digest
    except OutputError as error:
        message = error.message.removeprefix(f"{temporary}: ")
        raise type(error)(message, path=output, hint=error.hint) from error.__cause__


def _edit_each(
    run: ChunkRun, sessions: ImageSessions, pictures: Sequence[_LoadedImage]
) -> Iterator[tuple[_LoadedImage, Frame | EditError]]:
    """Edit a batch; if that fails, each image alone, so that only the faulty one is lost."""
    # An image may have changed its size since it was assigned to its bucket: group by shape.
    groups: dict[tuple[int, tuple[int, ...]], list[_LoadedImage]] = {}
    for picture in pictures:
        session = sessions.of(picture.item).session
        groups.setdefault((id(session), picture.frame.image.shape), []).append(picture)

    def edit(group: Sequence[_LoadedImage]) -> list[Frame]:
        overrides = [picture.overrides for picture in group]
        session = sessions.of(group[0].item).session
        with run.timer.stage("edit"):
            return session.edit([picture.frame for picture in group], overrides=overrides)

    for group in groups.values():
        try:
            yield from zip(group, edit(group), strict=True)
        except NotFinite as error:
            edited = {frame.index: frame for frame in error.edited}
            for picture in group:
                yield picture, edited.get(picture.frame.index, _NO_IMAGE)
        except EditError as error:
            for picture in group:
                if len(group) == 1:
                    yield picture, error
                    continue
                try:
                    yield picture, edit([picture])[0]
                except EditError as picture_error:
                    yield picture, picture_error


def _comment(job: Job, picture: _LoadedImage) -> str:
    """The recipe of this image, as JSON text for its metadata."""
    own = {"size": job.edit_size(*picture.resize.stored), **picture.item.own_values()}
    values = msgspec.to_builtins(job.recipe) | own
    return msgspec.json.encode({"ip2p_batch": values}).decode()
