"""Where a video cuts from one shot to the next, found while its frames stream by.

PySceneDetect's adaptive detector compares each frame's change of hue, saturation and brightness
with that of its neighbours, so that fast motion is not taken for a cut.
"""

from __future__ import annotations

from typing import Any

from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector

#: Frames are looked at with this many columns; all cuts of the trial clips show at this size.
_WIDTH = 256
_SWS_AREA = 0x20


class CutFinder:
    """Feed it every frame in order; ``cuts`` are the numbers of the first frames of new shots.

    The detector looks two frames ahead, so a cut is known two frames after it.
    """

    def __init__(self) -> None:
        # Its usual 0.6 s between cuts hides every second cut of a fast montage.
        self._detector = AdaptiveDetector(min_scene_len=1)
        self._count = 0
        self._size: tuple[int, int] | None = None
        self.cuts: list[int] = []

    def feed(self, frame: Any) -> None:
        """Look at the next ``av.VideoFrame``."""
        if self._size is None:  # kept where the stream changes its own
            width = min(_WIDTH, frame.width)
            self._size = (width, max(2, round(frame.height * width / frame.width)))
        small = frame.reformat(*self._size, format="bgr24", interpolation=_SWS_AREA)
        # The detector compares times; one frame a second makes its seconds our frame numbers.
        now = FrameTimecode(self._count, fps=1.0)
        self._count += 1
        self.cuts += [
            int(at.frame_num) for at in self._detector.process_frame(now, small.to_ndarray())
        ]
