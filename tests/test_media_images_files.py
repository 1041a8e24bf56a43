"""Read and write image files: pixels, alpha, colours, damaged and mislabelled files."""

import hashlib
import io
import json
import os
import threading
import warnings

import numpy as np
import pytest
from PIL import Image, ImageCms

from ip2p_batch.errors import OutputError, SourceError
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.images.reader import read_comment, read_still, still_size
from ip2p_batch.media.images.srgb import srgb_profile
from ip2p_batch.media.images.writer import output_suffix, write_still

from . import pictures
from .pictures import FORMATS, save, scene

LOSSLESS = ("png", "tiff", "bmp")
COMMENT = json.dumps({"ip2p_batch": {"instruction": "make it snow"}})


def write(path, still, **encoding):
    return write_still(path, still.image, still, comment=COMMENT, encoding=Encoding(**encoding))


# -- formats ------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_is_read_and_written_in_the_same_format(tmp_path, format_):
    still = read_still(save(tmp_path / f"in{FORMATS[format_]}"))
    assert still.format == format_ and still.image.shape == (32, 48, 3) and not still.warnings
    assert still.image.dtype == np.uint8 and still.image.flags.c_contiguous
    out = tmp_path / f"out{FORMATS[format_]}"
    digest = write(out, still)
    assert digest == hashlib.sha256(out.read_bytes()).hexdigest()
    with Image.open(out) as picture:
        assert picture.format.lower() == format_
    again = read_still(out).image.astype(int)
    limit = 0 if format_ in LOSSLESS else 6
    assert np.abs(again - still.image).mean() <= limit


@pytest.mark.parametrize("format_", FORMATS)
def test_writing_twice_gives_identical_files(tmp_path, format_):
    still = read_still(save(tmp_path / "in.png", icc_profile=pictures.wide_gamut_profile()))
    first = write(tmp_path / "a.part", still, format=format_)
    assert write(tmp_path / "b.part", still, format=format_) == first


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("format_", ["jpeg", "png"])
def test_a_requested_format_overrides_the_suffix(tmp_path, format_, target):
    still = read_still(save(tmp_path / f"in{FORMATS[format_]}"))
    out = tmp_path / "out.part"
    write(out, still, format=target)
    assert read_still(out).format == target


def test_the_suffix_decides_without_a_requested_format(tmp_path):
    still = read_still(save(tmp_path / "in.jpg"))
    write(tmp_path / "out.png", still)
    assert read_still(tmp_path / "out.png").format == "png"
    write(tmp_path / "out.part", still)
    assert read_still(tmp_path / "out.part").format == "jpeg"


def test_a_wrong_suffix_does_not_change_the_format_that_is_read(tmp_path):
    os.rename(save(tmp_path / "a.png"), tmp_path / "a.jpg")
    assert read_still(tmp_path / "a.jpg").format == "png"


def test_suffixes_change_only_with_the_format(tmp_path):
    assert output_suffix(tmp_path / "a.JPEG", Encoding()) == ".JPEG"
    assert output_suffix(tmp_path / "a.JPEG", Encoding(format="jpeg")) == ".JPEG"
    assert output_suffix(tmp_path / "a.tif", Encoding(format="tiff")) == ".tif"
    assert output_suffix(tmp_path / "a.png", Encoding(format="jpeg")) == ".jpg"


def test_quality_is_applied(tmp_path):
    still = read_still(save(tmp_path / "in.png", scene(200, 200)))
    for format_ in ("jpeg", "webp", "avif"):
        out = tmp_path / "out"
        write(out, still, format=format_, quality=20)
        small = out.stat().st_size
        write(out, still, format=format_, quality=98)
        assert out.stat().st_size > small


def test_a_jpeg_keeps_its_colours_at_full_resolution(tmp_path):
    write(tmp_path / "out.jpg", read_still(save(tmp_path / "in.png")))
    with Image.open(tmp_path / "out.jpg") as picture:
        assert [layer[1:3] for layer in picture.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


def test_lossless_webp_stays_lossless(tmp_path):
    still = read_still(save(tmp_path / "in.webp", lossless=True))
    write(tmp_path / "out.webp", still)
    assert np.array_equal(read_still(tmp_path / "out.webp").image, still.image)


def test_a_size_that_the_format_cannot_hold_is_an_output_error(tmp_path):
    still = read_still(save(tmp_path / "in.png", np.zeros((2, 17_000, 3), np.uint8)))
    with pytest.raises(OutputError, match="17000x2 is too large for WEBP") as caught:
        write(tmp_path / "out.webp", still)
    assert caught.value.hint and not (tmp_path / "out.webp").exists()


# -- orientation --------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["png", "tiff", "jpeg", "webp", "avif"])
def test_images_are_turned_upright_and_written_upright(tmp_path, format_, orientation):
    path = pictures.oriented(tmp_path / f"in{FORMATS[format_]}", orientation)
    assert still_size(path) == (48, 32)
    still = read_still(path)
    assert np.abs(still.image.astype(int) - scene()).mean() < 4
    out = tmp_path / f"out{FORMATS[format_]}"
    write(out, still)
    again = read_still(out)
    assert np.abs(again.image.astype(int) - scene()).mean() < 6
    with Image.open(out) as picture:
        exif = picture.getexif()
        assert exif.get(0x0112, 1) == 1 and exif[0x010F] == "Maker"
        photo = exif.get_ifd(0x8769)
        assert photo[0x9003] == "2026:01:02 03:04:05"
        assert (photo[0xA002], photo[0xA003]) == (48, 32)


def test_an_orientation_in_xmp_alone_is_obeyed_and_reset(tmp_path):
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
        b' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    path = save(tmp_path / "in.jpg", xmp=xmp)
    assert still_size(path) == (32, 48)
    still = read_still(path)
    assert still.image.shape == (48, 32, 3)
    for format_ in ("jpeg", "png", "webp", "tiff", "avif"):
        write(tmp_path / "out", still, format=format_)
        again = read_still(tmp_path / "out")
        assert again.image.shape == (48, 32, 3)
        assert again.metadata.xmp is not None and b'Orientation="1"' in again.metadata.xmp


# -- alpha --------------------------------------------------------------------------------


def alpha_ramp():
    return np.tile(np.linspace(0, 255, 48).round().astype(np.uint8), (32, 1))


@pytest.mark.parametrize("format_", ["png", "webp", "tiff", "avif"])
def test_alpha_is_kept(tmp_path, format_):
    path = save(tmp_path / f"in{FORMATS[format_]}", np.dstack([scene(), alpha_ramp()]))
    still = read_still(path)
    assert still.alpha is not None
    out = tmp_path / f"out{FORMATS[format_]}"
    write(out, still)
    again = read_still(out).alpha
    assert again is not None and np.abs(again.astype(int) - alpha_ramp()).max() <= 4


@pytest.mark.parametrize("format_", ["png", "webp", "tiff"])
def test_colours_under_full_transparency_are_kept(tmp_path, format_):
    clear = np.zeros((32, 48), np.uint8)
    still = read_still(save(tmp_path / "in.png", np.dstack([scene(), clear])))
    still.lossless = True
    write(tmp_path / "out", still, format=format_)
    assert np.array_equal(read_still(tmp_path / "out").image, scene())


@pytest.mark.parametrize("format_", ["jpeg", "bmp"])
def test_a_format_without_alpha_gets_a_white_background_and_a_warning(tmp_path, format_):
    alpha = np.zeros((32, 48), np.uint8)
    alpha[:, 24:] = 255
    still = read_still(save(tmp_path / "in.png", np.dstack([scene(), alpha])))
    write(tmp_path / "out", still, format=format_)
    again = read_still(tmp_path / "out").image.astype(int)
    assert (again[:, :16] > 245).all()
    assert np.abs(again[:, 32:] - scene()[:, 32:]).mean() < 3
    assert any("transparency" in line for line in still.warnings)


def test_a_palette_with_transparency_becomes_colours_and_alpha(tmp_path):
    indices = np.zeros((4, 6), np.uint8)
    indices[:, 3:] = 1
    picture = Image.fromarray(indices, "L").convert("P")
    picture.putpalette([255, 0, 0, 0, 0, 255])
    still = read_still(save(tmp_path / "a.png", picture, transparency=bytes([0, 128])))
    assert (still.image[:, :3] == (255, 0, 0)).all() and (still.image[:, 3:] == (0, 0, 255)).all()
    assert still.alpha is not None
    assert (still.alpha[:, :3] == 0).all() and (still.alpha[:, 3:] == 128).all()


@pytest.mark.parametrize(
    ("mode", "alpha"), [("LA", True), ("1", False), ("L", False), ("P", False)]
)
def test_other_modes_become_rgb(tmp_path, mode, alpha):
    grey = scene()[..., 0]
    picture = Image.fromarray(grey).convert(mode)
    still = read_still(save(tmp_path / "a.png", picture))
    assert still.image.shape == (32, 48, 3) and (still.alpha is not None) == alpha
    if mode != "1":
        assert np.array_equal(still.image[..., 0], grey)
    else:
        assert set(np.unique(still.image)) <= {0, 255}


def test_a_transparent_colour_of_a_truecolour_png_becomes_alpha(tmp_path):
    image = scene()
    still = read_still(save(tmp_path / "a.png", image, transparency=(250, 250, 60)))
    assert still.alpha is not None
    assert (still.alpha[:8, :12] == 0).all() and (still.alpha[8:] == 255).all()


# -- depth --------------------------------------------------------------------------------

DEEP = np.array([[0, 257, 128 * 257, 65535, 127, 129]], np.uint16)
SHALLOW = [0, 1, 128, 255, 0, 1]


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path, suffix):
    still = read_still(save(tmp_path / f"a{suffix}", Image.fromarray(DEEP)))
    assert still.image[0, :, 0].tolist() == SHALLOW
    assert still.warnings == ["16-bit samples reduced to 8 bits"]


def test_a_big_endian_16_bit_tiff_is_read(tmp_path):
    picture = Image.frombytes("I;16B", (6, 1), DEEP.astype(">u2").tobytes())
    assert read_still(save(tmp_path / "a.tif", picture)).image[0, :, 0].tolist() == SHALLOW


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_of_every_color_type_is_read_with_a_warning(tmp_path, color_type, channels):
    levels = np.repeat(np.array([[0, 0x1234, 0xFFFF]], np.uint16)[..., None], channels, axis=2)
    path = tmp_path / "a.png"
    path.write_bytes(pictures.png(levels, color_type))
    still = read_still(path)
    assert still.image[0, :, 0].tolist() == [0, 0x12, 255]
    assert (still.alpha is not None) == (color_type in (4, 6))
    assert still.warnings == ["16-bit samples reduced to 8 bits"]


def test_a_transparent_grey_of_16_bits_becomes_alpha(tmp_path):
    samples = np.array([[0, 300, 301]], np.uint16)[..., None]
    path = tmp_path / "a.png"
    path.write_bytes(pictures.png(samples, 0, pictures.chunk(b"tRNS", (300).to_bytes(2, "big"))))
    alpha = read_still(path).alpha
    assert alpha is not None and alpha[0].tolist() == [255, 0, 255]


@pytest.mark.parametrize("mode", ["L", "RGBA"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_uncompressed_tiff_is_turned_upright(tmp_path, mode, orientation):
    picture = Image.fromarray(scene()).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    still = read_still(save(tmp_path / "a.tiff", picture, exif=exif.tobytes(), compression="raw"))
    expected = np.asarray(picture.convert("RGB"))
    if orientation >= 5:
        expected = np.swapaxes(expected, 0, 1)
    if orientation in (2, 3, 6, 7):
        expected = expected[:, ::-1]
    if orientation in (3, 4, 7, 8):
        expected = expected[::-1]
    assert np.array_equal(still.image, expected)


def test_floating_point_samples_outside_0_to_1_are_refused(tmp_path):
    unit = Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32))
    still = read_still(save(tmp_path / "a.tiff", unit))
    assert still.image[0, :, 0].tolist() == [0, 128, 255]
    assert "floating-point" in still.warnings[0]
    scaled = Image.fromarray(np.array([[0.0, 255.0]], np.float32))
    with pytest.raises(SourceError, match="known white"):
        read_still(save(tmp_path / "b.tiff", scaled))


def test_32_bit_integers_beyond_16_bits_are_refused(tmp_path):
    high = Image.fromarray(np.array([[0, 70_000]], np.int32))
    with pytest.raises(SourceError, match="32-bit samples"):
        read_still(save(tmp_path / "a.tiff", high))


# -- colour -------------------------------------------------------------------------------


def test_wide_gamut_is_converted_to_srgb(tmp_path):
    patch = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    path = save(tmp_path / "a.png", patch, icc_profile=pictures.wide_gamut_profile())
    still = read_still(path)
    expected = p3_to_srgb(np.array([200, 100, 50]))
    assert np.abs(still.image[0, 0].astype(int) - expected).max() <= 2
    assert still.warnings == ["colours converted from Wide test to sRGB"]
    assert still.icc == srgb_profile()
    for format_ in ("png", "jpeg", "webp", "tiff", "avif"):
        write(tmp_path / "out", still, format=format_)
        with Image.open(tmp_path / "out") as picture:
            assert picture.info["icc_profile"] == srgb_profile()
        again = read_still(tmp_path / "out")
        assert np.abs(again.image[4, 4].astype(int) - expected).max() <= 4
        assert not again.warnings


def p3_to_srgb(rgb):
    """Convert independently of ICC: to linear light, between the primaries with D65, and back."""

    def matrix(primaries, white=(0.3127, 0.3290)):
        columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
        x, y = white
        return columns * np.linalg.solve(columns, np.array([x / y, 1, (1 - x - y) / y]))

    p3 = matrix([(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)])
    srgb = matrix([(0.640, 0.330), (0.300, 0.600), (0.150, 0.060)])
    value = rgb / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    there = np.clip(np.linalg.solve(srgb, p3 @ linear), 0, 1)
    coded = np.where(there <= 0.0031308, there * 12.92, 1.055 * there ** (1 / 2.4) - 0.055)
    return np.rint(coded * 255).astype(int)


def test_an_srgb_profile_changes_no_pixel(tmp_path):
    profile = pictures.srgb_profile()
    still = read_still(save(tmp_path / "a.png", icc_profile=profile))
    assert np.array_equal(still.image, scene()) and still.icc == profile and not still.warnings


def test_alpha_is_not_colour_converted(tmp_path):
    image = np.dstack([scene(), alpha_ramp()])
    still = read_still(save(tmp_path / "a.png", image, icc_profile=pictures.wide_gamut_profile()))
    assert np.array_equal(still.alpha, alpha_ramp())
    assert not np.array_equal(still.image, scene())


@pytest.mark.parametrize("profile", [b"not a profile", "lab"])
def test_a_profile_that_does_not_match_is_ignored_with_a_warning(tmp_path, profile):
    if profile == "lab":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    still = read_still(save(tmp_path / "a.png", icc_profile=profile))
    assert np.array_equal(still.image, scene()) and still.icc is None
    assert still.warnings == ["colour profile is damaged or does not match the image; ignored"]


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_without_a_profile_is_converted_with_a_warning(tmp_path, suffix):
    still = read_still(save(tmp_path / f"a{suffix}", Image.fromarray(scene()).convert("CMYK")))
    assert np.abs(still.image.astype(int) - scene()).mean() < 4
    assert still.warnings == ["CMYK without a profile; its colours are approximate"]
    write(tmp_path / f"b{suffix}", still)
    with Image.open(tmp_path / f"b{suffix}") as picture:
        assert picture.mode == "RGB"


# -- bad files ----------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF"])
def test_a_truncated_image_is_a_source_error(tmp_path, format_):
    path = tmp_path / "cut.jpg"
    path.write_bytes(pictures.truncated(format_))
    with pytest.raises(SourceError, match=r"cut\.jpg: damaged") as caught:
        read_still(path)
    assert caught.value.hint and caught.value.path == str(path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"just some notes\n", "text, not an image"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "damaged"),
        (b"%PDF-1.7", "a PDF document"),
        (bytes(range(256)), "not an image of a known format"),
        (b"\xff\xd8\xff", "damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (pictures.bomb(), "30000x30000 is 900 million pixels, more than the limit of 200 million"),
    ],
)
def test_a_file_that_is_not_an_image_is_refused_with_a_reason(tmp_path, data, reason):
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    for read in (read_still, still_size, read_comment):
        with pytest.raises(SourceError) as caught:
            read(path)
        assert caught.value.message.startswith(f"{path}: {reason}") and caught.value.hint


def test_the_limit_on_pixels_can_be_set(tmp_path):
    path = save(tmp_path / "a.png")
    with pytest.raises(SourceError, match="more than the limit"):
        read_still(path, max_pixels=1000)
    assert read_still(path, max_pixels=48 * 32).image.shape == (32, 48, 3)


def test_a_large_image_is_read_without_changing_pillows_global_limit(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "a.png"
    Image.new("1", (16_000, 12_000)).save(path)  # 192 million pixels: Pillow itself refuses it
    assert still_size(path) == (16_000, 12_000)
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_path_that_is_not_a_file_is_refused(tmp_path):
    for path in (tmp_path / "missing.png", tmp_path):
        with pytest.raises(SourceError, match=str(path)):
            read_still(path)


def test_a_named_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(SourceError, match="not a regular file"):
        read_still(tmp_path / "a.png")


def test_the_first_of_several_images_in_a_file_is_read(tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    for suffix in (".webp", ".tiff", ".png"):
        path = tmp_path / f"a{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        still = read_still(path)
        assert still.warnings == ["holds 3 images; only the first is edited"]
        assert still.image[4, 4, 0] > 240


# -- warnings and threads -----------------------------------------------------------------


def test_pillows_warnings_are_hidden_and_no_filter_remains(tmp_path):
    # A tag count that runs past the end of the file: Pillow warns of it.
    picture = Image.fromarray(scene())
    exif = Image.Exif()
    exif[0x010E] = "x" * 40
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif)
    data = buffer.getvalue().replace((41).to_bytes(4, "big"), (9999).to_bytes(4, "big"), 1)
    (tmp_path / "a.jpg").write_bytes(data)
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_still(tmp_path / "a.jpg")
    assert not caught
    assert list(warnings.filters) == before


def test_many_threads_can_read_and_write_at_once(tmp_path):
    path = save(tmp_path / "a.png", icc_profile=pictures.wide_gamut_profile())
    expected = write(tmp_path / "expected.png", read_still(path))
    before = list(warnings.filters)
    digests: list[str] = []

    def work(number):
        outputs = [tmp_path / f"{number}-{turn}.png" for turn in range(5)]
        digests.extend(write(output, read_still(path)) for output in outputs)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert digests == [expected] * 30
    assert list(warnings.filters) == before
