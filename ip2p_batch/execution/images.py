"""Edit the chunks of images. The receipt names images that fail; the others are written.

Reading and resizing run ahead in one thread, writing follows in another. So memory depends on the
size of the edit and on the one or two images that are being read and written, not on the size of
all images in the queues.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence

from ..errors import (
    EditError,
    Ip2pError,
    NotFinite,
    OutputError,
    OutsideRoots,
    SourceError,
)
from ..frame import Frame
from ..jobs.log import chunk_log
from ..jobs.plan import ImageChunk
from ..jobs.records import ItemResult
from .chunk_run import ChunkOutput, ChunkRun, Inline
from .image_input import LoadedImage, read_images
from .image_output import sync_output_folders, write_image
from .image_sessions import ImageSessions
from .video import NewSession

log = logging.getLogger(__name__)

#: Names no number: the user knows images by their paths, which the report adds.
_NO_IMAGE = NotFinite("The model gave no finite image, not even in float32.")


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

    def finish(loaded: LoadedImage) -> None:
        index, still = loaded.frame.index, loaded.still
        try:
            digests.update(write_image(run, loaded, sessions.of(loaded.item).tiles).encode())
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
        run.ahead(read_images(run, chunk), size) as ready,
        # The tile pass uses the device, so it runs between the edits and not next to them.
        Inline(finish) if tiled else run.behind(finish, size) as writer,
    ):
        numbers = chunk.numbers
        for batch in run.batches(run.timer.iterate(ready, "decode"), numbers, size):
            good = []
            for index, loaded in batch:
                if isinstance(loaded, str):
                    settle(index, error=loaded)
                else:
                    good.append(loaded)
            for loaded, edited in _edit_each(run, sessions, good):
                if isinstance(edited, Ip2pError):
                    settle(loaded.frame.index, error=edited.message)
                else:
                    with run.timer.stage("encode"):
                        writer.put(loaded.edited(edited))
            first = batch[0][0]
            chunk_log(log, run.folder, run.chunk.id, "batch-edited", first=first, frames=len(batch))
    sync_output_folders(run, chunk)
    items = tuple(results[index] for index in sorted(results))
    return ChunkOutput(digests.hexdigest(), sessions.warnings, items)


def _edit_each(
    run: ChunkRun, sessions: ImageSessions, images: Sequence[LoadedImage]
) -> Iterator[tuple[LoadedImage, Frame | EditError]]:
    """Edit a batch; if that fails, each image alone, so that only the faulty one is lost."""
    # An image may have changed its size since it was assigned to its bucket: group by shape.
    groups: dict[tuple[int, tuple[int, ...]], list[LoadedImage]] = {}
    for loaded in images:
        if loaded.frame.is_protected:
            yield loaded, loaded.frame.with_image(loaded.source)
            continue
        session = sessions.of(loaded.item).session
        groups.setdefault((id(session), loaded.frame.image.shape), []).append(loaded)

    def edit(group: Sequence[LoadedImage]) -> list[Frame]:
        overrides = [loaded.overrides for loaded in group]
        session = sessions.of(group[0].item).session
        with run.timer.stage("edit"):
            return session.edit([loaded.frame for loaded in group], overrides=overrides)

    for group in groups.values():
        try:
            yield from zip(group, edit(group), strict=True)
        except NotFinite as error:
            edited = {frame.index: frame for frame in error.edited}
            for loaded in group:
                yield loaded, edited.get(loaded.frame.index, _NO_IMAGE)
        except EditError as error:
            for loaded in group:
                if len(group) == 1:
                    yield loaded, error
                    continue
                try:
                    yield loaded, edit([loaded])[0]
                except EditError as own_error:
                    yield loaded, own_error
