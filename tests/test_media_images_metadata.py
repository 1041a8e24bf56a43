"""Metadata of results: the recipe, EXIF, XMP, resolution and text chunks."""

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.images.reader import read_comment, read_still
from ip2p_batch.media.images.writer import write_still

from . import pictures
from .pictures import FORMATS, save

COMMENT = json.dumps({"ip2p_batch": {"instruction": "make it snow"}})


def write(path, still, **encoding):
    return write_still(path, still.image, still, comment=COMMENT, encoding=Encoding(**encoding))


def packet(descriptions):
    """An XMP packet."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
        f' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{descriptions}</rdf:RDF>'
        "</x:xmpmeta>"
    ).encode()


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
    xmp = packet(
        "<rdf:Description xmlns:dc='http://purl.org/dc/elements/1.1/' dc:source='roll 7'/>"
    )
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
            assert b'dc:source="roll 7"' in picture.info["xmp"]
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


def test_exif_that_is_too_large_for_a_jpeg_loses_the_makers_notes(tmp_path):
    exif = Image.Exif()
    exif[0x8769] = {0x927C: bytes(66_000), 0x9003: "2026:01:02 03:04:05"}
    still = read_still(save(tmp_path / "in.webp", exif=exif))
    write(tmp_path / "out.jpg", still)
    assert any("notes" in line for line in still.warnings)
    with Image.open(tmp_path / "out.jpg") as picture:
        assert picture.getexif().get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"


def test_a_tiff_is_readable_by_another_decoder(tmp_path):
    import cv2

    still = read_still(pictures.oriented(tmp_path / "in.tiff", 6))
    write(tmp_path / "out.tiff", still)
    decoded = cv2.imread(str(tmp_path / "out.tiff"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(decoded[..., ::-1], still.image)


def commented(tmp_path, text, **options):
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"ASCII\0\0\0" + text.encode(), 0x9003: "2026:01:02 03:04:05"}
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 14.0)}
    return save(tmp_path / "in.jpg", exif=exif, **options)


def user_comment(path):
    with Image.open(path) as picture:
        return picture.getexif().get_ifd(0x8769).get(0x9286)


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "tiff", "avif"])
def test_the_user_comment_is_the_sources(tmp_path, format_):
    still = read_still(commented(tmp_path, "SKU 4711; do not lose"))
    out = tmp_path / f"out{FORMATS[format_]}"
    write(out, still)
    assert user_comment(out) == b"ASCII\0\0\0SKU 4711; do not lose"
    assert read_comment(out) == COMMENT


def test_a_recipe_of_an_earlier_version_is_read_and_replaced(tmp_path):
    old = '{"ip2p_batch": {"instruction": "old"}}'
    path = commented(tmp_path, old)
    assert read_comment(path) == old
    write(tmp_path / "out.jpg", read_still(path))
    assert read_comment(tmp_path / "out.jpg") == COMMENT
    assert user_comment(tmp_path / "out.jpg") is None
    write(tmp_path / "out.jpg", read_still(path), embed_recipe=False)
    assert read_comment(tmp_path / "out.jpg") is None


def test_the_comment_of_another_program_is_no_recipe(tmp_path):
    assert read_comment(commented(tmp_path, "SKU 4711")) is None


@pytest.mark.parametrize("format_", [f for f in FORMATS if f != "bmp"])
def test_results_state_that_they_were_edited_with_ai(tmp_path, format_):
    still = read_still(save(tmp_path / "in.png"))
    out = tmp_path / f"out{FORMATS[format_]}"
    write(out, still)
    mark = b"digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
    assert mark in out.read_bytes()
    write(out, still, mark_ai=False)
    assert mark not in out.read_bytes() and read_comment(out) == COMMENT


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "tiff", "avif"])
def test_metadata_can_be_left_out_in_part_or_in_full(tmp_path, format_):
    gps = "exif:GPSLatitude='48,8N' dc:source='roll'"
    spaces = (
        "xmlns:exif='http://ns.adobe.com/exif/1.0/' xmlns:dc='http://purl.org/dc/elements/1.1/'"
    )
    path = commented(
        tmp_path, "mine", xmp=packet(f"<rdf:Description {spaces} {gps}/>"), dpi=(96, 96)
    )
    out = tmp_path / f"out{FORMATS[format_]}"
    write(out, read_still(path), metadata="no-gps")
    kept = read_still(out)
    with Image.open(out) as picture:
        assert not picture.getexif().get_ifd(0x8825)
        assert picture.getexif().get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"
    assert b"GPS" not in kept.metadata.xmp and b"roll" in kept.metadata.xmp
    still = read_still(path)
    write(out, still, metadata="none", embed_recipe=False, mark_ai=False)
    bare = read_still(out)
    assert bare.metadata.xmp is None and not bare.metadata.text and not still.warnings
    assert b"2026:01" not in out.read_bytes() and b"mine" not in out.read_bytes()


def test_text_and_comments_of_other_formats_are_kept_or_named(tmp_path):
    still = read_still(save(tmp_path / "in.jpg", comment=b"a comment"))
    write(tmp_path / "out.png", still)
    assert read_still(tmp_path / "out.png").metadata.text == {"Comment": "a comment"}
    write(tmp_path / "out.webp", still)
    assert still.warnings == ["the comment has no place in WebP and was left out"]
    still = read_still(tmp_path / "out.png")
    write(tmp_path / "out.jpg", still)
    assert still.warnings == ["JPEG holds no text chunks: Comment left out"]


def test_equal_arguments_give_equal_files(tmp_path):
    still = read_still(commented(tmp_path, "mine", comment=b"x", dpi=(96, 96)))
    for format_ in ("jpeg", "png", "webp", "tiff", "avif"):
        names = [tmp_path / f"{number}{FORMATS[format_]}" for number in range(2)]
        assert write(names[0], still) == write(names[1], still)


def test_a_resolution_that_the_source_does_not_state_is_not_invented(tmp_path):
    still = read_still(commented(tmp_path, "mine"))
    assert still.dpi is None
    write(tmp_path / "out.jpg", still)
    assert read_still(tmp_path / "out.jpg").dpi is None
    exif = Image.Exif()
    exif[0x011A], exif[0x011B], exif[0x0128] = 300.0, 300.0, 2
    assert read_still(save(tmp_path / "in.jpg", exif=exif)).dpi == (300, 300)
