"""The mask of a frame or image at full size, and what a result takes from the source."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..errors import EditError
from ..frame import Alpha, FullImage, Image, Mask
from ..recipe import Recipe
from . import keys
from .paste import paste
from .shape import MaskShape
from .spec import MaskSpec

#: Levels of drawn masks that count as black and as white: codecs leave a few levels of noise.
_BLACK, _WHITE = 16, 239
#: Soft edge in pixels of masks that have hard edges, for ``auto``.
_FEATHER = 2


@dataclass(frozen=True, slots=True)
class MaskMaker:
    """Makes the masks of a job; a pure function of the source and, where drawn, of the drawing."""

    spec: MaskSpec
    shape: MaskShape

    @classmethod
    def of(cls, recipe: Recipe) -> MaskMaker | None:
        """The maker of a recipe's masks; None without a mask.

        Opacity and screens have soft edges of their own, so their feather is 0 where it is
        ``auto``.
        """
        if recipe.mask is None:
            return None
        spec = MaskSpec.parse(recipe.mask)
        feather = recipe.mask_feather
        if feather == "auto":
            feather = 0 if spec.kind in ("alpha", "chroma") else _FEATHER
        return cls(spec, MaskShape(recipe.mask_invert, recipe.mask_grow, feather))

    def make(
        self, image: FullImage, alpha: Alpha | None = None, drawn: Mask | None = None
    ) -> Mask | None:
        """The mask of one frame or image; None: everything may change.

        Args:
            image: the source at full size, SDR.
            alpha: its opacity.
            drawn: of a drawn mask, see :func:`from_drawing`.

        Raises:
            EditError: the mask is made of opacity, and there is none.
        """
        mask = self.shape.applied(self._made(image, alpha, drawn))
        return None if mask.min(initial=255) == 255 else mask

    def _made(self, image: FullImage, alpha: Alpha | None, drawn: Mask | None) -> Mask:
        match self.spec.kind:
            case "alpha":
                if alpha is None:
                    raise EditError("it has no transparency to make a mask of")
                return keys.from_alpha(alpha)
            case "luma":
                return keys.from_luma(image, *self.spec.luma)
            case "chroma":
                return keys.from_screen(image, self.spec.color, measured=self.spec.measured)
            case _:
                assert drawn is not None
                return drawn

    @property
    def fills_background(self) -> bool:
        """Whether what is transparent gets an edited background, so that the result is opaque."""
        return self.spec.kind == "alpha" and self.shape.invert

    def pasted(self, source: FullImage, edited: FullImage, mask: Mask) -> FullImage:
        """The edit where the mask lets it change, the source where not; see :func:`.paste.paste`.

        At the soft edge of a screen the source counts without the screen's colour.
        """
        own = source
        if self.spec.kind == "chroma" and not self.shape.invert:
            own = keys.without_screen(source, mask)
        return paste(own, edited, mask)

    def opacity(self, alpha: Alpha | None, mask: Mask) -> Alpha | None:
        """The opacity of a result."""
        if alpha is None or not self.fills_background:
            return alpha
        return np.where(mask > 0, alpha.dtype.type(np.iinfo(alpha.dtype).max), alpha)


def from_drawing(image: Image) -> Mask:
    """The mask of a drawn image, uint8 RGB: its brightness; almost black and white are pure."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    levels = (gray - _BLACK) * np.float32(255 / (_WHITE - _BLACK))
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)
