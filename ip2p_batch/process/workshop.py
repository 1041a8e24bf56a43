"""What a process keeps from chunk to chunk, beside its editor."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

from ..frame import Frame
from ..overlap import Helpers

#: Bytes of frames kept: hundreds of them at 512 pixels, some tens at 2048.
_MOST_BYTES = 128 << 20


class KeptFrames:
    """Borders and anchors that were read before, fitted.

    Anchors are the same for all chunks of a shot, and a border belongs to those on both sides of
    it. Each read is a seek and a decoding from the keyframe before: up to some hundred frames.

    Args:
        most: bytes of pixels to keep; those that were not asked for the longest go first.
    """

    def __init__(self, most: int = _MOST_BYTES) -> None:
        self._most = most
        self._bytes = 0
        self._kept: OrderedDict[Hashable, Frame] = OrderedDict()

    def get(
        self, clip: Hashable, numbers: Sequence[int], read: Callable[[Sequence[int]], list[Frame]]
    ) -> list[Frame]:
        """Frames ``numbers`` of a clip; those that are not here are read, and kept.

        Args:
            clip: what the pixels depend on beside the number.
        """
        missing = [n for n in dict.fromkeys(numbers) if (clip, n) not in self._kept]
        found = {frame.index: frame for frame in read(missing)} if missing else {}
        for number in numbers:
            if number not in found:
                self._kept.move_to_end((clip, number))
                found[number] = self._kept[clip, number]
        for number in missing:
            self._keep((clip, number), found[number])
        return [found[number] for number in numbers]

    def _keep(self, key: Hashable, frame: Frame) -> None:
        self._kept[key] = frame
        self._bytes += frame.image.nbytes
        while self._bytes > self._most:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= gone.image.nbytes


class Workshop:
    """One for each process that works on chunks, one chunk at a time.

    Args:
        threads: beside the editor's own, for flow, filters and fitting; see :class:`Helpers`.
    """

    def __init__(self, threads: int = 1) -> None:
        self.helpers = Helpers(threads)
        self.frames = KeptFrames()
