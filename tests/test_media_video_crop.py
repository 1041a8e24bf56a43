"""A container's crop is applied: the edited frames are those that players show."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.crop import NO_CROP, aperture_crop, container_crop
from ip2p_batch.media.video.reader import VideoReader

from . import clips
from .test_media_video_concat import joined

SIZE = (96, 64)


def matroska(folder: Path, **options) -> tuple[Path, Path]:
    """A file with a crop of 8 pixels at the left and 6 at the top, and the same without it."""
    plain = clips.make(folder / "plain.mkv", 12, size=SIZE, **options)
    data = plain.read_bytes()
    # The element Colour, which the stream repeats, becomes PixelCropLeft, PixelCropTop and Void.
    at = data.index(b"\x55\xb0")
    length = 3 + (data[at + 2] & 0x7F)
    crop = b"\x54\xcc\x81\x08" + b"\x54\xbb\x81\x06"
    rest = length - len(crop) - 2
    crop += b"\xec" + bytes([0x80 | rest]) + bytes(rest)
    data = data[:at] + crop + data[at + length :]
    path = folder / "crop.mkv"
    path.write_bytes(data)
    return path, plain


def with_aperture(folder: Path, **options) -> tuple[Path, Path]:
    """The same as MP4, with a clean aperture of 88 x 58 pixels at the bottom right."""
    plain = clips.make(folder / "plain.mp4", 12, size=SIZE, **options)
    data = bytearray(plain.read_bytes())
    box = struct.pack(">I4s8i", 40, b"clap", 88, 1, 58, 1, 4, 1, 3, 1)
    moov = data.index(b"moov")
    entry = data.index(b"avc1", moov) - 4
    length = struct.unpack_from(">I", data, entry)[0]
    data[entry + length : entry + length] = box
    at = moov
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        at = data.index(kind, at)
        struct.pack_into(">I", data, at - 4, struct.unpack_from(">I", data, at - 4)[0] + len(box))
    path = folder / "crop.mp4"
    path.write_bytes(data)
    return path, plain


def images(path: Path) -> list[np.ndarray]:
    index = probe.index_video(path)
    with VideoReader(path, index.facts, index.pts, index.ids) as reader:
        return [frame.image for frame in reader.frames(0, index.facts.frames)]


@pytest.mark.parametrize("make", [matroska, with_aperture])
def test_frames_are_cropped_exactly_as_the_container_says(tmp_path, make):
    path, plain = make(tmp_path)
    facts = probe.index_video(path).facts
    assert facts.crop == (8, 6, 0, 0) and facts.upright == (88, 58)
    expected = [image[6:, 8:] for image in images(plain)]
    assert all(np.array_equal(a, b) for a, b in zip(images(path), expected, strict=True))
    output, _, _ = joined(path, tmp_path, Encoding(), edges=(0, 5, 12))
    after = probe.index_video(output).facts
    assert (after.width, after.height, after.crop, after.frames) == (88, 58, NO_CROP, 12)


def test_a_crop_comes_before_the_rotation(tmp_path):
    path, plain = with_aperture(tmp_path, rotation=90)
    assert probe.index_video(path).facts.upright == (58, 88)
    whole, part = images(plain)[3], images(path)[3]
    turned = np.rot90(whole, -1)  # back to how it is stored
    assert np.array_equal(np.rot90(turned[6:, 8:], 1), part)


def test_a_clean_aperture_is_placed_by_its_centre():
    assert aperture_crop((704, 1, 480, 1, 0, 1, 0, 1), (720, 480)) == (8, 0, 8, 0)
    assert aperture_crop((41472, 59, 576, 1, 0, 1, 0, 1), (720, 576)) == (9, 0, 9, 0)
    assert aperture_crop((0, 1, 480, 1, 0, 1, 0, 1), (720, 480)) == NO_CROP


@given(st.binary(max_size=200), st.sampled_from(["matroska,webm", "mov,mp4,m4a"]))
def test_any_bytes_give_a_crop_that_fits(data, container):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c"
        path.write_bytes(b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff" + data)
        left, top, right, bottom = container_crop(path, container, 0, SIZE)
    assert left + right < SIZE[0] and top + bottom < SIZE[1]
