"""Check a recipe's mask against the source, before anything is queued."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..errors import RecipeError
from ..jobs.companion import MASK, Companion
from ..jobs.spec import Item
from ..jobs.video_facts import VideoFacts
from ..masks.spec import Kind, MaskSpec
from ..media.images.reader import still_size
from ..recipe import Recipe


def spec_of(recipe: Recipe) -> MaskSpec | None:
    """The mask of a recipe; None without one.

    Raises:
        RecipeError: the mask does not follow the grammar.
    """
    return None if recipe.mask is None else MaskSpec.parse(recipe.mask)


def with_absolute_path(recipe: Recipe) -> Recipe:
    """Make the path in a mask absolute, since workers have another working folder.

    Raises:
        RecipeError: the mask does not follow the grammar.
    """
    spec = spec_of(recipe)
    if spec is None or not spec.path:
        return recipe
    path = str(Path(spec.path).expanduser().absolute())
    return msgspec.structs.replace(recipe, mask=spec.at(path).text)


def drawn_path(recipe: Recipe) -> Path | None:
    """The file or folder of a drawn mask; None without one."""
    return _path(recipe, "file", "track")


def boxes_path(recipe: Recipe) -> Path | None:
    """The file of boxes with times; None without one."""
    return _path(recipe, "boxes")


def _path(recipe: Recipe, *kinds: Kind) -> Path | None:
    spec = spec_of(recipe)
    return Path(spec.path) if spec is not None and spec.kind in kinds else None


def check_images(recipe: Recipe) -> None:
    """Refuse a mask that is for videos.

    Raises:
        RecipeError: it has times, or is followed along motion.
    """
    spec = spec_of(recipe)
    if spec is not None and spec.kind in ("boxes", "track"):
        raise RecipeError(
            f"--mask {spec.kind}: is for videos.", hint="Name a folder with a mask for each image."
        )


def check_video(recipe: Recipe, facts: VideoFacts, companions: Sequence[Companion]) -> None:
    """Refuse a mask that does not fit a video.

    Raises:
        RecipeError: the video has no transparency, or the mask another size.
    """
    spec = spec_of(recipe)
    if spec is not None and spec.kind == "alpha" and not facts.has_alpha:
        raise RecipeError(
            "--mask alpha: the video has no transparency.",
            hint="Name a mask file, or a screen with chroma:COLOR.",
        )
    for own in companions:
        if own.use != MASK:
            continue
        if spec is not None and spec.kind == "track":
            _check_single(own)
        if (own.width, own.height) != facts.upright:
            raise RecipeError(
                _size_error(own.path, (own.width, own.height), facts.upright) + ".",
                hint="Draw the mask at the size of the source.",
            )


def _check_single(own: Companion) -> None:
    if own.kind != "image":
        raise RecipeError(
            f"--mask track: follows one drawn image, and {own.path} is a {own.kind}.",
            hint="Name it without track: where it has an image for each frame.",
        )


def check_items(items: Sequence[Item]) -> list[Item]:
    """The images; with an error where the mask has another size."""
    sizes: dict[str, tuple[int, int]] = {}

    def checked(item: Item) -> Item:
        own = item.companion(MASK)
        if own is None or item.error is not None:
            return item
        if own.path not in sizes:
            sizes[own.path] = still_size(Path(own.path))
        size = (item.width, item.height)
        if sizes[own.path] == size:
            return item
        return msgspec.structs.replace(item, error=_size_error(own.path, sizes[own.path], size))

    return [checked(item) for item in items]


def _size_error(path: str, own: tuple[int, int], source: tuple[int, int]) -> str:
    return "{}: the mask has {}x{} pixels, and the source {}x{}".format(path, *own, *source)
