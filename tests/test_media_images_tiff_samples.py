"""TIFF pages of every depth and layout are decoded to their exact samples, or refused by kind."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ip2p_batch.errors import SourceError
from ip2p_batch.media.images.listing import find_items, measure_items
from ip2p_batch.media.images.reader import read_still, still_size

from . import pictures

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 65536, (40, 52, 3)).astype(np.uint16)
ALPHA = RNG.integers(0, 65536, (40, 52, 1)).astype(np.uint16)
GREY = RGB[..., :1]
TILE = (16, 32)


def read(folder, data, *, deep=True):
    path = folder / "a.tif"
    path.write_bytes(data)
    return read_still(path, deep=deep)


def turned(samples, orientation):
    """Apply an orientation of TIFF 6.0."""
    if orientation >= 5:
        samples = np.swapaxes(samples, 0, 1)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples[::-1] if orientation in (3, 4, 7, 8) else samples


def differences(order):
    """An encoder for predictor 2."""

    def encode(block):
        stored = block.copy()
        stored[:, 1:] -= block[:, :-1]
        return stored.astype(order + stored.dtype.str[1:]).tobytes()

    return encode


def float_differences(block):
    """An encoder for predictor 3, as Adobe's Technical Note 3 has it."""
    rows = np.ascontiguousarray(block.astype(block.dtype.newbyteorder(">"))).view(np.uint8)
    height, size = block.shape[0], block.dtype.itemsize
    planes = rows.reshape(height, -1, size).swapaxes(1, 2).reshape(height, -1, block.shape[2])
    stored = planes.copy()
    stored[:, 1:] -= planes[:, :-1]
    return stored.tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_rgb_of_16_bits_is_exact(tmp_path, order, planar, compressed, orientation):
    data = pictures.tiff(
        RGB, order=order, planar=planar, compressed=compressed, orientation=orientation
    )
    still = read(tmp_path, data)
    assert np.array_equal(still.image, turned(RGB, orientation))
    assert still_size(tmp_path / "a.tif") == still.image.shape[1::-1]
    assert not still.warnings and still.alpha is None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_grey_of_16_bits_is_exact(tmp_path, order, compressed, orientation):
    data = pictures.tiff(GREY, order=order, compressed=compressed, orientation=orientation)
    assert np.array_equal(read(tmp_path, data).image[..., :1], turned(GREY, orientation))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_grey_whose_white_is_zero_is_not_inverted(tmp_path, compressed, order):
    data = pictures.tiff(65535 - GREY, photometric=0, compressed=compressed, order=order)
    assert np.array_equal(read(tmp_path, data).image[..., :1], GREY)
    with_alpha = np.dstack([65535 - GREY, ALPHA])
    still = read(tmp_path, pictures.tiff(with_alpha, photometric=0, extra=2, order=order))
    assert np.array_equal(still.image[..., :1], GREY) and np.array_equal(still.alpha, ALPHA[..., 0])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("colors", [GREY, RGB])
def test_alpha_of_16_bits_is_exact(tmp_path, order, planar, compressed, colors):
    options = {"order": order, "planar": planar, "compressed": compressed}
    both = np.dstack([colors, ALPHA])
    photometric = 2 if colors is RGB else 1
    still = read(tmp_path, pictures.tiff(both, extra=2, photometric=photometric, **options))
    assert np.array_equal(still.image, np.broadcast_to(colors, still.image.shape))
    assert still.alpha is not None and np.array_equal(still.alpha, ALPHA[..., 0])
    still = read(tmp_path, pictures.tiff(both, extra=0, photometric=photometric, **options))
    assert np.array_equal(still.image, np.broadcast_to(colors, still.image.shape))
    assert still.alpha is None


@pytest.mark.parametrize("planar", [False, True])
def test_alpha_that_is_multiplied_into_the_colours_is_divided_out(tmp_path, planar):
    alpha = np.maximum(ALPHA, 20_000)
    alpha[:4] = 0
    stored = np.rint(RGB * (alpha / 65535)).astype(np.uint16)
    still = read(tmp_path, pictures.tiff(np.dstack([stored, alpha]), extra=1, planar=planar))
    assert np.array_equal(still.alpha, alpha[..., 0])
    assert np.abs(still.image[4:].astype(int) - RGB[4:]).max() <= 2, "rounded to a third"
    assert (still.image[:4] == 0).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tile", [None, TILE])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("big", [False, True])
def test_predictors_tiles_and_bigtiff_are_decoded(tmp_path, order, tile, planar, big):
    options = {"order": order, "tile": tile, "planar": planar, "compressed": True}
    more = {317: ("H", [2])}
    data = pictures.tiff(RGB, **options, big=big, more=more, encode=differences(order))
    if big and order == ">":
        with pytest.raises(SourceError, match="cannot be edited: big-endian BigTIFF"):
            read(tmp_path, data)
        return
    assert np.array_equal(read(tmp_path, data).image, RGB)
    real = (RGB / 65535).astype(np.float32)
    more = {317: ("H", [3])}
    data = pictures.tiff(real, **options, big=big, more=more, encode=float_differences)
    assert np.array_equal(read(tmp_path, data).image, RGB)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
def test_floating_point_samples_from_0_to_1_are_kept_in_16_bits(tmp_path, dtype, channels, order):
    samples = (np.dstack([RGB, ALPHA])[..., :channels] / 65535).astype(dtype)
    extra = 2 if channels == 4 else None
    still = read(tmp_path, pictures.tiff(samples, order=order, extra=extra))
    expected = np.rint(samples.astype(np.float64) * 65535)
    assert np.abs(still.image - expected[..., :3]).max() <= 1
    assert still.warnings == ["floating-point samples, 0 to 1, reduced to 16 bits"]
    assert (still.alpha is not None) == (channels == 4)


@pytest.mark.parametrize("value", [-0.25, 1.5, np.nan])
def test_floating_point_colour_beyond_0_to_1_is_refused(tmp_path, value):
    samples = np.full((8, 8, 3), 0.5, np.float32)
    samples[2, 3, 1] = value
    with pytest.raises(SourceError, match="only 0 to 1 have a known white"):
        read(tmp_path, pictures.tiff(samples))


@pytest.mark.parametrize("planar", [False, True])
def test_cmyk_with_alpha_is_edited(tmp_path, planar):
    inks = RNG.integers(0, 256, (40, 52, 4)).astype(np.uint8)
    alpha = np.full((40, 52, 1), 99, np.uint8)
    plain = read(tmp_path, pictures.tiff(inks, photometric=5, planar=planar))
    for extra in (1, 2):  # much ink under an alpha "multiplied in": it was not
        data = pictures.tiff(np.dstack([inks, alpha]), photometric=5, extra=extra, planar=planar)
        still = read(tmp_path, data)
        assert np.array_equal(still.image, plain.image) and (still.alpha == 99).all()
    halved = (inks // 2) * (alpha / 127)
    multiplied = np.dstack([np.rint(halved), alpha]).astype(np.uint8)
    still = read(tmp_path, pictures.tiff(multiplied, photometric=5, extra=1, planar=planar))
    assert np.abs(still.image.astype(int) - plain.image).max() <= 4


def test_cmyk_of_16_bits_is_edited_in_8_with_a_warning(tmp_path):
    inks = RNG.integers(0, 256, (40, 52, 4)).astype(np.uint8)
    plain = read(tmp_path, pictures.tiff(inks, photometric=5))
    still = read(tmp_path, pictures.tiff(inks.astype(np.uint16) * 257, photometric=5))
    assert np.array_equal(still.image, plain.image)
    assert "16-bit samples reduced to 8 bits" in still.warnings


def test_a_palette_of_16_bits_is_looked_up(tmp_path):
    table = RNG.integers(0, 256, (3, 65536))
    more = {320: ("H", (table * 257).ravel().tolist())}
    still = read(tmp_path, pictures.tiff(GREY, photometric=3, more=more))
    assert np.array_equal(still.image, table.T[GREY[..., 0]])


@pytest.mark.parametrize(("photometric", "offset"), [(8, 0), (9, 128)])
def test_lab_of_16_bits_looks_as_lab_of_8_bits(tmp_path, photometric, offset):
    shallow = RNG.integers(0, 256, (40, 52, 3)).astype(np.uint8)
    shallow[..., 1:] = RNG.integers(-30, 30, (40, 52, 2)).astype(np.int8).view(np.uint8)
    expected = read(tmp_path, pictures.tiff(shallow, photometric=8)).image
    lab = shallow.astype(np.uint16)
    lab[..., 1:] += offset
    lab[..., 1:] %= 256
    deep = lab * np.uint16(256) + (lab if photometric == 8 else 0) * np.array([1, 0, 0], np.uint16)
    still = read(tmp_path, pictures.tiff(deep, photometric=photometric))
    assert np.array_equal(still.image, expected)
    still = read(tmp_path, pictures.tiff(lab.astype(np.uint8), photometric=photometric))
    assert np.array_equal(still.image, expected)


@pytest.mark.parametrize("bits", [2, 4, 6, 10, 12, 14])
@pytest.mark.parametrize("channels", [1, 3])
def test_packed_samples_are_taken_apart(tmp_path, bits, channels):
    white = (1 << bits) - 1
    samples = RNG.integers(0, white + 1, (9, 11, channels)).astype(np.uint16)

    def encode(block):
        digits = (block[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        return np.packbits(digits.reshape(len(block), -1).astype(np.uint8), axis=1).tobytes()

    more = {258: ("H", [bits] * channels)}
    still = read(tmp_path, pictures.tiff(samples, more=more, encode=encode))
    assert still.image.dtype == (np.uint16 if bits > 8 else np.uint8)
    scale = np.iinfo(still.image.dtype).max / white
    assert np.abs(still.image - samples * scale).max() <= 0.5


@pytest.mark.parametrize("orientation", [1, 6])
def test_jpeg_2000_and_webp_in_tiff_are_decoded(tmp_path, orientation):
    samples = RNG.integers(0, 256, (48, 64, 3)).astype(np.uint8)
    for name, code, options in (
        ("JPEG2000", 34712, {"no_jp2": True}),
        ("WEBP", 50001, {"lossless": True}),
    ):

        def encode(block, name=name, options=options):
            buffer = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(block)).save(buffer, name, **options)
            return buffer.getvalue()

        more = {259: ("H", [code])}
        data = pictures.tiff(
            samples, tile=(16, 32), more=more, encode=encode, orientation=orientation
        )
        assert np.array_equal(read(tmp_path, data).image, turned(samples, orientation))


@pytest.mark.parametrize(
    ("samples", "options", "reason"),
    [
        (RGB.astype(np.uint32), {}, "32-bit RGB"),
        (RGB, {"more": {339: ("H", [2, 2, 2])}}, "16-bit signed RGB"),
        (RGB, {"photometric": 6}, "16-bit YCbCr"),
        (GREY.astype(np.float16), {"photometric": 3}, "16-bit float palette"),
        (GREY, {"photometric": 32803}, "16-bit camera raw"),
        (RGB, {"more": {259: ("H", [34887])}}, "LERC of 16-bit RGB"),
        (RGB, {"more": {258: ("H", [16, 16, 8])}}, "samples of 16, 16, 8 bits"),
        (np.dstack([RGB, RGB]), {"photometric": 5, "more": {332: ("H", [2])}}, "inks other"),
    ],
)
def test_other_kinds_are_refused_by_their_name(tmp_path, samples, options, reason):
    with pytest.raises(SourceError, match=f"of a kind that cannot be edited: {reason}") as caught:
        read(tmp_path, pictures.tiff(samples, **options))
    assert caught.value.hint == "Convert it to RGB of 8 or 16 bits first."


def test_the_main_page_is_edited_and_not_its_thumbnail(tmp_path):
    thumbnail = pictures.tiff(RGB[::4, ::4], more={254: ("L", [1])})
    main, other = pictures.tiff(RGB, orientation=6), pictures.tiff(RGB // 2)
    eight = pictures.tiff((RGB >> 8).astype(np.uint8))
    still = read(tmp_path, pictures.pages(thumbnail, main))
    assert np.array_equal(still.image, turned(RGB, 6))
    assert still.warnings == ["its smaller copy (thumbnail, mask) left out"]
    assert still_size(tmp_path / "a.tif") == (40, 52)
    items = measure_items(find_items(tmp_path, tmp_path / "out"))
    assert [(item.width, item.height, item.error) for item in items] == [(40, 52, None)]
    still = read(tmp_path, pictures.pages(thumbnail, eight, thumbnail))
    assert np.array_equal(still.image, RGB >> 8)
    still = read(tmp_path, pictures.pages(main, other, thumbnail))
    assert np.array_equal(still.image, turned(RGB, 6))
    assert still.warnings[0] == "holds 2 images; only the first is edited"
    assert np.array_equal(read(tmp_path, pictures.pages(thumbnail)).image, RGB[::4, ::4])


def test_the_full_image_in_a_sub_directory_is_edited(tmp_path):
    more = {254: ("L", [1]), 330: ("L", [0])}
    data = bytearray(pictures.pages(pictures.tiff(RGB[::4, ::4], more=more), pictures.tiff(RGB)))
    (first,) = struct.unpack_from("<L", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    link = first + 2 + 12 * count
    for entry in range(first + 2, link, 12):
        if struct.unpack_from("<H", data, entry) == (330,):
            data[entry + 8 : entry + 12] = data[link : link + 4]
    data[link : link + 4] = bytes(4)
    still = read(tmp_path, bytes(data))
    assert np.array_equal(still.image, RGB)
    assert still.warnings == ["its smaller copy (thumbnail, mask) left out"]


def test_a_page_that_pillow_cannot_open_keeps_its_resolution_profile_and_exif(tmp_path):
    icc = pictures.srgb_profile()
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    samples = np.dstack([GREY, ALPHA])
    more = {34675: ("B", list(icc)), 271: ("B", list(b"Maker\0"))}
    still = read(tmp_path, pictures.tiff(samples, photometric=1, extra=2, more=more))
    assert still.icc == icc
    assert b"Maker" in still.metadata.exif


@given(cut=st.integers(9, 12_000), planar=st.booleans(), order=st.sampled_from("<>"))
def test_a_truncated_tiff_is_an_error(tmp_path, cut, planar, order):
    data = pictures.tiff(RGB, planar=planar, order=order)
    with pytest.raises(SourceError):
        read(tmp_path, data[:-cut])


@given(at=st.integers(0, 400), value=st.integers(0, 255), compressed=st.booleans())
def test_a_damaged_directory_is_an_error_or_an_image(tmp_path, at, value, compressed):
    data = bytearray(pictures.tiff(RGB[:8, :8], compressed=compressed))
    data[-1 - at % len(data)] = value
    try:
        still = read(tmp_path, bytes(data))
    except SourceError:
        return
    assert still.image.size
