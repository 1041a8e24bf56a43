"""Hints of single images: of a job's images, and of its reference image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..frame import Image
from ..hints.kinds import make_hint
from ..jobs.spec import Item
from ..media.companion.items import read_item_companion
from ..media.resize import Resize
from ..recipe import Recipe


def image_hints(
    recipe: Recipe, item: Item, image: Image, resize: Resize, allow: Callable[[Path | str], Path]
) -> tuple[Image, ...]:
    """The hints of one image, one for each control net of the recipe.

    Args:
        image: resized.
        resize: of its source.

    Raises:
        SourceError: its companion image cannot be read, or has changed since the job was planned.
        OutsideRoots: its companion image may not be read here.
    """
    hints = []
    for n, net in enumerate(recipe.control):
        own = item.companion(f"hints-{n}")
        if own is None:
            hints.append(make_hint(net.kind, image))
        else:
            drawn = read_item_companion(own, allow)
            hints.append(resize.of_companion(drawn).apply(drawn))
    return tuple(hints)


def reference_hints(recipe: Recipe, image: Image | None) -> tuple[Image, ...]:
    """The hints of the reference image; empty without one, and if a net has hints of one's own."""
    if image is None or any(net.hints is not None for net in recipe.control):
        return ()
    return tuple(make_hint(net.kind, image) for net in recipe.control)
