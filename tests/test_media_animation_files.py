"""Animated and still images differ by their content; any bytes may come."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ip2p_batch.media.animation.compose import Composer
from ip2p_batch.media.animation.files import is_animation, read_animation
from ip2p_batch.media.source import classify_source

from . import animations

KINDS = ("gif", "apng", "webp")
FILES = {kind: animations.animated(kind) for kind in KINDS}


def read(data):
    found = read_animation(io.BytesIO(data), 1000)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_content_decides_whether_an_image_is_an_animation(tmp_path, kind):
    still = Image.new("RGB", (8, 6), (200, 30, 30))
    for suffix in (".gif", ".png", ".apng", ".webp"):
        moving = tmp_path / f"moving{suffix}"
        moving.write_bytes(FILES[kind])
        assert is_animation(moving) and classify_source(moving) == "video"
    still.save(tmp_path / "a", {"apng": "PNG"}.get(kind, kind))
    (tmp_path / "a").rename(tmp_path / f"still.{kind}")
    assert classify_source(tmp_path / f"still.{kind}") == "still"


@pytest.mark.parametrize("kind", KINDS)
def test_an_animation_of_one_frame_is_a_still_image(tmp_path, kind):
    write = getattr(animations, f"{kind}_file")
    path = tmp_path / f"one.{kind}"
    path.write_bytes(write(animations.SIZE, animations.pieces(kind)[:1]))
    assert len(read(path.read_bytes()).parts) == 1 and classify_source(path) == "still"


@pytest.mark.parametrize(
    ("kind", "stored", "plays"),
    [("gif", 0, 0), ("gif", 3, 4), ("gif", None, 1), ("apng", 0, 0), ("apng", 3, 3),
     ("webp", 0, 0), ("webp", 3, 3)],
)  # fmt: skip
def test_the_number_of_plays_is_read(kind, stored, plays):
    write = getattr(animations, f"{kind}_file")
    assert read(write(animations.SIZE, animations.pieces(kind)[:2], stored)).plays == plays


def test_durations_are_exact_and_those_that_no_browser_keeps_are_100_ms():
    pieces = [
        animations.Piece(piece.image, delay=delay)
        for piece, delay in zip(animations.pieces("gif"), (0, 10, 20, 655350), strict=False)
    ]
    found = read(animations.gif_file(animations.SIZE, pieces))
    assert [float(part.shown_seconds) for part in found.parts] == [0.1, 0.1, 0.02, 655.35]


def test_a_default_image_before_the_animation_is_no_frame():
    pieces = animations.pieces("apng")[:3]
    default = np.full((40, 48, 4), 9, np.uint8)
    data = animations.apng_file(animations.SIZE, pieces, default=default)
    found = read(data)
    assert len(found.parts) == 3
    assert np.array_equal(Composer(io.BytesIO(data), found).frame(0), pieces[0].image)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_has_its_whole_frames(kind):
    data, whole = FILES[kind], read(FILES[kind])
    assert not whole.is_truncated
    found = read(data[: len(data) // 2])
    assert found.is_truncated and 1 < len(found.parts) < len(whole.parts)
    assert found.parts[:-1] == whole.parts[: len(found.parts) - 1]


def test_what_else_a_file_holds_is_named():
    image = Image.new("RGB", (8, 8))
    for kind, options in (("WEBP", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0", "xmp": b"<x/>"}),
                          ("GIF", {"comment": b"hi"})):  # fmt: skip
        buffer = io.BytesIO()
        others = [Image.new("RGB", (8, 8), (n, n, n)) for n in (90, 200)]
        image.save(buffer, kind, save_all=True, append_images=others, **options)
        expected = ("EXIF", "XMP") if kind == "WEBP" else ("comment",)
        assert read(buffer.getvalue()).left_out == expected


@settings(deadline=None, max_examples=150)
@given(
    kind=st.sampled_from(KINDS),
    cut=st.integers(0, 4000),
    changes=st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 255)), max_size=8),
)
def test_damaged_files_never_raise_anything_but_value_errors(kind, cut, changes):
    data = bytearray(FILES[kind][: len(FILES[kind]) - cut])
    for place, value in changes:
        if place < len(data):
            data[place] = value
    found = read_animation(io.BytesIO(data), 100)
    if found is None or not found.parts or found.width * found.height > 1 << 20:
        return
    composer = Composer(io.BytesIO(data), found)
    for number in range(len(found.parts)):
        try:
            assert composer.frame(number).shape == (found.height, found.width, 4)
        except ValueError:
            continue


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200), st.sampled_from([b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF"]))
def test_any_bytes_may_follow_a_signature(data, signature):
    found = read_animation(io.BytesIO(signature + data), 10)
    assert found is None or len(found.parts) <= 10
