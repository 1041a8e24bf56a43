"""Make hints of a frame without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ..frame import Image
from . import areas, lines
from .kinds import check_kind

#: Each takes and returns uint8 RGB of one shape; a pure function.
MAKERS: Mapping[str, Callable[[Image], Image]] = MappingProxyType(
    {
        "canny": lines.canny,
        "lineart": lines.lineart,
        "tile": areas.tile,
        "blur": areas.blur,
        "luminance": areas.luminance,
        "color": areas.color,
    }
)


def make_hint(kind: str, image: Image) -> Image:
    """The hint of one image.

    Args:
        kind: one of :data:`~.kinds.KINDS`.
        image: uint8 RGB, shape ``(height, width, 3)``.

    Returns:
        uint8 RGB of the same shape.

    Raises:
        RecipeError: there is no such kind.
    """
    check_kind(kind)
    return MAKERS[kind](image)
