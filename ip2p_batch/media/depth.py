"""Convert samples between 8 and 16 bits, where white is 255 and 65535."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Samples8 = npt.NDArray[np.uint8]
Samples16 = npt.NDArray[np.uint16]


def to_8_bits(samples: Samples8 | Samples16) -> Samples8:
    """Round samples to 8 bits: ``v * 255 / 65535``.

    Args:
        samples: uint8 or uint16, of any shape with at least one sample; uint8 is returned as is.

    >>> to_8_bits(np.array([[0, 128, 129, 65535]], np.uint16)).tolist()
    [[0, 0, 1, 255]]
    """
    if samples.dtype == np.uint8:
        return np.asarray(samples, np.uint8)
    # Exact: the divisor is odd, so no quotient is halfway between two integers.
    return np.asarray(cv2.convertScaleAbs(samples, alpha=1 / 257), np.uint8).reshape(samples.shape)


def to_16_bits(samples: Samples8 | Samples16) -> Samples16:
    """Scale samples to 16 bits: ``v * 65535 / 255``. :func:`to_8_bits` is the inverse.

    Args:
        samples: uint8 or uint16, of any shape; uint16 is returned as is.

    >>> to_16_bits(np.array([0, 1, 255], np.uint8)).tolist()
    [0, 257, 65535]
    """
    if samples.dtype == np.uint16:
        return np.asarray(samples, np.uint16)
    return np.multiply(samples, 257, dtype=np.uint16)
