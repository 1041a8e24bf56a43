"""TIFF files of 16-bit colour, and rewritten directories."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.media.images.tiff import directories as tiff
from ip2p_batch.media.images.tiff.page import main_page
from ip2p_batch.media.images.tiff.samples import read_samples

from . import pictures


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([3, 4]), st.integers(0, 9))
def test_written_colour_is_read_exactly(height, width, channels, seed):
    shape = (height, width, channels)
    samples = np.random.default_rng(seed).integers(0, 65536, shape).astype(np.uint16)
    page = main_page(io.BytesIO(tiff.encode_16_bits(samples)))
    assert np.array_equal(read_samples(page), samples)


def test_strips_are_written_in_bounded_memory(monkeypatch):
    samples = np.random.default_rng(0).integers(0, 65536, (50, 20, 3)).astype(np.uint16)
    monkeypatch.setattr(tiff, "_STRIP_BYTES", 7 * 20 * 6)
    page = main_page(io.BytesIO(tiff.encode_16_bits(samples)))
    assert page.values(tiff.ROWS_PER_STRIP) == (7,)
    assert len(page.values(tiff.STRIP_OFFSETS)) == 8
    assert np.array_equal(read_samples(page), samples)


def test_tags_have_the_types_of_the_standard():
    samples = np.zeros((4, 4, 4), np.uint16)
    kinds = {e.tag: e.kind for e in tiff.directory(tiff.encode_16_bits(samples))}
    assert list(kinds) == sorted(kinds)
    shorts = (258, 259, 262, 277, 284, 317, 338)
    assert {kinds[tag] for tag in shorts} == {3}, "TIFF 6.0 allows only SHORT"


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
