"""JPEG XL images are read with the plugin of the extra, and named without it."""

import io
import sys

import numpy as np
import pillow_jxl  # noqa: F401 - registers the format, for save()
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ip2p_batch.errors import SourceError
from ip2p_batch.media.images import jpeg_xl
from ip2p_batch.media.images.listing import find_items, measure_items
from ip2p_batch.media.images.reader import read_still, still_size

from . import pictures

SCENE = pictures.scene(64, 48)


def save(path, image=None, **options):
    options = {"lossless": True} | options
    (Image.fromarray(SCENE) if image is None else image).save(path, "JXL", **options)
    return path


def test_an_image_is_read_exactly(tmp_path):
    still = read_still(save(tmp_path / "a.jxl"))
    assert np.array_equal(still.image, SCENE)
    assert still.format == "jxl" and not still.warnings


def test_alpha_and_16_bit_grey_are_kept(tmp_path):
    both = Image.fromarray(np.dstack([SCENE, SCENE[..., 0]]))
    still = read_still(save(tmp_path / "a.jxl", both))
    assert np.array_equal(still.image, SCENE) and np.array_equal(still.alpha, SCENE[..., 0])
    ramp = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)
    still = read_still(save(tmp_path / "b.jxl", Image.fromarray(ramp)), deep=True)
    assert still.image.dtype == np.uint16 and len(np.unique(still.image)) > 2000
    warnings = read_still(tmp_path / "b.jxl").warnings
    assert warnings[0] == "16-bit samples reduced to 8 bits"


def test_the_exif_orientation_counts_for_a_packed_jpeg_only(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = read_still(save(tmp_path / "a.jxl", exif=exif.tobytes()))
    assert np.array_equal(plain.image, SCENE), "the decoder turns the image, not EXIF"
    pictures.save(tmp_path / "a.jpg", SCENE, exif=exif.tobytes())
    with Image.open(tmp_path / "a.jpg") as jpeg:
        jpeg.save(tmp_path / "b.jxl", "JXL", lossless_jpeg=True)
    packed, plain = read_still(tmp_path / "b.jxl"), read_still(tmp_path / "a.jpg")
    assert np.array_equal(packed.image, plain.image)
    assert still_size(tmp_path / "b.jxl") == (48, 64)


@given(
    width=st.integers(1, 400), height=st.integers(1, 400), container=st.booleans(),
    mode=st.sampled_from(["RGB", "L", "RGBA"]),
)  # fmt: skip
def test_the_header_has_the_size_and_depth(width, height, container, mode):
    buffer = io.BytesIO()
    image = Image.new(mode, (width, height))
    image.save(buffer, "JXL", use_container=container, effort=1)
    assert jpeg_xl.read_header(buffer) == (width, height, 8, False)


def test_a_large_image_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = save(tmp_path / "a.jxl")
    monkeypatch.setattr(jpeg_xl, "open_jpeg_xl", lambda file: pytest.fail("it was decoded"))
    with pytest.raises(SourceError, match=r"64x48 is .* more than the limit"):
        still_size(path, max_pixels=1000)


def test_without_the_plugin_the_extra_is_named(tmp_path, monkeypatch):
    path = save(tmp_path / "a.jxl")
    monkeypatch.setitem(sys.modules, "pillow_jxl.JpegXLImagePlugin", None)
    with pytest.raises(SourceError, match="requires pillow-jxl-plugin") as caught:
        read_still(path)
    assert "ip2p-batch[jxl]" in (caught.value.hint or "")
    items = measure_items(find_items(tmp_path, tmp_path / "out"))
    assert "requires pillow-jxl-plugin" in (items[0].error or "")


@pytest.mark.parametrize("size", [2, 5, 40, 150])
def test_a_truncated_file_is_an_error(tmp_path, size):
    path = save(tmp_path / "a.jxl")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(SourceError):
        read_still(path)
