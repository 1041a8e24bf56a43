"""Tell animated images from still ones by their content, and find their frames."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from . import apng, gif, webp
from .parts import Animation, DamagedAnimationError

#: Suffixes of images that may hold an animation.
SUFFIXES = frozenset({".gif", ".png", ".apng", ".png_large", ".webp"})


def is_animation(path: Path) -> bool:
    """Whether an image has several frames. Reads its head, and of an animation up to two frames.

    A file that cannot be read, or that is damaged before its second frame, is none; so is one with
    another suffix than ``SUFFIXES``.
    """
    if os.path.splitext(path)[1].lower() not in SUFFIXES:  # noqa: PTH122 - 100 000 times
        return False
    try:
        with path.open("rb") as file:
            return is_animated(file)
    except (OSError, ValueError):
        return False


def is_animated(file: IO[bytes]) -> bool:
    """As :func:`is_animation`, for an open file."""
    animation = read_animation(file, 2)
    return animation is not None and len(animation.parts) > 1


def read_animation(file: IO[bytes], most: int) -> Animation | None:
    """Find up to ``most`` frames of a GIF, PNG or WebP; None if it is no animated image.

    Any bytes may be in the file. Pixels are not decoded.
    """
    file.seek(0)
    head = file.read(16)
    file.seek(0)
    try:
        if head.startswith(gif.SIGNATURES):
            return gif.parse(file, most)
        if head.startswith(apng.SIGNATURE):
            return apng.parse(file, most)
        if webp.is_webp(head):
            return webp.parse(file, most)
    except DamagedAnimationError:
        pass
    return None
