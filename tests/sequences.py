"""Write small image sequences for tests."""

from pathlib import Path

import numpy as np

from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.sequence.writer import write_frame

from .clips import picture


def deep_picture(number: int, width: int = 64, height: int = 64) -> np.ndarray:
    """A frame of 16 bits a sample with values that 8 bits do not have."""
    image = picture(number, width, height).astype(np.uint16) * 257
    x = np.arange(width, dtype=np.uint16) + number
    return (image // 2 + x[None, :, None] * 37).astype(np.uint16)


def opacity(width: int = 64, height: int = 64) -> np.ndarray:
    """A ramp from transparent to opaque."""
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


def write_sequence(
    pattern: Path, frames: int = 6, *, first: int = 1, deep: bool = False, alpha=None, size=(64, 64)
) -> Path:
    """Write numbered frames; ``pattern`` is like ``f_%03d.png``. Returns it."""
    pattern.parent.mkdir(parents=True, exist_ok=True)
    for number in range(frames):
        image = (deep_picture if deep else picture)(number, *size)
        write_frame(
            pattern.with_name(pattern.name % (first + number)),
            image,
            alpha,
            bits=16 if deep else 8,
            source=None,
            comment="{}",
            encoding=Encoding(quality=95, mark_ai=False),
        )
    return pattern
