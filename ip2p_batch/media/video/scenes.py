"""Find the cuts between shots of a video, in one pass over its frames.

PySceneDetect's adaptive detector compares each frame's change of hue, saturation and brightness
with that of its neighbours, so that it does not take fast motion for a cut.
"""

from __future__ import annotations

from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector

from .types import VideoFrame

#: Columns that frames are scaled to; all cuts of the test clips are found at this size.
_WIDTH = 256
_SWS_AREA = 0x20


class CutFinder:
    """Find cuts in frames that are fed in order.

    The detector needs the two frames that follow, so a cut is known two frames later.

    Attributes:
        cuts: numbers of the first frames of new shots, counted from 0 in the order of feeding.
    """

    def __init__(self) -> None:
        # The default, 0.6 s between cuts, hides every second cut of a fast montage.
        self._detector = AdaptiveDetector(min_scene_len=1)
        self._count = 0
        self._size: tuple[int, int] | None = None
        self.cuts: list[int] = []

    def feed(self, frame: VideoFrame) -> None:
        """Process the next frame."""
        if self._size is None:  # kept if the stream changes its frame size
            width = min(_WIDTH, frame.width)
            self._size = (width, max(2, round(frame.height * width / frame.width)))
        small = frame.reformat(*self._size, format="bgr24", interpolation=_SWS_AREA)
        # The detector works with times: at one frame per second, seconds are frame numbers.
        now = FrameTimecode(self._count, fps=1.0)
        self._count += 1
        self.cuts += [
            int(at.frame_num) for at in self._detector.process_frame(now, small.to_ndarray())
        ]
