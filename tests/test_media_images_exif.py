"""EXIF blocks are changed in place: offsets, types and makers' notes stay."""

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.images import exif, ifd
from ip2p_batch.media.images.reader import read_still
from ip2p_batch.media.images.writer import write_still

from .pictures import FORMATS, save

SIZE = (48, 32)
#: The block names the Adobe RGB of DCF.
CONVERTED = ["colours converted from Adobe RGB (1998) to sRGB"]
NOTE_TEXT = b"Firmware Version 1.2.3\0"


def block(order="<", *, thumbnail=b"", orientation=6):
    """An EXIF block with a maker's note whose one tag points to an absolute offset, as Canon's."""

    def entry(tag, kind, length, value):
        data = value if isinstance(value, bytes) else struct.pack(order + "L", value)
        return struct.pack(order + "HHL", tag, kind, length) + data.ljust(4, b"\0")

    def short(tag, value):
        return entry(tag, 3, 1, struct.pack(order + "H", value))

    first, exif_at, interop_at, gps_at, note_at = 8, 80, 190, 230, 300
    text_at = note_at + 18
    body = bytearray((b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", first))

    def directory(at, entries, following=0):
        body.extend(bytes(at - len(body)))
        body.extend(struct.pack(order + "H", len(entries)) + b"".join(entries))
        body.extend(struct.pack(order + "L", following))

    after = text_at + len(NOTE_TEXT) + 1
    directory(
        first,
        [
            entry(0x010F, 2, 4, b"Abc\0"), short(0x0112, orientation),
            entry(0x8769, 4, 1, exif_at), entry(0x8825, 4, 1, gps_at),
        ],
        after if thumbnail else 0,
    )  # fmt: skip
    directory(
        exif_at,
        [
            entry(0x9000, 7, 4, b"0232"), entry(0x9101, 7, 4, b"\1\2\3\0"),
            entry(0x927C, 7, 18, note_at), short(0xA001, 0xFFFF), short(0xA002, 4000),
            entry(0xA003, 4, 1, 3000), entry(0xA005, 4, 1, interop_at),
            entry(0xA300, 7, 1, b"\3"),
        ],
    )  # fmt: skip
    directory(interop_at, [entry(1, 2, 4, b"R03\0"), entry(2, 7, 4, b"0100")])
    directory(gps_at, [entry(1, 2, 2, b"N\0"), entry(2, 5, 3, gps_at + 34)])
    body.extend(bytes(gps_at + 34 - len(body)) + struct.pack(order + "6L", 48, 1, 6, 1, 0, 1))
    directory(note_at, [entry(7, 2, len(NOTE_TEXT), text_at)])
    body.extend(NOTE_TEXT + b"\0")
    if thumbnail:
        directory(after, [entry(0x0201, 4, 1, after + 30), entry(0x0202, 4, 1, len(thumbnail))])
        body.extend(thumbnail)
    return bytes(body)


def note_of(data):
    """The text that a note of :func:`block` points to."""
    parts = ifd.read_directories(data)
    assert parts.exif is not None
    note = parts.exif.get(ifd.MAKER_NOTE)
    assert note is not None
    (at,) = struct.unpack_from(parts.order + "L", note.data, 10)
    return data[at : at + len(NOTE_TEXT)]


@pytest.mark.parametrize("order", ["<", ">"])
def test_values_are_set_in_place_and_the_makers_note_stays_valid(order):
    source = block(order)
    cleaned = exif.clean(source, SIZE)
    assert not cleaned.warnings and len(cleaned.block) == len(source)
    before, after = ifd.read_directories(source), ifd.read_directories(cleaned.block)
    assert after.first.get(0x0112).number(order) == 1
    assert [after.exif.get(tag).number(order) for tag in (0xA001, 0xA002, 0xA003)] == [1, *SIZE]
    assert after.interop.get(1).data == b"R98\0"
    kinds = [(tag.tag, tag.kind) for tag in before.exif.tags if tag.tag not in (0xA002, 0xA003)]
    assert set(kinds) <= {(tag.tag, tag.kind) for tag in after.exif.tags}
    assert note_of(cleaned.block) == NOTE_TEXT
    assert exif.clean(cleaned.block, SIZE).block == cleaned.block


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_thumbnail_is_cut_off(order):
    cleaned = exif.clean(block(order, thumbnail=b"\xff\xd8thumb\xff\xd9"), SIZE).block
    assert b"thumb" not in cleaned and ifd.read_directories(cleaned).first.following == 0
    assert note_of(cleaned) == NOTE_TEXT


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_position_is_erased_and_nothing_else(order):
    source = exif.clean(block(order), SIZE).block
    without = exif.without_position(source)
    assert ifd.read_directories(without).gps is None
    assert struct.pack(order + "3L", 48, 1, 6) not in without
    assert note_of(without) == NOTE_TEXT and len(without) == len(source)


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_makers_note_is_valid_in_every_format_but_tiff(tmp_path, format_, order):
    path = save(tmp_path / "in.jpg", exif=exif.HEADER + block(order, orientation=1))
    still = read_still(path)
    out = tmp_path / f"out{FORMATS[format_]}"
    write_still(out, still.image, still, comment="{}", encoding=Encoding())
    again = read_still(out)
    assert note_of(again.metadata.exif) == NOTE_TEXT and still.warnings == CONVERTED
    assert again.metadata.exif == (
        exif.without_orientation(still.metadata.exif) if format_ == "avif" else still.metadata.exif
    )


@pytest.mark.parametrize("order", ["<", ">"])
def test_in_a_tiff_types_are_kept_and_a_fixed_note_is_left_out_with_a_warning(tmp_path, order):
    still = read_still(save(tmp_path / "in.jpg", exif=exif.HEADER + block(order)))
    out = tmp_path / "out.tif"
    write_still(out, still.image, still, comment="{}", encoding=Encoding())
    lost = "the camera maker's notes are valid only in their old place and were left out"
    assert still.warnings == [*CONVERTED, lost]
    parts = ifd.read_directories(out.read_bytes())
    assert parts.exif.get(0x9000) is not None and parts.exif.get(0x9000).kind == 7
    assert parts.exif.get(ifd.MAKER_NOTE) is None
    assert parts.interop.get(1).data == b"R98\0" and parts.gps.get(2).kind == 5
    assert struct.unpack("<6L", parts.gps.get(2).data) == (48, 1, 6, 1, 0, 1)
    again = read_still(out)
    assert ifd.read_directories(again.metadata.exif).first.get(0x010F).data == b"Abc\0"


def test_a_note_without_offsets_moves_into_a_tiff(tmp_path):
    tags = Image.Exif()
    tags[0x8769] = {0x927C: b"Apple iOS\0\0\1MM" + bytes(8)}
    still = read_still(save(tmp_path / "in.jpg", exif=tags))
    write_still(tmp_path / "o.tif", still.image, still, comment="{}", encoding=Encoding())
    parts = ifd.read_directories((tmp_path / "o.tif").read_bytes())
    assert parts.exif.get(ifd.MAKER_NOTE).data.startswith(b"Apple iOS\0") and not still.warnings


def test_a_directory_that_is_damaged_is_left_out_with_a_warning():
    data = bytearray(block())
    data[80:82] = b"\xff\xff"  # the number of entries of the EXIF directory
    cleaned = exif.clean(bytes(data), SIZE)
    assert cleaned.warnings == (
        "the camera settings in its EXIF data are damaged and were left out",
    )
    parts = ifd.read_directories(cleaned.block)
    assert parts.exif is None and parts.gps is not None


def test_values_of_a_damaged_block_that_lie_in_its_header_do_not_erase_it():
    data = bytearray(exif.clean(block(), SIZE).block)
    parts = ifd.read_directories(bytes(data))
    entry = parts.gps.get(2).entry
    data[entry + 8 : entry + 12] = bytes(4)  # the offset of the latitude
    without = ifd.read_directories(exif.without_position(bytes(data)))
    assert without.gps is None and without.exif is not None


def test_bigtiff_is_read():
    data = bytearray(b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + struct.pack("<Q", 1))
    data += struct.pack("<HHQ8s", 0x010F, 2, 6, b"Maker\0")
    data += bytes(8)
    cleaned = exif.of_tiff(bytes(data), SIZE)
    assert ifd.read_directories(cleaned.block).first.get(0x010F).data == b"Maker\0"


@given(
    data=st.binary(max_size=120),
    at=st.integers(0, 400),
    order=st.sampled_from("<>"),
    thumbnail=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_any_damage_gives_a_block_or_a_warning(data, at, order, thumbnail):
    source = bytearray(block(order, thumbnail=b"thumb" * thumbnail))
    source[at : at + len(data)] = data
    for damaged in (bytes(source), data):
        for clean in (exif.clean, exif.of_tiff):
            cleaned = clean(damaged, SIZE)
            for part in (
                exif.without_position(cleaned.block),
                exif.without_orientation(cleaned.block),
            ):
                assert not part or ifd.read_directories(part)
            buffer = io.BytesIO()
            Image.new("RGB", (1, 1)).save(buffer, "TIFF")
            assert exif.insert(buffer.getvalue(), cleaned.block, ()).block
