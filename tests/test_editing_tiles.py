"""Tiles cover an image, and their weights sum to one at every place."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.editing.tile_options import MARGIN, TileOptions, starts
from ip2p_batch.editing.tiles import TileGrid, add_tile, axis_weights, cut_image, ramp

from .test_import_weight import IMPORT, run

lengths = st.integers(1, 300)
axes = st.integers(1, 32).flatmap(
    lambda tile: st.tuples(lengths, st.just(tile), st.integers(0, tile - 1))
)
sides = st.integers(1, 700)
options = st.integers(0, 15).map(lambda n: TileOptions(size=128, overlap=8 * n, strength=0.5))
factors = st.sampled_from([1, 2, 4, 8])


def average(grid, field, denoise=lambda part: part):
    """The weighted mean of all tiles of a field."""
    total = np.zeros_like(field)
    for tile in grid.tiles:
        add_tile(total, denoise(grid.cut(field, tile)), grid.weights, tile)
    return total


def noise(*shape):
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


# -- one axis -----------------------------------------------------------------------------


@settings(deadline=None)
@given(axes)
def test_the_tiles_of_an_axis_cover_it_and_share_at_least_the_overlap(axis):
    length, tile, overlap = axis
    begins = starts(length, tile, overlap)
    assert begins[0] == 0
    assert begins[-1] == max(0, length - tile)
    steps = np.diff(begins)
    assert all(0 < step <= tile - overlap for step in steps)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1, "evenly spread"


@settings(deadline=None)
@given(axes)
def test_one_tile_less_would_not_cover_the_axis(axis):
    length, tile, overlap = axis
    count = len(starts(length, tile, overlap))
    assert count == 1 or tile + (count - 2) * (tile - overlap) < length


@settings(deadline=None)
@given(axes)
def test_the_weights_at_every_place_of_an_axis_are_positive_and_sum_to_one(axis):
    length, tile, overlap = axis
    begins = starts(length, tile, overlap)
    weights = axis_weights(tile, begins)
    assert weights.shape == (len(begins), tile) and weights.dtype == np.float32
    assert weights.min() > 0
    total = np.zeros(begins[-1] + tile)
    for begin, own in zip(begins, weights, strict=True):
        total[begin : begin + tile] += own
    assert np.abs(total - 1).max() < 1e-6


def test_weights_fall_to_borders_that_are_shared_and_stay_one_at_the_ends():
    first, second = axis_weights(8, (0, 4))
    rise = np.sin(np.pi / 8 * np.array([0.5, 1.5, 2.5, 3.5])) ** 2
    assert np.allclose(first, [1, 1, 1, 1, *rise[::-1]])
    assert np.allclose(second, [*rise, 1, 1, 1, 1])


def test_the_ramps_of_two_neighbours_sum_to_one_before_any_division():
    assert np.allclose(ramp(6, 6) + ramp(6, 6)[::-1], 1)
    assert ramp(0, 4).tolist() == [1, 1, 1, 1]


# -- two axes -----------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(sides, sides, options, factors)
def test_a_plan_counts_the_tiles_that_the_model_gets(width, height, tile_options, factor):
    grid = TileGrid.of_latents(width, height, tile_options, factor)
    assert len(grid.tiles) == tile_options.tile_count(width, height)
    assert len(set(grid.tiles)) == len(grid.tiles)
    pixels = grid.scaled(factor)
    assert pixels.tile == tile_options.size
    for covered, side in ((pixels.width, width), (pixels.height, height)):
        assert covered == max(side + 2 * MARGIN + -side % factor, tile_options.size)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 7))
def test_a_denoiser_that_returns_its_input_gives_the_field_back(width, height, overlap):
    grid = TileGrid(8, starts(height, 8, overlap), starts(width, 8, overlap))
    field = noise(2, grid.height, grid.width)
    assert np.abs(average(grid, field) - field).max() < 1e-5


def test_a_place_gets_the_weighted_mean_of_its_tiles():
    grid = TileGrid(4, (0,), (0, 2))
    total = np.zeros((4, 6), np.float32)
    for tile, value in zip(grid.tiles, (10.0, 20.0), strict=True):
        add_tile(total, np.full((4, 4), value, np.float32), grid.weights, tile)
    share = np.sin(np.pi / 4 * np.array([0.5, 1.5])) ** 2
    assert np.allclose(total, [10, 10, *(10 + 10 * share), 20, 20])


def test_tensors_and_arrays_are_averaged_alike():
    grid = TileGrid(8, starts(20, 8, 3), starts(30, 8, 3))
    field = noise(2, grid.height, grid.width)
    rows, columns = map(torch.from_numpy, grid.weights)
    total = torch.zeros(field.shape)
    for tile in grid.tiles:
        add_tile(total, 2 * grid.cut(torch.from_numpy(field), tile), (rows, columns), tile)
    assert np.array_equal(total.numpy(), average(grid, field, lambda part: 2 * part))


def test_a_strip_gets_its_own_rows_only():
    grid = TileGrid(4, (0, 3), (0,))
    whole, strip = np.zeros((7, 4), np.float32), np.zeros((4, 4), np.float32)
    for total, top in ((whole, 0), (strip, 3)):
        add_tile(total, np.ones((4, 4), np.float32), grid.weights, grid.tiles[1], top)
    assert np.array_equal(whole[3:], strip)
    assert not whole[:3].any()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 150), st.integers(1, 150))
def test_tiles_of_an_image_show_it_and_beyond_it_its_mirror_image(width, height):
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    grid = TileGrid.of_latents(width, height, TileOptions(64, 16, 1), 8).scaled(8)
    after = [covered - MARGIN for covered in (grid.height - height, grid.width - width)]
    padding = ((MARGIN, after[0]), (MARGIN, after[1]), (0, 0))
    expected = np.pad(image, padding, mode="symmetric")
    for tile in grid.tiles:
        part = cut_image(image, grid, tile)
        rows, columns = slice(tile.top, tile.top + 64), slice(tile.left, tile.left + 64)
        assert np.array_equal(part, expected[rows, columns])
        assert part.flags.c_contiguous


@pytest.mark.parametrize(
    "values",
    [(0, 0, 0.5), (100, 8, 0.5), (64, 64, 0.5), (64, -8, 0.5), (64, 4, 0.5), (64, 8, 1.1)],
)
def test_options_that_make_no_grid_are_refused(values):
    with pytest.raises(ValueError, match=r"pixels|strength"):
        TileOptions(*values)


def test_tiles_consist_of_whole_latents():
    with pytest.raises(ValueError, match="whole latents of 16"):
        TileGrid.of_latents(100, 100, TileOptions(64, 8, 0.5), 16)


def test_a_plan_counts_tiles_without_torch():
    done = run(IMPORT, "ip2p_batch.editing.tiles", "torch", "diffusers", "PIL", "av", "cv2")
    assert (done.returncode, done.stdout) == (0, "\n"), done.stdout + done.stderr
