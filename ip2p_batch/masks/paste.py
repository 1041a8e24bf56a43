"""Put the source's own pixels back where a mask protects them."""

from __future__ import annotations

from typing import TypeVar, cast

import numpy as np

from ..frame import FullImage, Mask

Pixels = TypeVar("Pixels", bound=FullImage)

#: Pixels that are mixed at a time.
_STRIP = 1 << 20


def paste(source: FullImage, edited: Pixels, mask: Mask) -> Pixels:
    """``(m edited + (255 - m) source) / 255``, rounded, in integers.

    Where m is 0, the result is the source bit for bit; where it is 255, the edit.

    Args:
        source, edited: of one shape and type, uint8 or uint16, ``(height, width, 3)``.
        mask: m, uint8, ``(height, width)``.

    Raises:
        ValueError: shapes or types differ.
    """
    if source.shape != edited.shape or source.dtype != edited.dtype:
        raise ValueError(
            f"cannot paste {source.dtype} {source.shape} on {edited.dtype} {edited.shape}"
        )
    if mask.shape != source.shape[:2]:
        raise ValueError(f"a mask of shape {mask.shape} for an image of shape {source.shape}")
    result = np.where((mask == 255)[..., None], edited, source).reshape(-1, 3)
    mixed = np.flatnonzero((mask > 0) & (mask < 255))
    flat, own = (image.reshape(-1, 3) for image in (edited, source))
    for start in range(0, len(mixed), _STRIP):
        at = mixed[start : start + _STRIP]
        weight = mask.reshape(-1)[at, None].astype(np.uint32)
        total = weight * flat[at] + (255 - weight) * own[at] + 127
        result[at] = (total // 255).astype(result.dtype)
    return cast(Pixels, result.reshape(source.shape))
