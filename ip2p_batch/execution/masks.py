"""The masks of a run: drawn ones are read, others are made from the source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat

from ..errors import EditError, SourceError
from ..frame import FullFrame, Mask
from ..jobs.companion import MASK
from ..jobs.spec import Item
from ..jobs.video_facts import VideoFacts
from ..masks.make import MaskMaker, from_drawing
from ..masks.planned import PlannedMasks, load
from ..masks.shape import reduced
from ..media.companion.items import read_item_companion
from ..media.companion.reader import CompanionReader, open_companion
from ..media.images.reader import Still
from ..media.resize import Resize
from ..media.video import hdr
from .chunk_run import ChunkRun


class VideoMasks:
    """The masks of a video's frames.

    Args:
        facts: of the video.
        maker: None: the recipe has no mask.
        drawings: of drawn masks.
        planned: those that planning made.
    """

    def __init__(
        self,
        facts: VideoFacts | None,
        maker: MaskMaker | None = None,
        drawings: CompanionReader | None = None,
        planned: PlannedMasks | None = None,
    ) -> None:
        self._facts = facts
        self._drawings, self._planned = drawings, planned
        self.maker = maker

    def drawn(self, start: int, stop: int) -> Iterator[Mask | None]:
        """The drawn masks of frames ``[start, stop)``; without end None where none are drawn."""
        if self._planned is not None:
            return map(self._planned.at, range(start, stop))
        if self._drawings is None:
            return repeat(None)
        return map(from_drawing, self._drawings.images(start, stop))

    def drawn_at(self, numbers: Sequence[int]) -> Iterator[Mask | None]:
        """As :meth:`drawn`, of single frames in ascending order."""
        if self._planned is not None:
            return map(self._planned.at, numbers)
        if self._drawings is None:
            return repeat(None)
        return map(from_drawing, self._drawings.images_at(numbers))

    def of(self, frame: FullFrame, drawn: Mask | None) -> Mask | None:
        """The mask of a frame at full size; None: everything may change."""
        if self.maker is None:
            return None
        assert self._facts is not None
        return self.maker.make(hdr.shown(frame.image, self._facts), frame.alpha, drawn)


@contextmanager
def open_masks(run: ChunkRun) -> Iterator[VideoMasks]:
    """Open the masks of a video."""
    maker, companion = MaskMaker.of(run.job.recipe), run.job.companion(MASK)
    facts = run.job.source.video
    if run.job.mask_digest:
        assert facts is not None
        planned = load(run.folder.masks_path, run.job.mask_digest, facts.upright)
        yield VideoMasks(facts, maker, planned=planned)
        return
    if companion is None:
        yield VideoMasks(facts, maker)
        return
    with open_companion(companion, run.folder.roots.allow) as drawings:
        yield VideoMasks(facts, maker, drawings)


def at_edit_size(mask: Mask | None, resize: Resize) -> Mask | None:
    """A full-size mask as the frame has it that is edited."""
    return None if mask is None else reduced(mask, resize.content, resize.padding)


def item_mask(run: ChunkRun, item: Item, still: Still) -> Mask | None:
    """The mask of an image at full size; None: everything may change.

    Raises:
        SourceError: the image has no transparency to make a mask of, or its drawn mask cannot be
            read or has another size now.
        OutsideRoots: the drawn mask may not be read here.
    """
    maker, companion = MaskMaker.of(run.job.recipe), item.companion(MASK)
    if maker is None:
        return None
    drawn = None
    if companion is not None:
        drawn = from_drawing(read_item_companion(companion, run.folder.roots.allow))
        if drawn.shape != still.image.shape[:2]:
            raise SourceError(f"{companion.path}: the mask has another size than the image")
    try:
        return maker.make(still.image, still.alpha, drawn)
    except EditError as error:
        raise SourceError(f"{item.source}: {error.message}", path=item.source) from None
