"""Photoshop's image resources, and IPTC data through every format."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.images import jpeg, photoshop
from ip2p_batch.media.images.reader import read_still
from ip2p_batch.media.images.writer import write_still

from .pictures import FORMATS, save

IPTC = b"\x1c\x01\x5a\0\3\x1b%G\x1c\x02\x19\0\4shoe\x1c\x02\x74\0\6(c) JD"
BLOCK = photoshop.serialize(
    [
        photoshop.Resource(b"8BIM", 0x0404, b"\0\0", IPTC),
        photoshop.Resource(b"8BIM", 0x040A, b"\0\0", b"\1"),
    ]
)


@given(
    st.lists(
        st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=9), st.binary(max_size=20)), max_size=5
    )
)
def test_resources_are_read_back(items):
    resources = [
        photoshop.Resource(
            b"8BIM", number, bytes([len(name)]) + name + bytes((len(name) + 1) % 2), data
        )
        for number, name, data in items
    ]
    assert photoshop.parse(photoshop.serialize(resources)) == resources


@given(st.binary(max_size=60))
def test_any_bytes_are_read(data):
    photoshop.parse(data)
    photoshop.parse(b"8BIM" + data)
    assert photoshop.from_raw_profile(photoshop.to_raw_profile(data)) == data


def test_thumbnails_and_profiles_are_dropped_and_slices_if_the_image_is_turned():
    numbers = (0x040C, 0x040F, 0x041A, 0x0404, 0x040B)
    block = photoshop.serialize(
        photoshop.Resource(b"8BIM", number, b"\0\0", b"x") for number in numbers
    )
    kept = [item.number for item in photoshop.parse(photoshop.clean(block, turned=False))]
    assert kept == [0x041A, 0x0404, 0x040B]
    kept = [item.number for item in photoshop.parse(photoshop.clean(block, turned=True))]
    assert kept == [0x0404, 0x040B]


@pytest.mark.parametrize("path", [("jpeg", "tiff", "png", "jpeg"), ("jpeg", "png", "tiff", "jpeg")])
def test_iptc_data_is_kept_through_jpeg_tiff_and_png(tmp_path, path):
    current = save(tmp_path / "in.jpg", extra=jpeg.extra_segments(BLOCK, ()))
    for number, format_ in enumerate(path):
        still = read_still(current)
        current = tmp_path / f"{number}{FORMATS[format_]}"
        write_still(current, still.image, still, comment="{}", encoding=Encoding())
        assert not still.warnings
    kept = {
        item.number: item.data for item in photoshop.parse(read_still(current).metadata.resources)
    }
    assert kept[0x0404].rstrip(b"\0") == IPTC and kept[0x040A] == b"\1"
    with Image.open(current) as image:
        assert image.info["photoshop"][0x0404].rstrip(b"\0") == IPTC


@pytest.mark.parametrize(("format_", "title"), [("webp", "WebP"), ("avif", "AVIF")])
def test_formats_without_a_place_for_iptc_say_so(tmp_path, format_, title):
    still = read_still(save(tmp_path / "in.jpg", extra=jpeg.extra_segments(BLOCK, ())))
    out = tmp_path / f"out{FORMATS[format_]}"
    write_still(out, still.image, still, comment="{}", encoding=Encoding())
    assert still.warnings == [f"the IPTC data has no place in {title} and was left out"]
