"""Samples of more than 8 bits become RGB of 16 bits by the standard's formula, and return."""

import av
import numpy as np
import pytest

from ip2p_batch.jobs.video_facts import ColorFacts
from ip2p_batch.media.depth import to_8_bits, to_16_bits
from ip2p_batch.media.video import color
from ip2p_batch.media.video.deep_color import from_rgb48, to_rgb48
from ip2p_batch.media.video.pixel_formats import format_depth

COLORS = [ColorFacts(matrix=m, full_range=full) for m in (1, 6, 9) for full in (False, True)]


def frame_of(pix_fmt, *planes):
    """Make a frame; each plane is an array, or one value."""
    shape = next(p.shape for p in planes if isinstance(p, np.ndarray))
    frame = av.VideoFrame(shape[1], shape[0], pix_fmt)
    for plane, samples in zip(frame.planes, planes, strict=True):
        padded = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        padded[:, : plane.width] = samples
        plane.update(padded.tobytes())
    return frame


def planes_of(frame):
    return [
        np.frombuffer(p, np.uint16).reshape(p.height, -1)[:, : p.width].copy() for p in frame.planes
    ]


def by_formula(planes, depth, facts):
    """Convert by ITU-T H.273, 8.3, in float64."""
    kr, kb = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}[facts.matrix]
    y, cb, cr = (plane.astype(float) for plane in planes)
    if facts.full_range:
        top = (1 << depth) - 1
        y, cb, cr = y / top, (cb - (1 << (depth - 1))) / top, (cr - (1 << (depth - 1))) / top
    else:
        unit = 1 << (depth - 8)
        y, cb, cr = (y / unit - 16) / 219, (cb / unit - 128) / 224, (cr / unit - 128) / 224
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return np.stack([red, green, blue], -1) * 65535


def random_planes(depth, seed=0, shape=(32, 48)):
    """Random samples whose RGB is in range."""
    rng = np.random.default_rng(seed)
    top = 1 << depth
    luma = rng.integers(top * 2 // 5, top * 3 // 5, shape)
    chroma = rng.integers(top * 3 // 7, top * 4 // 7, (2, *shape))
    return [plane.astype(np.uint16) for plane in (luma, *chroma)]


@pytest.mark.parametrize("facts", COLORS, ids=str)
@pytest.mark.parametrize("depth", [9, 10, 12, 16])
def test_samples_are_converted_by_the_formula(depth, facts):
    planes = random_planes(depth)
    rgb = to_rgb48(frame_of(f"yuv444p{depth}le", *planes), facts)
    expected = by_formula(planes, depth, facts)
    assert (expected > 0).all() and (expected < 65535).all()
    assert rgb.dtype == np.uint16 and np.abs(rgb - expected).max() <= 0.55


@pytest.mark.parametrize("facts", COLORS, ids=str)
@pytest.mark.parametrize("depth", [10, 12])
@pytest.mark.parametrize("stored", ["rgb48", "two bits more"])
def test_samples_return_unchanged(depth, facts, stored):
    planes = random_planes(depth, seed=1)
    rgb = to_rgb48(frame_of(f"yuv444p{depth}le", *planes), facts)
    if stored != "rgb48":  # as ffv1 stores them
        rgb = to_rgb48(from_rgb48(rgb, facts, f"gbrp{depth + 2}le"), ColorFacts())
    again = from_rgb48(rgb, facts, f"yuv444p{depth}le")
    assert all(map(np.array_equal, planes_of(again), planes))


@pytest.mark.parametrize("full_range", [False, True])
def test_black_and_white_are_exact(full_range):
    facts = ColorFacts(full_range=full_range)
    low, high = (0, 1023) if full_range else (64, 940)
    luma = np.full((4, 6), low, np.uint16)
    luma[:, 3:] = high
    frame = frame_of("yuv420p10le", luma, 512, 512)
    rgb = to_rgb48(frame, facts)
    assert (rgb[:, :3] == 0).all() and (rgb[:, 3:] == 65535).all()
    assert np.array_equal(planes_of(from_rgb48(rgb, facts, "yuv420p10le"))[0], luma)


def test_samples_out_of_range_are_clipped():
    luma = np.array([[0, 1023]], np.uint16)
    rgb = to_rgb48(frame_of("yuv444p10le", luma, 512, 512), ColorFacts())
    assert rgb[0, :, 0].tolist() == [0, 65535]
    full = from_rgb48(np.full((2, 2, 3), (0, 0, 65535), np.uint16), ColorFacts(full_range=True),
                      "yuv444p10le")  # fmt: skip
    assert planes_of(full)[1].max() == 1023  # 1023.5 by the formula


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p10le", "yuv420p12le"])
def test_smooth_colours_survive_chroma_subsampling(pix_fmt):
    facts, depth = ColorFacts(), format_depth(pix_fmt)
    y, x = np.mgrid[0:64, 0:96]
    unit = 1 << (depth - 8)
    frame = av.VideoFrame(96, 64, pix_fmt)
    planes = [np.rint(unit * (60 + 0.9 * x + 0.7 * y))]
    for plane in frame.planes[1:]:
        v, u = np.mgrid[0 : plane.height, 0 : plane.width]
        planes.append(np.rint(unit * (110 + 24 * u / plane.width + 12 * v / plane.height)))
    again = planes_of(from_rgb48(to_rgb48(frame_of(pix_fmt, *planes), facts), facts, pix_fmt))
    for plane, original in zip(again, planes, strict=True):
        assert np.abs(plane.astype(int) - original).max() <= 1


@pytest.mark.parametrize("depth", [9, 10, 12, 14, 16])
def test_rgb_returns_unchanged(depth):
    levels = np.linspace(0, (1 << depth) - 1, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    planes = (levels, levels[::-1], levels.T)
    rgb = to_rgb48(frame_of(f"gbrp{depth}le", *planes), ColorFacts())
    assert (rgb.min(), rgb.max()) == (0, 65535)
    again = planes_of(from_rgb48(rgb, ColorFacts(), f"gbrp{depth}le"))
    assert all(map(np.array_equal, again, planes))


def test_rgb_is_rounded_to_the_nearest_level():
    samples = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    frame = from_rgb48(np.dstack([samples] * 3), ColorFacts(), "gbrp10le")
    assert np.array_equal(planes_of(frame)[0], np.rint(samples * (1023 / 65535)))


@pytest.mark.parametrize("depth", [10, 12, 16])
def test_grey_is_full_range(depth):
    levels = np.linspace(0, (1 << depth) - 1, 256).round().astype(np.uint16).reshape(16, 16)
    rgb = to_rgb48(frame_of("gray16le" if depth == 16 else f"gray{depth}le", levels), ColorFacts())
    exact = levels * (65535 / ((1 << depth) - 1))
    assert np.abs(rgb - exact[..., None]).max() <= 1 and rgb.max() == 65535


@pytest.mark.parametrize("pix_fmt", ["yuva444p10le", "gbrap12le", "rgba64le", "ya16le", "p010le",
                                     "gbrpf32le", "xyz12le", "yuv420p"])  # fmt: skip
@pytest.mark.parametrize("size", [None, (30, 22)])
def test_every_kind_of_format_becomes_rgb(pix_fmt, size):
    image = np.full((32, 48, 3), (30, 200, 40), np.uint8)
    frame = color.from_rgb(image, ColorFacts(), pix_fmt)
    rgb = to_rgb48(frame, ColorFacts(), size)
    assert rgb.dtype == np.uint16 and rgb.shape == ((22, 30, 3) if size else (32, 48, 3))
    expected = color.to_rgb(frame, ColorFacts(), size)
    assert np.abs(to_8_bits(rgb).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("pix_fmt", ["yuv444p10le", "gbrp12le"])
def test_an_image_of_8_bits_is_stored_exactly(pix_fmt):
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    frame = from_rgb48(to_16_bits(image), ColorFacts(), pix_fmt)
    assert frame.format.name == pix_fmt
    assert np.array_equal(to_8_bits(to_rgb48(frame, ColorFacts())), image)


@pytest.mark.parametrize("size", [(7, 5), (8, 5), (7, 6), (1, 1)])
def test_odd_sides_of_subsampled_formats_are_written(size):
    width, height = size
    image = np.full((height, width, 3), (9000, 50000, 30000), np.uint16)
    rgb = to_rgb48(from_rgb48(image, ColorFacts(), "yuv420p10le"), ColorFacts())
    assert rgb.shape == image.shape and np.abs(rgb.astype(int) - image).max() <= 110  # a step is 75
