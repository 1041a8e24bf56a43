"""Read frames of an image sequence by their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, cast

import numpy as np

from ...errors import SourceError
from ...frame import Alpha, Frame, FullFrame, FullImage, Image
from ...jobs.video_facts import VideoFacts
from ...storage.sequence import pattern_of
from ..alpha import fill_hidden
from ..depth import to_8_bits, to_16_bits
from ..video.reader import AnyFrame
from ..video.timestamps import Times
from ..video.types import VideoFrame
from .frame import StoredFrame, read_frame


class SequenceReader(Generic[AnyFrame]):
    """Reads as :class:`ip2p_batch.media.video.reader.VideoReader` does.

    Args:
        path: pattern of the names.
        facts: about the sequence.
        pts: presentation times of all frames.
        deep: read a source of more than 8 bits a sample as uint16.
        allow: resolves the path of each file before it is opened.

    Attributes:
        warnings: always empty: a frame that cannot be read is an error.
        captions: always empty.
    """

    def __init__(
        self,
        path: Path,
        facts: VideoFacts,
        pts: Times,
        *,
        deep: bool = False,
        allow: Callable[[Path], Path] = lambda path: path,
    ) -> None:
        pattern = pattern_of(path)
        assert pattern is not None
        assert facts.first_number is not None
        self._pattern, self._first = pattern, facts.first_number
        self._facts = facts
        self._pts = pts
        self._is_deep = deep and facts.bit_depth > 8
        self._allow = allow
        self.warnings: list[str] = []
        self.captions: dict[int, VideoFrame] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is held open."""

    def frame(self, number: int) -> AnyFrame:
        """Read frame ``number``, counted from 0.

        Raises:
            SourceError: its file cannot be read, or has another size.
        """
        path = self._allow(self._pattern.path(self._first + number))
        width, height = self._facts.upright
        stored = read_frame(path, max_pixels=width * height)
        if stored.size != (width, height):
            raise SourceError(
                f"{path}: the frame has another size than when the job was planned.",
                path=path,
                hint="Restore the frame, or run the command again.",
                survives="Finished chunks are kept.",
            )
        image, alpha = self._pixels(stored)
        kind = FullFrame if self._is_deep else Frame
        return cast(AnyFrame, kind(number, int(self._pts[number]), cast(Image, image), alpha=alpha))

    def frames(self, start: int, stop: int) -> Iterator[AnyFrame]:
        """Read frames ``[start, stop)``, in order; errors as :meth:`frame`."""
        return map(self.frame, range(start, stop))

    def frames_at(self, numbers: Sequence[int]) -> Iterator[AnyFrame]:
        """Read single frames, in the given order; errors as :meth:`frame`."""
        return map(self.frame, numbers)

    def _pixels(self, stored: StoredFrame) -> tuple[FullImage, Alpha | None]:
        convert = to_16_bits if self._is_deep else to_8_bits
        image: FullImage = convert(stored.image)
        if not self._facts.has_alpha:
            return image, None
        alpha = stored.alpha
        if alpha is None:
            alpha = np.full(image.shape[:2], 255, np.uint8)
        return fill_hidden(image, alpha), alpha
