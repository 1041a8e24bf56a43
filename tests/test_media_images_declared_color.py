"""Colour spaces by numbers: PNG chunks, the CICP codes of PNG and AVIF, Exif's Adobe RGB."""

import struct

import numpy as np
import pytest
from PIL import Image

from ip2p_batch.errors import SourceError
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.images import color_space
from ip2p_batch.media.images.heif import boxes as heif_boxes
from ip2p_batch.media.images.reader import read_still
from ip2p_batch.media.images.writer import write_still

from . import pictures

#: Quadrants of a chart, and their sRGB values by reference programs.
CHART = np.array([[[220, 40, 40], [40, 200, 60], [50, 70, 210], [174, 174, 174]]], np.uint8)
LINEAR = [[239, 110, 110], [110, 229, 133], [122, 143, 234], [215, 215, 215]]
P3 = [[240, 0, 21], [0, 204, 12], [44, 71, 218], [174, 174, 174]]
P3_GAMMA = [[241, 0, 10], [0, 205, 0], [40, 69, 219], [174, 174, 174]]
ADOBE = [[255, 35, 35], [0, 201, 37], [34, 68, 215], [176, 176, 176]]

GAMMA_1, GAMMA_SRGB = struct.pack(">L", 100_000), struct.pack(">L", 45455)
CORNERS_P3 = struct.pack(">8L", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
CORNERS_SRGB = struct.pack(">8L", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


def png(folder, *chunks, pixels=CHART, icc=None):
    path = pictures.save(folder / "a.png", pixels, **({"icc_profile": icc} if icc else {}))
    data = path.read_bytes()
    extra = b"".join(pictures.chunk(name, content) for name, content in chunks)
    path.write_bytes(data[:33] + extra + data[33:])  # after IHDR
    return path


def close(image, expected, tolerance=1):
    expected = np.array([expected])
    scale = 257 if image.dtype == np.uint16 else 1
    return np.abs(image[:1, :4].astype(int) / scale - expected).max() <= tolerance


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([(b"gAMA", GAMMA_1)], LINEAR),
        ([(b"gAMA", GAMMA_SRGB), (b"cHRM", CORNERS_P3)], P3_GAMMA),
        ([(b"cHRM", CORNERS_P3)], P3),
        ([(b"cICP", bytes([12, 13, 0, 1]))], P3),
        ([(b"cICP", bytes([1, 8, 0, 1]))], LINEAR),
        # sRGB counts before gAMA and cHRM, and cICP before all
        ([(b"sRGB", b"\0"), (b"gAMA", GAMMA_1), (b"cHRM", CORNERS_P3)], None),
        ([(b"cICP", bytes([12, 13, 0, 1])), (b"sRGB", b"\0"), (b"gAMA", GAMMA_1)], P3),
    ],
)
def test_the_colour_chunks_of_a_png_are_honoured_in_their_order(tmp_path, chunks, expected):
    still = read_still(png(tmp_path, *chunks))
    assert close(still.image, CHART[0] if expected is None else expected)
    assert bool(still.warnings) == bool(still.icc) == (expected is not None)
    deep = read_still(png(tmp_path, *chunks, pixels=CHART), deep=True)
    assert np.array_equal(deep.image, still.image)


def test_an_icc_profile_counts_before_gama_and_after_cicp(tmp_path):
    icc = pictures.srgb_profile()
    still = read_still(png(tmp_path, (b"gAMA", GAMMA_1), icc=icc))
    assert np.array_equal(still.image, CHART) and still.icc == icc and not still.warnings
    still = read_still(png(tmp_path, (b"cICP", bytes([12, 13, 0, 1])), icc=icc))
    assert close(still.image, P3)


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"gAMA", GAMMA_SRGB)],
        [(b"gAMA", GAMMA_SRGB), (b"cHRM", CORNERS_SRGB)],
        [(b"cICP", bytes([1, 13, 0, 1]))],
        [(b"cICP", bytes([2, 2, 0, 1]))],
    ],
)
def test_descriptions_of_srgb_change_no_pixel(tmp_path, chunks):
    still = read_still(png(tmp_path, *chunks))
    assert np.array_equal(still.image, CHART)
    assert still.icc is None and not still.warnings


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P"])
def test_other_modes_of_a_png_are_converted_too(tmp_path, mode):
    pixels = Image.fromarray(CHART).convert(mode)
    still = read_still(png(tmp_path, (b"gAMA", GAMMA_1), pixels=pixels))
    shades = np.asarray(pixels.convert("RGB"))[0] / 255
    light = np.where(shades > 0.0031308, 1.055 * shades ** (1 / 2.4) - 0.055, 12.92 * shades)
    assert close(still.image, light * 255)
    assert (still.alpha is not None) == mode.endswith("A")


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_a_png_of_16_bits_is_converted_in_16_bits(tmp_path, color_type, channels):
    ramp = np.linspace(3000, 65535, 40 * 20).astype(np.uint16).reshape(20, 40, 1)
    samples = np.dstack([ramp] * channels)
    data = pictures.png(samples, color_type, pictures.chunk(b"gAMA", GAMMA_1))
    (tmp_path / "a.png").write_bytes(data)
    still = read_still(tmp_path / "a.png", deep=True)
    expected = (1.055 * (ramp / 65535) ** (1 / 2.4) - 0.055) * 65535
    assert still.image.dtype == np.uint16
    assert np.abs(still.image - expected).max() <= 1
    assert still.alpha is None or np.array_equal(still.alpha, ramp[..., 0])


@pytest.mark.parametrize(
    "chunk",
    [
        (b"gAMA", bytes(4)),
        (b"cHRM", bytes(32)),
        (b"cHRM", struct.pack(">8L", *[31270] * 8)),
        (b"cHRM", struct.pack(">8L", 31270, 32900, *[20000, 30000] * 3)),
    ],
)
def test_a_damaged_chunk_is_ignored_with_a_warning(tmp_path, chunk):
    still = read_still(png(tmp_path, chunk))
    assert np.array_equal(still.image, CHART)
    assert len(still.warnings) == 1 and "damaged" in still.warnings[0]


def test_unknown_codes_are_refused_by_their_number(tmp_path):
    with pytest.raises(SourceError, match="transfer characteristics of code 9"):
        read_still(png(tmp_path, (b"cICP", bytes([1, 9, 0, 1]))))


def avif(folder, primaries, transfer):
    """An AVIF file of the chart, enlarged, with other code points than Pillow writes."""
    pixels = CHART.repeat(16, axis=0).repeat(16, axis=1)
    path = pictures.save(folder / "a.avif", pixels, quality=100, subsampling="4:4:4")
    data = path.read_bytes()
    at = data.index(b"colrnclx") + 8
    path.write_bytes(data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :])
    return path


def test_the_codes_of_an_avif_are_honoured_without_a_profile(tmp_path):
    path = avif(tmp_path, 12, 13)
    with path.open("rb") as file:
        boxes = heif_boxes.read_boxes(file)
    assert boxes.cicp() == (12, 13, 6, True) and boxes.bits() == 8 and boxes.main.kind == b"av01"
    still = read_still(path)
    assert close(still.image[8:9, 8::16], P3, 14)
    assert still.warnings == ["colours converted from Display P3 to sRGB"]
    name = tmp_path / "out.avif"
    write_still(name, still.image, still, comment="{}", encoding=Encoding())
    assert close(read_still(name).image[8:9, 8::16], P3, 16)
    assert not read_still(avif(tmp_path, 1, 13)).warnings


def exif_of(index, code):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    photo = {0xA001: code}
    if index:
        photo[0xA005] = {1: index}
    exif[0x8769] = photo
    return exif.tobytes()


@pytest.mark.parametrize(("index", "code"), [("R03", 65535), (None, 2)])
@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.png"])
def test_adobe_rgb_by_exif_alone_is_converted(tmp_path, index, code, name):
    pixels = CHART.repeat(16, axis=0).repeat(16, axis=1)
    options = {"quality": 100} | ({"subsampling": 0} if name == "a.jpg" else {"lossless": True})
    path = pictures.save(tmp_path / name, pixels, exif=exif_of(index, code), **options)
    still = read_still(path)
    assert close(still.image[8:9, 8::16], ADOBE, 3)
    assert still.warnings == ["colours converted from Adobe RGB (1998) to sRGB"]
    path = pictures.save(tmp_path / name, pixels, exif=exif_of("R98", 1), **options)
    assert close(read_still(path).image[8:9, 8::16], CHART[0], 2)
    icc = pictures.srgb_profile()
    path = pictures.save(
        tmp_path / name, pixels, exif=exif_of("R03", 1), icc_profile=icc, **options
    )
    assert close(read_still(path).image[8:9, 8::16], CHART[0], 2)


def test_the_matrix_of_srgb_is_that_of_its_icc_profile():
    matrix = color_space.srgb_matrix_profile().matrix
    published = [[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7142]]
    assert matrix is not None and np.abs(matrix - published).max() < 5e-4
