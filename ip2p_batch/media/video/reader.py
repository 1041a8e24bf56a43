"""Read frames of a video: any range, exactly the planned frames, upright, as RGB."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar, cast, overload

from ...errors import SourceError
from ...frame import Alpha, Frame, FullFrame, FullImage, Image
from ...jobs.video_facts import VideoFacts
from ..alpha import fill_hidden
from .alpha import frame_alpha
from .captions import captions_of
from .color import check_dynamic_range
from .decoded_file import DecodedFile
from .deinterlace import LOOKBACK, deinterlaced
from .frame_keys import FrameKeys
from .frame_search import advance, frames_around, is_intact, pts_of
from .orientation import turn_upright
from .pixels import upright_image
from .timestamps import Times
from .types import VideoFrame

#: Earlier keyframes that are tried before the file is decoded from its beginning.
_EARLIER_KEYFRAMES = 3
#: Longest distance, in frames, that is decoded through instead of seeking: keyframes are often
#: 250 frames apart, so that a seek decodes more than a hundred on average.
_DECODE_THROUGH = 60

#: Upright pixels, and their opacity if the source has transparency.
_Pixels = tuple[FullImage, Alpha | None]
AnyFrame = TypeVar("AnyFrame", bound=FullFrame, covariant=True)


class VideoReader(Generic[AnyFrame]):
    """Read frames by their number in the table of frame times made at planning.

    A frame is found by its presentation time, and only an exact match counts. Taking "the first
    frame from there on" is wrong where a seek lands on an open group of pictures, because the
    decoder drops its leading frames.

    Args:
        path: the video.
        facts: about its video stream.
        pts: presentation times of all frames in ticks of the time base, sorted.
        ids: decoding time or place in the file of each frame, see :class:`FrameKeys`.
        deep: read a source of more than 8 bits a sample as uint16.

    Attributes:
        warnings: one line for each frame that did not decode and was replaced by a neighbour.
        captions: closed captions by the number of the frame that was read, see
            :func:`~.captions.captions_of`.
    """

    @overload
    def __init__(
        self: VideoReader[Frame],
        path: Path,
        facts: VideoFacts,
        pts: Times,
        ids: Times | None = None,
        *,
        deep: Literal[False] = False,
    ) -> None: ...
    @overload
    def __init__(
        self: VideoReader[FullFrame],
        path: Path,
        facts: VideoFacts,
        pts: Times,
        ids: Times | None = None,
        *,
        deep: bool,
    ) -> None: ...
    def __init__(
        self,
        path: Path,
        facts: VideoFacts,
        pts: Times,
        ids: Times | None = None,
        *,
        deep: bool = False,
    ) -> None:
        self._path = path
        self._facts = facts
        self._pts = pts
        self._file = DecodedFile(path, facts, FrameKeys(facts, pts, ids))
        self._is_deep = deep and (facts.bit_depth > 8 or facts.keeps_hdr)
        self.warnings: list[str] = []
        self.captions: dict[int, VideoFrame] = {}

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            SourceError: it cannot be opened, or has no video stream.
        """
        self._file.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def frame(self, number: int) -> AnyFrame:
        """Read frame ``number``; see :meth:`frames`."""
        return next(self.frames(number, number + 1))

    def frames(self, start: int, stop: int) -> Iterator[AnyFrame]:
        """Read frames ``[start, stop)``, each once, in order.

        A frame that does not decode is replaced by the frame before it (by the one after it at
        the start of the range), so that length and sound stay in step; ``warnings`` says so.

        Yields:
            frames of upright RGB pixels in stored resolution, uint8, or uint16 if ``deep``.

        Raises:
            SourceError: no frame decodes from there on.
        """
        return self._read(range(start, stop))

    def frames_at(self, numbers: Sequence[int]) -> Iterator[AnyFrame]:
        """Read single frames, in ascending order, as :meth:`frame` does, with fewer seeks.

        Yields:
            the frame of each number.

        Raises:
            SourceError: as :meth:`frames`.
        """
        start = 0
        for stop in range(1, len(numbers) + 1):
            if stop == len(numbers) or numbers[stop] - numbers[stop - 1] > _DECODE_THROUGH:
                yield from self._read(numbers[start:stop])
                start = stop

    def _read(self, numbers: Sequence[int]) -> Iterator[AnyFrame]:
        """Read frames ``numbers``, ascending, in one pass."""
        decoded = self._frames_from(numbers[0]) if numbers else _no_frames()
        next_frame = next(decoded, None)
        fallback: _Pixels | None = None
        previous_number = -2
        for number in numbers:
            target = int(self._pts[number])
            is_after_gap = number != previous_number + 1
            if is_after_gap:  # the frame yielded before is no neighbour of this one
                fallback = None
            previous_number = number
            previous_frame, next_frame = advance(target, next_frame, decoded)
            if is_after_gap and number != numbers[0] and not is_intact(next_frame, target):
                # Seek as for the first frame of a read, so that both find the same replacement.
                decoded = self._frames_from(number)
                previous_frame, next_frame = advance(target, next(decoded, None), decoded)
            if next_frame is not None and next_frame.pts == target:
                fallback = self._to_pixels(next_frame)
                if (captions := captions_of(next_frame)) is not None:
                    self.captions[number] = captions
                yield self._frame(number, fallback)
                # After the last frame, do not decode another one.
                next_frame = next(decoded, None) if number != numbers[-1] else None
                continue
            if fallback is None:
                fallback = self._neighbour_image(number, previous_frame, next_frame)
            self.warnings.append(f"Frame {number} does not decode; a neighbour replaces it.")
            yield self._frame(number, fallback)

    def _neighbour_image(
        self, number: int, previous_frame: VideoFrame | None, next_frame: VideoFrame | None
    ) -> _Pixels:
        neighbour = previous_frame if previous_frame is not None else next_frame
        if neighbour is None:
            raise SourceError(
                f"{self._path}: frame {number} does not decode, and no frame after it does.",
                path=self._path,
                hint="The file is damaged; edit the part before this frame with --end.",
                survives="Finished chunks are kept.",
            )
        return self._to_pixels(neighbour)

    def _frame(self, number: int, pixels: _Pixels) -> AnyFrame:
        kind = FullFrame if self._is_deep else Frame
        image, alpha = pixels
        return cast(AnyFrame, kind(number, int(self._pts[number]), cast(Image, image), alpha=alpha))

    def _to_pixels(self, frame: VideoFrame) -> _Pixels:
        image = self._to_image(frame)
        if not self._facts.has_alpha:
            return image, None
        alpha = turn_upright(frame_alpha(frame, self._facts.decoded_size), self._facts)
        return fill_hidden(image, alpha), alpha

    def _to_image(self, frame: VideoFrame) -> FullImage:
        check_dynamic_range(frame, self._facts, self._path)
        return upright_image(frame, self._facts, deep=self._is_deep)

    def _frames_from(self, number: int) -> Iterator[VideoFrame]:
        """Decode frames, deinterlaced; the first one is at or before ``number`` if any is."""
        how, target = self._facts.deinterlace, int(self._pts[number])
        if how == "off":
            return self._decode_from(target)
        if how == "auto" and not self._facts.interlaced:  # only the first frame was inspected
            frames = self._decode_from(target)
            first = next(frames, None)
            if first is None or not first.interlaced_frame:
                return deinterlaced(_chained(first, frames), how)
        start = max(0, number - LOOKBACK[how])
        return deinterlaced(self._decode_from(int(self._pts[start])), how)

    def _decode_from(self, target: int) -> Iterator[VideoFrame]:
        """Decode frames; the first one is at or before ``target`` if any such frame decodes."""
        again = self._file.continued(target)
        if again is not None:
            yield from again
            return
        seek_to = target
        for _ in range(1 + _EARLIER_KEYFRAMES):
            frames = self._file.seek(seek_to)
            around, first_pts = frames_around(target, frames)
            if around and pts_of(around[-1]) <= target and not around[-1].is_corrupt:
                yield around[-1]
                yield from frames
                return
            seek_to = (seek_to if first_pts is None else min(seek_to, first_pts)) - 1
            if seek_to < int(self._pts[0]):
                break
        frames = self._file.restart()
        around, _ = frames_around(target, frames)
        yield from around
        yield from frames


def _chained(first: VideoFrame | None, others: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    if first is not None:
        yield first
    yield from others


def _no_frames() -> Generator[VideoFrame, None, None]:
    yield from ()
