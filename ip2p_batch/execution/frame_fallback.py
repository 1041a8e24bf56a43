"""Frames of which no picture came: a neighbour stands in, as where a frame does not decode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..editing.editor import EditSession
from ..errors import NotFinite
from ..frame import Frame
from ..jobs.compatibility import ranges_text

#: Frames in a row, from a chunk's first on, that may wait for one that comes out well.
_MOST_WAITING = 32

Pair = tuple[Frame, Frame]


class FrameFallback:
    """Edits a chunk's frames in order and fills the holes.

    The frame before stands in; for a chunk's first ones, the next that came out well.

    Attributes:
        notes: by frame number, as :attr:`EditSession.notes`.
    """

    def __init__(self, session: EditSession) -> None:
        self.notes: dict[int, str] = {}
        self._session = session
        self._last: Frame | None = None
        self._waiting: list[Frame] = []
        self._error: NotFinite | None = None

    def edit(self, batch: Sequence[Frame]) -> list[Pair]:
        """Source and picture of the frames that are ready, in order.

        Raises:
            NotFinite: too many frames gave no picture before any did.
            EditError: as :meth:`EditSession.edit`.
        """
        try:
            edited = {frame.index: frame for frame in self._session.edit(batch)}
        except NotFinite as error:
            self._error = error
            edited = {frame.index: frame for frame in error.edited}
        pairs: list[Pair] = []
        for source in batch:
            picture = edited.get(source.index)
            if picture is None:
                self.notes[source.index] = "gave no finite picture; a neighbour stands in"
                self._waiting.append(source)
            else:
                self._last = picture
            if self._last is not None:
                last = self._last
                pairs += [(hole, hole.with_image(last.image)) for hole in self._waiting]
                self._waiting.clear()
            if picture is not None:
                pairs.append((source, picture))
        if len(self._waiting) > _MOST_WAITING:
            self.finish()
        return pairs

    def finish(self) -> None:
        """No more frames are to come.

        Raises:
            NotFinite: none of the chunk's frames gave a picture.
        """
        if self._waiting and self._error is not None:
            raise self._error


def told(notes: Mapping[int, str], numbers: Iterable[int], noun: str = "Frame") -> list[str]:
    """Notes on the frames ``numbers`` as lines for the user, equal ones together.

    >>> told({17: "came late", 3: "came late", 4: "came late", 9: "came early"}, range(12))
    ['Frames 3-4 came late.', 'Frame 9 came early.']
    """
    by_text: dict[str, list[int]] = {}
    for number in sorted(set(numbers) & notes.keys()):
        by_text.setdefault(notes[number], []).append(number)
    return [
        f"{noun}{'s' if len(found) > 1 else ''} {ranges_text(found)} {text}."
        for text, found in by_text.items()
    ]
