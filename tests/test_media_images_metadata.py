"""Metadata of results: the recipe, EXIF, XMP, resolution and text chunks."""

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ip2p_batch.jobs.spec import Encoding
from ip2p_batch.media.images.reader import read_comment, read_still
from ip2p_batch.media.images.writer import write_still

from . import pictures
from .pictures import FORMATS, save

COMMENT = json.dumps({"ip2p_batch": {"instruction": "make it snow"}})


def write(path, still):
    return write_still(path, still.image, still, comment=COMMENT, encoding=Encoding())


@pytest.mark.parametrize("comment", [COMMENT, '{"instruction": "füge Schnee hinzu, 雪"}'])
@pytest.mark.parametrize("format_", [f for f in FORMATS if f != "bmp"])
def test_the_recipe_is_embedded_and_read_back(tmp_path, format_, comment):
    still = read_still(save(tmp_path / "in.png"))
    out = tmp_path / "out"
    write_still(out, still.image, still, comment=comment, encoding=Encoding(format=format_))
    assert read_comment(out) == comment


def test_a_png_holds_the_recipe_in_a_standard_text_chunk(tmp_path):
    write(tmp_path / "a.png", read_still(save(tmp_path / "in.png")))
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.text["ip2p-batch"] == COMMENT  # type: ignore[attr-defined]


def test_bmp_warns_that_it_holds_no_recipe(tmp_path):
    still = read_still(save(tmp_path / "in.bmp"))
    write(tmp_path / "out.bmp", still)
    assert read_comment(tmp_path / "out.bmp") is None
    assert still.warnings == ["BMP holds no metadata; the recipe is not embedded"]


def test_a_second_edit_replaces_the_recipe_of_the_first(tmp_path):
    for format_ in ("png", "jpeg"):
        still = read_still(save(tmp_path / "in.png"))
        out = tmp_path / f"out{FORMATS[format_]}"
        write_still(out, still.image, still, comment="first", encoding=Encoding())
        again = read_still(out)
        write_still(out, again.image, again, comment="second", encoding=Encoding())
        assert read_comment(out) == "second"


@pytest.mark.parametrize("target", ["jpeg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("source", ["jpeg", "png", "webp", "tiff"])
def test_exif_xmp_and_resolution_are_kept_between_formats(tmp_path, source, target):
    exif = Image.Exif()
    exif[0x013B], exif[0x8298] = "An Artist", "J. Doe"
    exif[0x8769] = {0x829A: 0.008, 0x9003: "2026:01:02 03:04:05"}
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 14.0)}
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">hello</x:xmpmeta>'
    options: dict[str, Any] = {"exif": exif}
    if source in ("jpeg", "png", "tiff"):
        options["dpi"] = (300, 300)
    if source in ("jpeg", "webp"):
        options["xmp"] = xmp
    still = read_still(save(tmp_path / f"in{FORMATS[source]}", **options))
    out = tmp_path / f"out{FORMATS[target]}"
    write(out, still)
    with Image.open(out) as picture:
        picture.load()
        written = picture.getexif()
        assert written[0x013B] == "An Artist" and written[0x8298] == "J. Doe"
        assert written.get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"
        assert float(written.get_ifd(0x8769)[0x829A]) == pytest.approx(0.008)
        assert written.get_ifd(0x8825)[1] == "N"
        assert [float(v) for v in written.get_ifd(0x8825)[2]] == [48, 8, 14]
        if "dpi" in options and target in ("jpeg", "png", "tiff"):
            assert [round(v) for v in picture.info["dpi"]] == [300, 300]
        if "xmp" in options:
            assert picture.info["xmp"].strip(b"\0") == xmp
    assert read_comment(out) == COMMENT


def test_text_chunks_of_a_png_are_kept(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Author", "J. Doe")
    still = read_still(save(tmp_path / "in.png", pnginfo=info))
    write(tmp_path / "out.png", still)
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.text["Author"] == "J. Doe"  # type: ignore[attr-defined]


def test_the_thumbnail_of_the_source_is_removed(tmp_path):
    # IFD1 of an EXIF block, with a thumbnail, made by hand.
    thumbnail = b"\xff\xd8thumb\xff\xd9"
    block = (
        b"Exif\0\0II*\0\x08\0\0\0"
        + (1).to_bytes(2, "little")
        + bytes.fromhex("0f01 0200 04000000") + b"abc\0"
        + (26).to_bytes(4, "little")
        + (2).to_bytes(2, "little")
        + bytes.fromhex("0102 0400 01000000 38000000")
        + bytes.fromhex("0202 0400 01000000") + len(thumbnail).to_bytes(4, "little")
        + bytes(4)
        + thumbnail
    )  # fmt: skip
    path = save(tmp_path / "in.jpg", exif=block)
    assert b"thumb" in path.read_bytes()
    write(tmp_path / "out.jpg", read_still(path))
    assert b"thumb" not in (tmp_path / "out.jpg").read_bytes()


def test_an_image_with_damaged_exif_is_read(tmp_path):
    rubbish = b"Exif\0\0II*\0\x08\0\0\0" + bytes(range(200))
    still = read_still(save(tmp_path / "in.jpg", exif=rubbish))
    write(tmp_path / "out.jpg", still)
    assert read_comment(tmp_path / "out.jpg") == COMMENT


def test_exif_that_is_too_large_together_with_the_recipe_is_left_out(tmp_path):
    exif = Image.Exif()
    exif[0x8769] = {0x927C: bytes(65_000), 0x9003: "2026:01:02 03:04:05"}
    still = read_still(save(tmp_path / "in.jpg", exif=exif))
    recipe = json.dumps({"instruction": "x" * 2000})
    out = tmp_path / "out.jpg"
    write_still(out, still.image, still, comment=recipe, encoding=Encoding())
    assert read_comment(out) == recipe
    assert any("notes" in line for line in still.warnings)
    with Image.open(out) as picture:
        assert picture.getexif().get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"


def test_a_tiff_is_readable_by_another_decoder(tmp_path):
    import cv2

    still = read_still(pictures.oriented(tmp_path / "in.tiff", 6))
    write(tmp_path / "out.tiff", still)
    decoded = cv2.imread(str(tmp_path / "out.tiff"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(decoded[..., ::-1], still.image)
