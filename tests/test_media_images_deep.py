"""16-bit PNG files of every layout are decoded to their exact samples."""

import numpy as np
import pytest

from ip2p_batch.media.images.deep import decode_16_bits
from ip2p_batch.media.images.opening import open_image

from . import pictures

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 65536, (40, 52, 3)).astype(np.uint16)
ALPHA = RNG.integers(0, 65536, (40, 52, 1)).astype(np.uint16)


def decode(folder, data, name="png"):
    path = folder / "image"
    path.write_bytes(data)
    with open_image(path) as (image, found):
        assert found == name
        return decode_16_bits(image, found)


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("write", [pictures.png, pictures.interlaced_png])
def test_a_png_of_every_color_type_is_exact(tmp_path, color_type, channels, write):
    samples = np.dstack([RGB, ALPHA])[..., -channels:] if channels != 3 else RGB
    expected = samples[..., 0] if channels == 1 else samples
    assert np.array_equal(decode(tmp_path, write(samples, color_type)), expected)


def test_other_images_are_not_decoded(tmp_path):
    for name in ("png", "tiff", "jpeg", "webp"):
        path = pictures.save(tmp_path / f"a.{name}")
        with open_image(path) as (image, found):
            assert decode_16_bits(image, found) is None
            image.load()
