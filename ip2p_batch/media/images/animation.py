"""Distinguish images from animations, which are edited as videos."""

from __future__ import annotations

from pathlib import Path

from ...errors import SourceError
from .opening import open_image


def is_animation(path: Path) -> bool:
    """Whether a GIF has several images; so may one that cannot be read."""
    if path.suffix.lower() != ".gif":
        return False
    try:
        with open_image(path):
            return False
    except SourceError:  # an animation, or no GIF: the reader of videos says why
        return True
