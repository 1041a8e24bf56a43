"""Image files of 16 bits a sample: what is kept, and what is reduced to 8 with a warning."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.depth import to_8_bits
from ip2p_batch.media.images.reader import read_comment, read_still
from ip2p_batch.media.images.srgb import srgb_profile
from ip2p_batch.media.images.writer import write_still

from . import pictures
from .pictures import FORMATS, save


def write(path, still, **encoding):
    return write_still(path, still.image, still, comment="{}", encoding=Encoding(**encoding))


RAMP = np.stack([np.arange(3000, 63_060, 39, dtype=np.uint16).reshape(-1, 11)] * 3, axis=-1)
CLEAR = np.arange(0, len(RAMP) * 11 * 42, 42, dtype=np.uint16).reshape(-1, 11)


@pytest.mark.parametrize("format_", ["png", "tiff"])
@pytest.mark.parametrize("alpha", [False, True])
def test_16_bits_are_kept_on_request(tmp_path, format_, alpha):
    samples = np.dstack([RAMP, CLEAR]) if alpha else RAMP
    path = tmp_path / f"in.{format_}"
    path.write_bytes(
        pictures.png(samples, 6 if alpha else 2)
        if format_ == "png"
        else pictures.tiff(samples, extra=2 if alpha else None)
    )
    still = read_still(path, deep=True)
    assert np.array_equal(still.image, RAMP)
    assert np.array_equal(still.alpha, CLEAR) if alpha else still.alpha is None
    write(tmp_path / f"out.{format_}", still)
    again = read_still(tmp_path / f"out.{format_}", deep=True)
    assert np.array_equal(again.image, RAMP)
    assert np.array_equal(again.alpha, CLEAR) if alpha else again.alpha is None
    assert still.warnings == again.warnings == []


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_grey_of_16_bits_is_kept_on_request(tmp_path, suffix):
    still = read_still(save(tmp_path / f"a{suffix}", Image.fromarray(RAMP[..., 0])), deep=True)
    assert all(np.array_equal(still.image[..., c], RAMP[..., 0]) for c in range(3))


def test_grey_of_12_bits_is_scaled_to_16(tmp_path):
    levels = np.array([[0, 1, 2048, 4095]], np.uint16)
    packed = int("".join(f"{v:012b}" for v in levels[0]), 2).to_bytes(6, "big")
    data = pictures.tiff(np.full((1, 3, 1), 0x5A5A, np.uint16)).replace(b"\x5a" * 6, packed)
    # Width and bits per sample are entries of twelve bytes; their values are the last four.
    data = data.replace(struct.pack("<HHLL", 256, 4, 1, 3), struct.pack("<HHLL", 256, 4, 1, 4))
    data = data.replace(struct.pack("<HHLL", 258, 3, 1, 16), struct.pack("<HHLL", 258, 3, 1, 12))
    (tmp_path / "a.tiff").write_bytes(data)
    still = read_still(tmp_path / "a.tiff", deep=True)
    assert still.image[0, :, 0].tolist() == np.rint(levels[0] * (65535 / 4095)).tolist()


def test_a_transparent_colour_of_16_bits_becomes_alpha_of_16_bits(tmp_path):
    samples = np.array([[[7, 300, 9], [7, 301, 9]]], np.uint16)
    path = tmp_path / "a.png"
    transparent = pictures.chunk(b"tRNS", struct.pack(">3H", 7, 300, 9))
    path.write_bytes(pictures.png(samples, 2, transparent))
    still = read_still(path, deep=True)
    assert still.alpha.tolist() == [[0, 65535]] and np.array_equal(still.image, samples)
    assert read_still(path).alpha.tolist() == [[0, 255]]


def test_floating_point_grey_is_kept_in_16_bits_on_request(tmp_path):
    levels = np.linspace(0, 1, 3000, dtype=np.float32).reshape(30, 100)
    still = read_still(save(tmp_path / "a.tiff", Image.fromarray(levels)), deep=True)
    assert np.array_equal(still.image[..., 0], np.rint(levels * 65535))
    assert still.warnings == ["floating-point samples, 0 to 1, reduced to 16 bits"]


@pytest.mark.parametrize("format_", FORMATS)
def test_other_formats_get_8_bits_with_a_warning(tmp_path, format_):
    (tmp_path / "in.png").write_bytes(pictures.png(np.dstack([RAMP, CLEAR]), 6))
    still = read_still(tmp_path / "in.png", deep=True)
    out = tmp_path / f"out{FORMATS[format_]}"
    write(out, still)
    assert ("16-bit samples reduced to 8 bits" in still.warnings) == (
        format_ not in ("png", "tiff")
    )
    image = read_still(out, deep=True).image
    assert image.dtype == (np.uint16 if format_ in ("png", "tiff") else np.uint8)


@pytest.mark.parametrize("format_", ["png", "tiff"])
def test_results_of_8_bits_are_written_in_8_bits(tmp_path, format_):
    (tmp_path / "in.png").write_bytes(pictures.png(np.dstack([RAMP, CLEAR]), 6))
    still = read_still(tmp_path / "in.png", deep=True)
    shallow = (still.image >> 8).astype(np.uint8)
    write_still(tmp_path / "out", shallow, still, comment="{}", encoding=Encoding(format=format_))
    with Image.open(tmp_path / "out") as picture:
        assert picture.mode == "RGBA"
        assert np.array_equal(np.asarray(picture)[..., :3], shallow)
    assert read_still(tmp_path / "out", deep=True).image.dtype == np.uint8


@pytest.mark.parametrize("format_", ["png", "tiff"])
def test_metadata_of_16_bits_is_that_of_8_bits(tmp_path, format_):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x8769] = {0x9003: "2026:01:02 03:04:05"}
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 14.0)}
    path = save(tmp_path / f"in.{format_}", exif=exif, icc_profile=srgb_profile(), dpi=(300, 150))
    still = read_still(path)
    still.metadata.text = {"Title": "Grün"} if format_ == "png" else {}
    results = []
    for name, image in (("shallow", still.image), ("deep", still.image.astype(np.uint16) * 257)):
        out = tmp_path / f"{name}.{format_}"
        write_still(out, image, still, comment='{"a": "ä"}', encoding=Encoding())
        with Image.open(out) as picture:
            tags = picture.getexif()
            found = [tags[0x010F], *(dict(tags.get_ifd(ifd)) for ifd in (0x8769, 0x8825))]
        result = read_still(out, deep=True)
        assert result.image.dtype == image.dtype and np.array_equal(result.image, image)
        own = result.metadata
        kept = (own.exif, own.xmp, result.icc, result.dpi, own.text, read_comment(out))
        assert all((own.exif, own.xmp, result.icc, result.dpi)), kept
        results.append((kept, found))
    assert results[0] == results[1] and still.warnings == []


@pytest.mark.parametrize("format_", ["png", "tiff"])
def test_writing_16_bits_twice_gives_identical_files(tmp_path, format_):
    (tmp_path / "in.png").write_bytes(pictures.png(RAMP, 2))
    still = read_still(tmp_path / "in.png", deep=True)
    digests = {write(tmp_path / f"{n}.{format_}", still) for n in range(2)}
    assert len(digests) == 1


def test_a_wide_gamut_of_16_bits_is_converted_in_16_bits(tmp_path):
    profile = pictures.wide_gamut_profile()
    embedded = pictures.chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile))
    path = tmp_path / "a.png"
    path.write_bytes(pictures.png(RAMP, 2, embedded))
    deep, shallow = read_still(path, deep=True), read_still(path)
    assert deep.image.dtype == np.uint16
    assert np.abs(to_8_bits(deep.image).astype(int) - shallow.image).max() <= 1
    assert len(np.unique(deep.image[..., 1])) > 1000
    assert deep.icc == shallow.icc == srgb_profile()
    assert deep.warnings == ["colours converted from Wide test to sRGB"]
    assert shallow.warnings == ["16-bit samples reduced to 8 bits", *deep.warnings]


def test_an_srgb_profile_changes_no_16_bit_sample(tmp_path):
    embedded = pictures.chunk(b"iCCP", b"icc\0\0" + zlib.compress(pictures.srgb_profile()))
    path = tmp_path / "a.png"
    path.write_bytes(pictures.png(RAMP, 2, embedded))
    still = read_still(path, deep=True)
    assert np.array_equal(still.image, RAMP) and still.icc == pictures.srgb_profile()


def test_a_profile_of_tables_is_applied_in_8_bits_with_a_warning(tmp_path):
    embedded = pictures.chunk(b"iCCP", b"icc\0\0" + zlib.compress(pictures.table_profile()))
    path = tmp_path / "a.png"
    path.write_bytes(pictures.png(RAMP, 2, embedded))
    still = read_still(path, deep=True)
    assert still.image.dtype == np.uint8
    assert still.warnings == [
        "16-bit samples reduced to 8 bits",
        "colours converted from Wide test to sRGB",
    ]


@pytest.mark.parametrize(
    "profile", [b"no profile", pictures.grey_profile(pictures.sampled_curve(512))]
)
def test_a_profile_that_does_not_match_is_ignored_with_a_warning(tmp_path, profile):
    embedded = pictures.chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile))
    path = tmp_path / "a.png"
    path.write_bytes(pictures.png(RAMP, 2, embedded))
    still = read_still(path, deep=True)
    assert np.array_equal(still.image, RAMP)
    assert still.warnings == ["colour profile is damaged or does not match the image; ignored"]


def test_grey_of_16_bits_with_a_profile_is_converted(tmp_path):
    embedded = pictures.chunk(
        b"iCCP", b"icc\0\0" + zlib.compress(pictures.grey_profile(pictures.sampled_curve(563)))
    )
    path = tmp_path / "a.png"
    path.write_bytes(pictures.png(RAMP[..., :1], 0, embedded))
    deep, shallow = read_still(path, deep=True), read_still(path)
    assert deep.image.dtype == np.uint16 and len(np.unique(deep.image)) > 1000
    assert np.abs(to_8_bits(deep.image).astype(int) - shallow.image).max() <= 1
    assert deep.icc == srgb_profile() and deep.warnings == []
