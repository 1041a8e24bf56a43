"""HEIC images and AVIF images of more than 8 bits are decoded by the video decoders."""

import io
import struct
from typing import cast

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ip2p_batch.errors import SourceError
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.hdr.curves import light_to_pq
from ip2p_batch.media.images.heif.file import HeifFile
from ip2p_batch.media.images.reader import read_still, still_size
from ip2p_batch.media.images.writer import output_suffix, write_still
from ip2p_batch.media.video.deep_color import from_image

from . import heif_files, pictures
from .heif_files import COLOR, box, full_box, heic

CHART = pictures.scene(96, 64)


def read(folder, data, *, deep=False):
    path = folder / "a.heic"
    path.write_bytes(data)
    still = read_still(path, deep=deep)
    assert still_size(path) == still.image.shape[1::-1]
    return still


def close(image, expected, tolerance=2):
    return image.shape == expected.shape and np.abs(image.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("cicp", [(1, 13, 6, 1), None])
def test_an_heic_is_read_and_becomes_a_jpeg(tmp_path, cicp):
    still = read(tmp_path, heic([CHART], cicp=cicp))
    assert close(still.image, CHART)
    assert (still.format, still.alpha, still.icc, still.warnings) == ("heic", None, None, [])
    suffix = output_suffix(tmp_path / "a.heic", Encoding())
    assert suffix == ".jpg"
    write_still(tmp_path / "b.jpg", still.image, still, comment="{}", encoding=Encoding())
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.format == "JPEG" and close(np.asarray(image), CHART, 40)


def test_chroma_of_half_resolution_is_read(tmp_path):
    flat = np.full((64, 96, 3), (220, 40, 40), np.uint8)
    assert close(read(tmp_path, heic([flat], pix_fmt="yuv420p")).image, flat)


@pytest.mark.parametrize("cicp", [(1, 13, 6, 1), None])
def test_an_heic_of_10_bits_keeps_them(tmp_path, cicp):
    ramp = np.linspace(0, 65535, 96).astype(np.uint16)
    image = np.broadcast_to(ramp[None, :, None], (64, 96, 3))
    data = heic([np.ascontiguousarray(image)], pix_fmt="yuv444p10le", cicp=cicp)
    still = read(tmp_path, data, deep=True)
    assert still.image.dtype == np.uint16 and not still.warnings
    assert np.abs(still.image.astype(int) - image).max() <= 65535 / 1023
    assert len(np.unique(still.image[..., 0])) == 96
    assert read(tmp_path, data).warnings == ["10-bit samples reduced to 8 bits"]


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv420p"])
def test_the_tiles_of_a_grid_are_joined_and_cropped(tmp_path, pix_fmt):
    whole = np.full((128, 192, 3), (90, 120, 60), np.uint8)
    whole[:, 64:] = (200, 40, 80)
    whole[64:, 128:] = (10, 200, 220)
    tiles = [whole[y : y + 64, x : x + 64] for y in (0, 64) for x in (0, 64, 128)]
    still = read(tmp_path, heic(tiles, grid=(2, 3, 170, 100), pix_fmt=pix_fmt))
    expected = whole[:100, :170]
    apart = np.abs(still.image.astype(int) - expected).max(axis=2) > 3
    assert still.image.shape == expected.shape
    assert apart.sum() <= (0 if pix_fmt == "yuv444p" else 6 * 200), "chroma blends at edges"


@pytest.mark.parametrize("angle", range(4))
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_rotation_and_mirror_are_applied_and_the_exif_orientation_is_not(tmp_path, angle, axis):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    properties = [box(b"irot", bytes([angle]))]
    properties += [] if axis is None else [box(b"imir", bytes([axis]))]
    data = heic([CHART], properties=properties, exif=exif.tobytes()[6:])
    still = read(tmp_path, data)
    expected = np.rot90(CHART, angle)
    if axis is not None:
        expected = expected[:, ::-1] if axis else expected[::-1]
    assert close(still.image, expected)
    again = Image.Exif()
    again.load(still.metadata.exif)
    assert again[0x010F] == "Maker" and again.get(0x0112, 1) == 1


def test_the_clean_aperture_crops(tmp_path):
    numbers = struct.pack(">8l", 60, 1, 40, 1, -4, 1, 2, 1)
    still = read(tmp_path, heic([CHART], properties=[box(b"clap", numbers)]))
    assert close(still.image, CHART[14:54, 14:74])


def test_alpha_of_an_heic_is_read(tmp_path):
    alpha = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[:, None], 96, axis=1)
    still = read(tmp_path, heic([CHART], alpha=alpha))
    assert still.alpha is not None and close(still.alpha, alpha, 1)
    assert close(still.image, CHART)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (b"urn:com:apple:photo:2020:aux:hdrgainmap", "HDR gain map"),
        (b"urn:mpeg:hevc:2015:auxid:2", "depth map"),
        (b"urn:com:apple:photo:2018:aux:portraiteffectsmatte", "portrait matte"),
    ],
)
def test_other_images_of_an_heic_are_named_and_left_out(tmp_path, kind, name):
    grey = np.full((64, 96), 128, np.uint8)
    still = read(tmp_path, heic([CHART], alpha=grey, alpha_type=kind))
    assert still.alpha is None and still.warnings == [f"{name} left out"]
    still = read(tmp_path, heic([CHART[::-1], CHART]))
    assert close(still.image, CHART)
    assert still.warnings == ["holds 2 images; only the main one is edited"]


@pytest.mark.parametrize("brand", [b"mif1", b"heix", b"hevc"])
def test_other_brands_are_read(tmp_path, brand):
    data = heic([CHART]).replace(b"ftypheic", b"ftyp" + brand, 1)
    assert close(read(tmp_path, data).image, CHART)


@pytest.mark.parametrize("is_full", [True, False])
def test_an_heic_of_grey_is_read(tmp_path, is_full):
    ramp = np.repeat(np.arange(16, 236, 220 / 96).astype(np.uint8)[None], 64, axis=0)
    still = read(tmp_path, heic([ramp], pix_fmt="gray", cicp=(1, 13, 6, int(is_full))))
    expected = ramp if is_full else np.rint((ramp.astype(float) - 16) * 255 / 219).astype(int)
    assert close(still.image, np.dstack([expected] * 3), 1)


def test_colours_of_an_heic_are_converted_by_its_codes_or_profile(tmp_path):
    red = np.full((64, 64, 3), (220, 40, 40), np.uint8)
    still = read(tmp_path, heic([red], cicp=(12, 13, 6, 1)))
    assert close(still.image[8, 8], np.array([240, 0, 21]), 8)
    profile = box(b"colr", b"prof", pictures.wide_gamut_profile())
    still = read(tmp_path, heic([red], properties=[profile]))
    assert still.warnings and "to sRGB" in still.warnings[0]


def avif_of_10_bits(image, transfer=13, primaries=1):
    """An AVIF file of 10 bits, which Pillow cannot write."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avif") as container:
        stream = container.add_stream("libsvtav1", rate=1, options={"crf": "4", "preset": "10"})
        stream.width, stream.height = image.shape[1::-1]
        stream.pix_fmt = "yuv420p10le"
        context = stream.codec_context
        context.color_range, context.colorspace = 2, COLOR.matrix
        context.color_trc, context.color_primaries = transfer, primaries
        frame = from_image(image, COLOR, "yuv420p10le")
        container.mux([*stream.encode(cast(av.VideoFrame, frame)), *stream.encode(None)])
    return buffer.getvalue()


def test_an_avif_of_10_bits_keeps_them(tmp_path):
    ramp = np.linspace(0, 65535, 128).astype(np.uint16)
    image = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (64, 128, 3)))
    path = tmp_path / "a.avif"
    path.write_bytes(avif_of_10_bits(image))
    still = read_still(path, deep=True)
    assert still.image.dtype == np.uint16 and not still.warnings
    assert np.abs(still.image.astype(int) - image).max() < 65535 / 100
    shallow = read_still(path)
    assert shallow.warnings == ["10-bit samples reduced to 8 bits"]
    assert np.abs(shallow.image.astype(int) - image // 257).max() <= 3


@pytest.mark.parametrize(
    ("transfer", "nits", "expected"), [(16, 203, 228), (16, 10, 63), (18, None, 255)]
)
@pytest.mark.parametrize("kind", ["heic", "avif", "png"])
def test_high_dynamic_range_is_tone_mapped(tmp_path, transfer, nits, expected, kind):
    value = 65535 if nits is None else round(float(light_to_pq(nits)) * 65535)
    image = np.full((64, 96, 3), value, np.uint16)
    if kind == "heic":
        data = heic([image], pix_fmt="yuv444p10le", cicp=(9, transfer, 6, 1))
    elif kind == "avif":
        data = avif_of_10_bits(image, transfer, 9)
    else:
        data = pictures.png(image, 2, pictures.chunk(b"cICP", bytes([9, transfer, 0, 1])))
    path = tmp_path / f"a.{kind}"
    path.write_bytes(data)
    still = read_still(path, deep=True)
    assert still.image.dtype == np.uint16
    assert np.abs(still.image / 257 - expected).max() < 3
    name = {16: "PQ", 18: "HLG"}[transfer]
    assert still.warnings == [f"high dynamic range (BT.2020 {name}) tone-mapped to sRGB (BT.2390)"]
    assert np.abs(read_still(path).image.astype(int) - expected).max() < 3


def test_the_stated_peak_is_white(tmp_path):
    value = round(float(light_to_pq(400)) * 65535)
    image = np.full((64, 96, 3), value, np.uint16)
    level = box(b"clli", struct.pack(">HH", 400, 100))
    data = heic([image], pix_fmt="yuv444p10le", cicp=(9, 16, 6, 1), properties=[level])
    assert (read(tmp_path, data).image >= 253).all()
    chunks = pictures.chunk(b"cICP", bytes([9, 16, 0, 1]))
    chunks += pictures.chunk(b"cLLI", struct.pack(">LL", 400 * 10_000, 0))
    (tmp_path / "a.png").write_bytes(pictures.png(image, 2, chunks))
    assert (read_still(tmp_path / "a.png").image >= 253).all()


def test_other_kinds_of_heif_are_refused_by_their_name(tmp_path):
    data = heic([CHART]).replace(b"hvc1\0", b"vvc1\0", 1)
    with pytest.raises(SourceError, match="cannot be edited: HEIF of the kind VVC"):
        read(tmp_path, data)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_turned_as_pillow_turns_it(tmp_path, orientation):
    path = pictures.oriented(tmp_path / "a.avif", orientation)
    still = read_still(path)
    with path.open("rb") as file:
        heif = HeifFile(file)
        assert heif.size() == still.image.shape[1::-1]
        decoded = heif.decode(upright=True)
    apart = np.abs((decoded.rgb // 257).astype(int) - still.image)
    assert apart.mean() < 3, "the two scale chroma differently"


def test_a_truncated_heic_is_an_error(tmp_path):
    data = heic([CHART])
    for size in (40, 200, len(data) // 2, len(data) - 9):
        with pytest.raises(SourceError):
            read(tmp_path, data[:size])


def test_a_frame_much_larger_than_stated_is_not_decoded(tmp_path):
    data = heic([np.zeros((256, 256, 3), np.uint8)])
    stated = struct.pack(">LL", 256, 256)
    assert read(tmp_path, data).image.shape == (256, 256, 3)
    with pytest.raises(SourceError, match="damaged"):
        read(tmp_path, data.replace(stated, struct.pack(">LL", 8, 8)))


def test_damaged_pixels_are_an_error_and_not_painted_over(tmp_path, monkeypatch):
    whole = heif_files.encode

    def cut(image, pix_fmt="yuv444p"):
        """A third of the pixels, in a file that is otherwise right."""
        data, configuration = whole(image, pix_fmt)
        part = data[4 : len(data) // 3]
        return struct.pack(">L", len(part)) + part, configuration

    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    assert close(read(tmp_path, heic([noise])).image, noise, 3)
    monkeypatch.setattr(heif_files, "encode", cut)
    with pytest.raises(SourceError, match="damaged"):
        read(tmp_path, heic([noise]))


@given(at=st.integers(8, 900), value=st.integers(0, 255))
def test_a_damaged_description_is_an_error_or_an_image(tmp_path, at, value):
    data = bytearray(_SMALL)
    data[at % len(data)] = value
    try:
        still = read(tmp_path, bytes(data))
    except SourceError:
        return
    assert still.image.size


_SMALL = heic([CHART[:64, :64]], properties=[full_box(b"pixi", b"\3\x08\x08\x08")])
