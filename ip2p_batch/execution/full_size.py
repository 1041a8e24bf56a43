"""From an edited frame or image at the edit size to the result at the source's size."""

from __future__ import annotations

import numpy as np

from ..frame import FullImage, Image
from ..media.depth import Samples16, to_16_bits
from ..media.resize import Resize
from ..recipe import Recipe
from ..transfer.apply import apply
from ..transfer.model import fit

#: Of 8 bits, in 16 bits.
_HALF_STEP = 257 // 2


def keeps_depth(recipe: Recipe) -> bool:
    """Whether results of a source of more than 8 bits a sample have more than 8 bits."""
    return recipe.detail != "edit"


def needs_source(recipe: Recipe, resize: Resize, *, deep: bool) -> bool:
    """Whether results are made from the full-size source, and not from the edit alone.

    An edit at about the source's size has all its detail, but only 8 bits a sample.

    Args:
        deep: whether results have more than 8 bits a sample.
    """
    return recipe.detail == "tiles" or (recipe.detail == "source" and (resize.enlarges or deep))


def at_full_size(resize: Resize, source: Image, edited: Image, full: FullImage) -> FullImage:
    """The result of an edit that :func:`needs_source`.

    Args, returns: as :func:`transferred`.
    """
    if resize.enlarges:
        return transferred(resize, source, edited, full)
    if full.dtype == np.uint8:
        return resize.restore(edited)
    return deepened(resize, source, edited, to_16_bits(full))


def transferred(resize: Resize, source: Image, edited: Image, full: FullImage) -> FullImage:
    """The edit at full size, with the detail of the source.

    Args:
        source, edited: at the edit size, uint8, with padding.
        full: the source, of the stored size.

    Returns:
        of the shape and type of ``full``.
    """
    return apply(fit(resize.without_padding(source), resize.without_padding(edited)), full)


def deepened(resize: Resize, source: Image, edited: Image, full: Samples16) -> Samples16:
    """An edit at about the source's size, with the source's depth.

    This is :func:`transferred`, limited to half a step of 8 bits around the edit. So it is smooth
    where the edit is only rounded, and it is the edit if it is rounded.

    Args, returns: as :func:`transferred`.
    """
    edit = to_16_bits(resize.restore(edited)).astype(np.int32)
    smooth = transferred(resize, source, edited, full)
    limited = np.clip(smooth, edit - _HALF_STEP, edit + _HALF_STEP)
    return np.asarray(np.clip(limited, 0, 65535), dtype=np.uint16)
