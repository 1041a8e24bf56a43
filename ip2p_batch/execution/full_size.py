"""From an edited frame or image at the edit size to the result at the source's size."""

from __future__ import annotations

from ..frame import FullImage, Image
from ..media.resize import Resize
from ..recipe import Recipe
from ..transfer.apply import apply
from ..transfer.model import fit


def needs_source(recipe: Recipe, resize: Resize) -> bool:
    """Whether results are made from the full-size source, and not from the edit alone.

    An edit at about the source's size has all its detail.
    """
    return recipe.detail == "source" and resize.enlarges


def transferred(resize: Resize, source: Image, edited: Image, full: FullImage) -> FullImage:
    """The edit at full size, with the detail of the source.

    Args:
        source, edited: at the edit size, uint8, with padding.
        full: the source, of the stored size.

    Returns:
        of the shape and type of ``full``.
    """
    return apply(fit(resize.without_padding(source), resize.without_padding(edited)), full)
