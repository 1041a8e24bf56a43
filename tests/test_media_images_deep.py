"""16-bit PNG and TIFF files of every layout are decoded to their exact samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.errors import SourceError
from ip2p_batch.media.images.deep import decode_16_bits
from ip2p_batch.media.images.formats import open_image

from . import pictures

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 65536, (40, 52, 3)).astype(np.uint16)
ALPHA = RNG.integers(0, 65536, (40, 52, 1)).astype(np.uint16)
GREY = RGB[..., :1]


def decode(folder, data, name="tiff"):
    path = folder / "image"
    path.write_bytes(data)
    with open_image(path) as (image, found):
        assert found == name
        return decode_16_bits(image, found)


def turned(samples, orientation):
    """Apply an orientation of TIFF 6.0."""
    if orientation >= 5:
        samples = np.swapaxes(samples, 0, 1)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples[::-1] if orientation in (3, 4, 7, 8) else samples


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_rgb_of_a_tiff_is_exact(tmp_path, order, planar, compressed, orientation):
    data = pictures.tiff(
        RGB, order=order, planar=planar, compressed=compressed, orientation=orientation
    )
    assert np.array_equal(decode(tmp_path, data), turned(RGB, orientation))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_grey_of_a_tiff_is_exact(tmp_path, order, compressed, orientation):
    data = pictures.tiff(GREY, order=order, compressed=compressed, orientation=orientation)
    assert np.array_equal(decode(tmp_path, data), turned(GREY[..., 0], orientation))


@pytest.mark.parametrize("compressed", [False, True])
def test_grey_whose_white_is_zero_is_not_inverted(tmp_path, compressed):
    data = pictures.tiff(65535 - GREY, photometric=0, compressed=compressed)
    assert np.array_equal(decode(tmp_path, data), GREY[..., 0])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_alpha_of_a_tiff_is_exact(tmp_path, order, planar, compressed):
    options = {"order": order, "planar": planar, "compressed": compressed}
    both = np.dstack([RGB, ALPHA])
    assert np.array_equal(decode(tmp_path, pictures.tiff(both, extra=2, **options)), both)
    assert np.array_equal(decode(tmp_path, pictures.tiff(both, extra=0, **options)), RGB)


@pytest.mark.parametrize("planar", [False, True])
def test_alpha_that_is_multiplied_into_the_colours_is_divided_out(tmp_path, planar):
    alpha = np.maximum(ALPHA, 20_000)
    alpha[:4] = 0
    stored = np.rint(RGB * (alpha / 65535)).astype(np.uint16)
    samples = decode(tmp_path, pictures.tiff(np.dstack([stored, alpha]), extra=1, planar=planar))
    assert np.array_equal(samples[..., 3:], alpha)
    assert np.abs(samples[4:, :, :3].astype(int) - RGB[4:]).max() <= 2, "rounded to a third"
    assert (samples[:4, :, :3] == 0).all()


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("write", [pictures.png, pictures.interlaced_png])
def test_a_png_of_every_color_type_is_exact(tmp_path, color_type, channels, write):
    samples = np.dstack([RGB, ALPHA])[..., -channels:] if channels != 3 else RGB
    expected = samples[..., 0] if channels == 1 else samples
    assert np.array_equal(decode(tmp_path, write(samples, color_type), "png"), expected)


def test_other_images_are_not_decoded(tmp_path):
    for name in ("png", "tiff", "jpeg", "webp"):
        path = pictures.save(tmp_path / f"a.{name}")
        with open_image(path) as (image, found):
            assert decode_16_bits(image, found) is None
            image.load()


def test_planes_that_are_not_rgb_are_refused(tmp_path):
    data = pictures.tiff(np.dstack([GREY, ALPHA]), planar=True, photometric=1, extra=0)
    with pytest.raises(SourceError, match="planes that are not RGB"):
        decode(tmp_path, data)


@given(cut=st.integers(9, 12_000), planar=st.booleans(), order=st.sampled_from("<>"))
def test_a_truncated_tiff_is_an_error_or_is_decoded(tmp_path, cut, planar, order):
    data = pictures.tiff(RGB, planar=planar, order=order)
    moved = data[-4:] if cut > len(data) else b""
    try:
        samples = decode(tmp_path, data[:-cut] + moved)
    except SourceError:
        return
    assert samples is None or samples.shape == RGB.shape
