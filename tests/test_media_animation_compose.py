"""Frames are composed as browsers do, by the formats' rules for blending and disposal."""

import io

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ip2p_batch.media.animation.compose import Composer, blend
from ip2p_batch.media.animation.files import read_animation

from . import animations


def composed(data):
    found = read_animation(io.BytesIO(data), 1000)
    assert found is not None
    composer = Composer(io.BytesIO(data), found)
    return composer, [composer.frame(number) for number in range(len(found.parts))]


def by_the_rules(pieces, size):
    """Every pixel by itself, in floating point."""
    canvas = np.zeros((size[1], size[0], 4))
    for piece in pieces:
        before = canvas.copy()
        (left, top), (height, width) = piece.place, piece.image.shape[:2]
        area = (slice(top, top + height), slice(left, left + width))
        own, below = piece.image / 255, canvas[area]
        if piece.blends:
            alpha = own[..., 3:] + below[..., 3:] * (1 - own[..., 3:])
            mixed = own[..., :3] * own[..., 3:]
            mixed = mixed + below[..., :3] * below[..., 3:] * (1 - own[..., 3:])
            colors = np.divide(mixed, alpha, out=np.zeros_like(mixed), where=alpha > 0)
            canvas[area] = np.concatenate([colors, alpha], -1)
        else:
            canvas[area] = own
        yield canvas * 255
        if piece.disposal == 1:
            canvas[area] = 0
        elif piece.disposal == 2:
            canvas = before


def difference(frame, expected):
    """Largest difference of opacity, and of colours weighted by it, in levels."""
    own, other = frame.astype(float), np.asarray(expected, float)
    colors = own[..., :3] * own[..., 3:] - other[..., :3] * other[..., 3:]
    return max(np.abs(own[..., 3] - other[..., 3]).max(), np.abs(colors).max() / 255)


@pytest.mark.parametrize("kind", ["gif", "apng", "webp"])
def test_every_disposal_blending_and_place_is_composed_by_the_rules(kind):
    _, frames = composed(animations.animated(kind))
    wanted = list(by_the_rules(animations.pieces(kind), animations.SIZE))
    assert len(frames) == len(wanted) > 10
    for frame, expected in zip(frames, wanted, strict=True):
        assert difference(frame, expected) <= (0 if kind == "gif" else 3)


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_frames_are_those_of_another_decoder(kind):
    data = animations.animated(kind)
    _, frames = composed(data)
    with Image.open(io.BytesIO(data)) as image:
        for number, frame in enumerate(frames):
            image.seek(number)
            assert difference(frame, image.convert("RGBA")) <= (0 if kind == "gif" else 2)
    if kind == "gif":
        with av.open(io.BytesIO(data)) as container:
            for frame, other in zip(frames, container.decode(video=0), strict=True):
                assert difference(frame, other.to_ndarray(format="rgba")) == 0


@pytest.mark.parametrize("kind", ["gif", "apng", "webp"])
def test_a_frame_is_the_same_in_any_order(kind):
    composer, frames = composed(animations.animated(kind))
    for number in np.random.default_rng(0).permutation(len(frames)):
        assert np.array_equal(composer.frame(int(number)), frames[number])


def test_a_cleared_area_is_transparent_without_a_transparent_colour():
    red = np.full((8, 8, 4), (255, 0, 0, 255), np.uint8)
    blue = np.full((4, 4, 4), (0, 0, 255, 255), np.uint8)
    pieces = [animations.Piece(red, disposal=1, blends=False),
              animations.Piece(blue, blends=False)]  # fmt: skip
    _, frames = composed(animations.gif_file((8, 8), pieces))
    assert tuple(frames[1][0, 0]) == (0, 0, 255, 255) and frames[1][7, 7, 3] == 0


def test_a_frame_of_16_bits_keeps_them():
    from ip2p_batch.media.images import png

    def encode(image, _):
        buffer = io.BytesIO()
        Image.new("RGB", (1, 1)).save(buffer, "PNG")
        return png.with_pixels(buffer.getvalue(), image)

    rng = np.random.default_rng(1)
    images = [rng.integers(0, 65536, (6, 8, 4)).astype(np.uint16) for _ in range(2)]
    pieces = [animations.Piece(image, blends=False) for image in images]
    _, frames = composed(animations.apng_file((8, 6), pieces, encode=encode))
    assert all(np.array_equal(a, b) for a, b in zip(frames, images, strict=True))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 255), min_size=8, max_size=8))
def test_blending_is_that_of_porter_and_duff(values):
    top, below = (np.array(part, np.uint8).reshape(1, 1, 4) for part in (values[:4], values[4:]))
    found = blend(top, below)[0, 0]
    pieces = [animations.Piece(below, blends=False), animations.Piece(top)]
    wanted = list(by_the_rules(pieces, (1, 1)))[1][0, 0]
    assert abs(found[3] - wanted[3]) <= 0.5
    if found[3]:
        error = np.abs(found[:3] - wanted[:3])
        assert (error * wanted[3] / 255 <= 1).all()
