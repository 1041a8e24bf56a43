"""The kinds of hints that are made of a frame without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ..errors import RecipeError
from ..frame import Image
from ..recipe_parts import Control
from . import areas, depth, lines
from .depth_model import check_estimator, estimator_of

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
#: Without weights; ``depth`` is made by an estimator.
KINDS: tuple[str, ...] = tuple(MAKERS)


def make_hint(kind: str, image: Image) -> Image:
    """The hint of one image.

    Args:
        kind: one of :data:`KINDS`.
        image: uint8 RGB, shape ``(height, width, 3)``.

    Returns:
        uint8 RGB of the same shape.

    Raises:
        RecipeError: there is no such kind.
    """
    check_kind(kind)
    return MAKERS[kind](image)


def check_kind(kind: str) -> None:
    """Refuse a kind whose hints cannot be made.

    Raises:
        RecipeError: names the kinds.
    """
    if kind not in MAKERS:
        raise RecipeError(
            f"{kind!r} is no kind of hints that are made here: {', '.join((*KINDS, depth.KIND))}.",
            hint=f"Give your own with hints=FILE, for example --control {kind},hints=FILE.",
        )


def check_kinds(nets: tuple[Control, ...]) -> None:
    """Refuse a control net whose hints are neither made here nor given.

    Raises:
        RecipeError: names the kinds; or a preprocessor is given that nothing uses.
        ModelError: the depth estimator is a folder without its files.
    """
    for net in nets:
        estimator = estimator_of(net)
        if estimator is not None:
            check_estimator(estimator)
        elif net.preprocessor is not None:
            raise RecipeError(
                f"preprocessor={net.preprocessor} makes hints of depth only, and not {net.kind}.",
                hint="Omit it.",
            )
        elif net.hints is None:
            check_kind(net.kind)
