"""TIFF files of 16-bit colour, and rewritten directories."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ip2p_batch.media.images import tiff
from ip2p_batch.media.images.deep import decode_16_bits

from . import pictures


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([3, 4]), st.integers(0, 9))
def test_written_colour_is_read_exactly(height, width, channels, seed):
    shape = (height, width, channels)
    samples = np.random.default_rng(seed).integers(0, 65536, shape).astype(np.uint16)
    with Image.open(io.BytesIO(tiff.encode_16_bits(samples))) as image:
        assert image.size == (width, height)
        assert np.array_equal(decode_16_bits(image, "tiff"), samples)


def test_strips_are_written_in_bounded_memory(monkeypatch):
    samples = np.random.default_rng(0).integers(0, 65536, (50, 20, 3)).astype(np.uint16)
    monkeypatch.setattr(tiff, "_STRIP_BYTES", 7 * 20 * 6)
    with Image.open(io.BytesIO(tiff.encode_16_bits(samples))) as image:
        assert image.tag_v2[tiff.ROWS_PER_STRIP] == 7  # type: ignore[attr-defined]
        assert len(image.tag_v2[tiff.STRIP_OFFSETS]) == 8  # type: ignore[attr-defined]
        assert np.array_equal(decode_16_bits(image, "tiff"), samples)


def test_tags_have_the_types_of_the_standard():
    samples = np.zeros((4, 4, 4), np.uint16)
    kinds = {e.tag: e.kind for e in tiff.directory(tiff.encode_16_bits(samples))}
    assert list(kinds) == sorted(kinds)
    shorts = (258, 259, 262, 277, 284, 317, 338)
    assert {kinds[tag] for tag in shorts} == {3}, "TIFF 6.0 allows only SHORT"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("rows", [3, 30])
def test_each_plane_becomes_a_grey_file(order, rows):
    samples = np.random.default_rng(0).integers(0, 65536, (30, 20, 3)).astype(np.uint16)
    data = pictures.tiff(samples, order=order, planar=True, rows=rows)
    for number, plane in enumerate(tiff.split_planes(data, 3)):
        with Image.open(io.BytesIO(plane)) as image:
            assert image.mode.startswith("I;16")
            assert np.array_equal(np.asarray(image), samples[..., number])


def test_a_new_directory_replaces_the_first():
    data = pictures.tiff(np.zeros((4, 4, 3), np.uint16))
    entries = tiff.directory(data)
    rewritten = tiff.with_directory(data, entries[::-1])
    assert tiff.directory(rewritten) == entries
    assert rewritten[8:].startswith(data[8:])


@pytest.mark.parametrize(
    "data", [b"", b"text", b"II*\0", b"II+\0" + bytes(12), b"II*\0" + struct.pack("<L", 99)]
)
def test_a_damaged_directory_is_a_value_error(data):
    with pytest.raises(ValueError, match=r"classic|damaged"):
        tiff.directory(data)


def test_planes_without_a_strip_each_are_a_value_error():
    data = pictures.tiff(np.zeros((4, 4, 4), np.uint16), planar=True)
    with pytest.raises(ValueError, match="strips"):
        list(tiff.split_planes(data, 3))
