"""One frame of a video, or one image, on its way through the editor."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

#: 8-bit sRGB pixels, shape ``(height, width, 3)``, C-contiguous.
Image = npt.NDArray[np.uint8]
#: sRGB pixels at the source's size and depth: as :data:`Image`, or uint16 with 65535 for white if
#: the source has more than 8 bits a sample.
FullImage = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
#: Opacity, shape ``(height, width)``: uint8 up to 255, or uint16 up to 65535.
Alpha = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
#: What may change, shape ``(height, width)``: 255 where all may, 0 where nothing may.
Mask = npt.NDArray[np.uint8]
#: Presentation times of all frames of a video, in its time base, shape ``(frames,)``, sorted.
FrameTable = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class FullFrame:
    """An image at full size, of 8 or 16 bits a sample, and its place.

    Attributes:
        index: position in the source, from 0, in display order; for images the item's number.
        pts: presentation time in the source stream's time base; 0 for images.
        image: pixels, see :data:`FullImage`; under opacity 0 they continue the visible ones.
        alpha: opacity at full size, uint8 or uint16, shape ``(height, width)``; None for a source
            without transparency.
    """

    index: int
    pts: int
    image: FullImage
    alpha: Alpha | None = field(default=None, kw_only=True)

    def with_image(self, image: Image) -> Frame:
        """The same place with other pixels, of 8 bits, and without opacity."""
        return Frame(self.index, self.pts, image)


@dataclass(frozen=True, slots=True, eq=False)
class Frame(FullFrame):
    """A frame of 8 bits a sample.

    Attributes:
        image: pixels, see :data:`Image`.
        hints: what the control nets see of this frame, one for each net of the recipe; uint8 RGB of
            the shape of ``image``. Empty without control.
        mask: what may change; None: everything may.
    """

    image: Image
    hints: tuple[Image, ...] = field(default=(), kw_only=True)
    mask: Mask | None = field(default=None, kw_only=True)

    @property
    def is_protected(self) -> bool:
        """Whether its mask lets nothing change, so that it is not edited."""
        return self.mask is not None and not self.mask.any()
