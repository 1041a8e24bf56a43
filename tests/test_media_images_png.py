"""PNG files of 16-bit colour."""

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ip2p_batch.media.images import png
from ip2p_batch.media.images.deep import decode_16_bits

from . import pictures


def template(**options):
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG", **options)
    return file.getvalue()


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([3, 4]), st.integers(0, 9))
def test_written_colour_is_read_exactly(height, width, channels, seed):
    shape = (height, width, channels)
    samples = np.random.default_rng(seed).integers(0, 65536, shape).astype(np.uint16)
    with Image.open(io.BytesIO(png.with_pixels(template(), samples))) as image:
        assert image.size == (width, height)
        assert np.array_equal(decode_16_bits(image, "png"), samples)


def test_large_images_are_compressed_in_parts(monkeypatch):
    samples = np.random.default_rng(0).integers(0, 65536, (50, 20, 3)).astype(np.uint16)
    monkeypatch.setattr(png, "_STRIP_BYTES", 7 * 20 * 6)
    with Image.open(io.BytesIO(png.with_pixels(template(), samples))) as image:
        assert np.array_equal(decode_16_bits(image, "png"), samples)


def test_chunks_other_than_the_pixels_are_kept_in_order():
    old = template(icc_profile=pictures.srgb_profile(), dpi=(300, 300))
    new = png.with_pixels(old, np.zeros((2, 2, 3), np.uint16))
    before, after = (dict(png.chunks(data)) for data in (old, new))
    assert list(before) == list(after)
    assert before.pop(b"IHDR") != after.pop(b"IHDR") and before.pop(b"IDAT") != after.pop(b"IDAT")
    assert before == after and b"iCCP" in after
