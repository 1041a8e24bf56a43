"""Replace frames for which the model gave no image by a neighbour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..editing.editor import EditSession
from ..errors import NotFinite
from ..frame import Frame
from ..jobs.compatibility import ranges_text

#: Frames at the start of a chunk that may wait for the first one with an image.
_MAX_WAITING = 32

Pair = tuple[Frame, Frame]


class FrameFallback:
    """Edits a chunk's frames in order and fills gaps.

    A frame without an image is replaced by the frame before it; at the start of a chunk by the
    next frame with an image.

    Attributes:
        notes: by frame number, as :attr:`EditSession.notes`.
    """

    def __init__(self, session: EditSession) -> None:
        self.notes: dict[int, str] = {}
        self._session = session
        self._last: Pair | None = None
        self._waiting: list[Frame] = []
        self._error: NotFinite | None = None

    def edit(self, batch: Sequence[Frame]) -> list[Pair]:
        """Edit a batch; return the source and the image of frames that are ready, in order.

        Raises:
            NotFinite: too many frames at the start of the chunk have no image.
            EditError: as :meth:`EditSession.edit`.
        """
        may_change = [frame for frame in batch if not frame.is_protected]
        try:
            made = self._session.edit(may_change) if may_change else []
        except NotFinite as error:
            self._error = error
            made = list(error.edited)
        edited = {frame.index: frame for frame in made}
        edited |= {f.index: f.with_image(f.image) for f in batch if f.is_protected}
        pairs: list[Pair] = []
        # A prepared frame carries its optical flow, which nothing needs after the edit.
        for source in (_moved(frame, frame) for frame in batch):
            result = edited.get(source.index)
            if result is None:
                self.notes[source.index] = "gave no finite image; a neighbour replaces it"
                self._waiting.append(source)
            else:
                self._last = (source, result)
            if self._last is not None:
                # With the neighbour's source, since the full-size result follows from what the
                # edit changed in it.
                source_before, edited_before = self._last
                pairs += [
                    (_moved(source_before, gap), _moved(edited_before, gap))
                    for gap in self._waiting
                ]
                self._waiting.clear()
            if result is not None:
                pairs.append((source, result))
        if len(self._waiting) > _MAX_WAITING:
            self.finish()
        return pairs

    def finish(self) -> None:
        """Call after the last frame of the chunk.

        Raises:
            NotFinite: no frame of the chunk has an image.
        """
        if self._waiting and self._error is not None:
            raise self._error


def _moved(frame: Frame, place: Frame) -> Frame:
    """The image and mask of a frame, without more, in the place of another frame."""
    return Frame(place.index, place.pts, frame.image, mask=frame.mask)


def note_lines(notes: Mapping[int, str], numbers: Iterable[int], noun: str = "Frame") -> list[str]:
    """Format the notes on frames ``numbers`` for the user; equal ones share a line.

    >>> notes = {17: "came late", 3: "came late", 4: "came late", 9: "came early"}
    >>> note_lines(notes, range(12))
    ['Frames 3-4 came late.', 'Frame 9 came early.']
    """
    by_text: dict[str, list[int]] = {}
    for number in sorted(set(numbers) & notes.keys()):
        by_text.setdefault(notes[number], []).append(number)
    return [
        f"{noun}{'s' if len(same) > 1 else ''} {ranges_text(same)} {text}."
        for text, same in by_text.items()
    ]
