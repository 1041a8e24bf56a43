"""Images for the tests of the transfer."""

import cv2
import numpy as np


def photo(height, width, seed=0):
    """Smooth areas, edges and fine texture, uint8."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.random((6, 8, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    blocks = cv2.resize(rng.random((9, 12, 3)), (width, height), interpolation=cv2.INTER_NEAREST)
    texture = cv2.GaussianBlur(rng.normal(size=(height, width, 3)), (0, 0), 1)
    image = 0.5 * smooth + 0.4 * blocks + 0.15 * texture
    return np.clip(255 * image, 0, 255).astype(np.uint8)
