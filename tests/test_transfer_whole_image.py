"""The whole-image fit: what it finds, and what it leaves out since it explains too little."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.transfer import model, whole_image
from ip2p_batch.transfer.apply import apply
from ip2p_batch.transfer.painting import strokes
from ip2p_batch.transfer.whole_image import NormalEquations

from .transfer_images import photo


def palette(source):
    """Five steps of tone, each of its own colour: no affine function of the source."""
    luma = cv2.cvtColor(source, cv2.COLOR_RGB2GRAY)
    stops = [(0, 0, 40), (120, 0, 120), (250, 60, 0), (250, 220, 60), (255, 255, 255)]
    lines = [
        np.interp(np.arange(256), np.linspace(0, 255, 5), column)
        for column in zip(*stops, strict=True)
    ]
    return np.stack([line[luma] for line in lines], axis=2).round().astype(np.uint8)


def painted(source, strength):
    planes = tuple(np.moveaxis(source, 2, 0))
    values = planes + strength * 255 * strokes(planes, 255.0)
    return np.clip(np.rint(np.moveaxis(values, 0, 2)), 0, 255).astype(np.uint8)


@settings(deadline=None, max_examples=20)
@given(
    matrix=st.lists(st.floats(-1, 1), min_size=9, max_size=9),
    offset=st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3),
)
def test_the_global_fit_finds_an_affine_map_of_the_colours(matrix, offset):
    rng = np.random.default_rng(1)
    regressors = rng.random((3, 20, 30), dtype=np.float32)
    matrix, offset = np.reshape(matrix, (3, 3)), np.asarray(offset)
    target = np.einsum("on,nhw->ohw", matrix, regressors) + offset[:, None, None]
    equations = NormalEquations.of(regressors, target.astype(np.float32))
    found, shift = equations.coefficients(equations.solve(range(3), ridge=1e-7))
    assert np.allclose(found, matrix, atol=1e-3)
    assert np.allclose(shift, offset, atol=1e-3)


def test_a_regressor_of_one_value_gets_no_weight():
    regressors = np.stack([np.full((8, 8), 0.5, np.float32), np.eye(8, dtype=np.float32)])
    equations = NormalEquations.of(regressors, np.stack([regressors[1]] * 3))
    weights = equations.solve(range(2), ridge=1e-4)
    found, _ = equations.coefficients(weights)
    assert equations.error(weights) < 1e-6
    assert abs(found[0, 0]) < 1e-3
    assert found[0, 1] == pytest.approx(1, abs=1e-2)


def test_one_strength_is_found_for_the_regressors_of_three_colours():
    rng = np.random.default_rng(4)
    planes = rng.random((9, 20, 30), dtype=np.float32)
    target = 0.7 * planes[6:] + planes[:3] - 0.2
    equations = NormalEquations.of(planes, target)
    strength, explained = equations.strength(range(6), range(6, 9), 1e-7)
    assert strength == pytest.approx(0.7, abs=1e-2)
    assert explained > 0
    left = equations.without(strength, range(6, 9))
    matrix, offset = left.coefficients(left.solve(range(6), 1e-7))
    assert np.allclose(matrix[:, :3], np.eye(3), atol=1e-2)
    assert np.allclose(offset, -0.2, atol=1e-2)


def test_a_palette_of_tones_is_a_tone_curve():
    source = photo(120, 160)
    edited = palette(source)
    found = model.fit(source, edited)
    assert found.curve is not None
    assert found.strokes == 0
    error = np.abs(apply(found, source).astype(int) - edited).mean()
    affine = np.abs(apply(model.fit(source, source // 2), source).astype(int) - source // 2).mean()
    assert error < 6 + affine


def test_a_threshold_of_luma_is_a_tone_curve():
    source = photo(120, 160)
    luma = cv2.cvtColor(source, cv2.COLOR_RGB2GRAY) / 255
    edited = np.dstack([np.rint(255 / (1 + np.exp(-20 * (luma - 0.5))))] * 3).astype(np.uint8)
    assert model.fit(source, edited).curve is not None


@pytest.mark.parametrize("edit", [lambda s: 255 - s, lambda s: s // 2 + 40])
def test_an_affine_edit_has_no_tone_curve(edit):
    source = photo(120, 160)
    assert model.fit(source, edit(source)).curve is None


def test_a_loss_of_fine_detail_is_no_paint():
    source = photo(120, 160)
    assert model.fit(source, cv2.GaussianBlur(source, (0, 0), 1.2)).strokes == 0


@pytest.mark.parametrize("strength", [0.4, 0.8])
def test_paint_is_found_with_its_strength(strength):
    source = photo(120, 160)
    assert model.fit(source, painted(source, strength)).strokes == pytest.approx(strength, abs=0.15)


def test_the_shares_of_curve_and_strokes_grow_without_a_step():
    assert [whole_image._share(gain, (0.2, 0.3)) for gain in (0.1, 0.25, 0.9)] == [
        0, pytest.approx(0.5), 1,
    ]  # fmt: skip
