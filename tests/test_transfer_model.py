"""Fitting the model of an edit: exact where the edit is in the model, 0 where nothing changes."""

import cv2
import numpy as np
import pytest

from ip2p_batch.transfer import model
from ip2p_batch.transfer.apply import apply
from ip2p_batch.transfer.painting import strokes

from .transfer_images import photo


def test_an_edit_that_changes_nothing_has_a_model_of_zeros():
    source = photo(48, 64)
    found = model.fit(source, source.copy())
    assert not found.weights.any()
    assert not found.grid.any()
    assert found.residual is None and found.curve is None and found.strokes == 0


def test_images_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="two shapes"):
        model.fit(photo(32, 32), photo(32, 40))


def test_the_local_fit_follows_an_edit_that_differs_between_left_and_right():
    guide = np.random.default_rng(2).random((3, 40, 120), dtype=np.float32)
    gain = np.where(np.arange(120) < 60, 0.5, -0.5).astype(np.float32)
    matrix, _ = model.local_fit(guide, guide * gain, radius=6, ridge=1e-5)
    assert np.allclose(np.diagonal(matrix[..., 20, 20]), 0.5, atol=0.02)
    assert np.allclose(np.diagonal(matrix[..., 20, 100]), -0.5, atol=0.02)


def test_the_ridge_of_the_local_fit_leads_to_no_change_of_contrast():
    guide = np.full((3, 32, 32), 0.4, np.float32)
    matrix, shift = model.local_fit(guide, np.full_like(guide, 0.1), radius=4, ridge=1e-3)
    assert np.allclose(matrix, 0, atol=1e-6)
    assert np.allclose(shift, 0.1, atol=1e-6)


def test_the_inverse_is_that_of_each_pixels_matrix():
    rng = np.random.default_rng(3)
    roots = rng.normal(size=(5, 3, 3))
    matrices = roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(3)
    parts = [
        matrices[:, i, j].astype(np.float32)
        for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    ]
    found = model._symmetric_inverse(*parts).transpose(2, 0, 1)
    assert np.allclose(found @ matrices, np.eye(3), atol=1e-2)


def test_paint_is_found_and_laid_in_strokes_of_the_sources_own_pixels():
    source = photo(120, 160)
    planes = tuple(np.moveaxis(source, 2, 0))
    painted = np.moveaxis(planes + 255 * strokes(planes, 255.0), 0, 2)
    edited = np.clip(np.rint(painted), 0, 255).astype(np.uint8)
    found = model.fit(source, edited)
    assert found.strokes == pytest.approx(1, abs=0.15)
    result = apply(found, source).astype(int)
    assert np.abs(result - edited).mean() < np.abs(source.astype(int) - edited).mean() / 2


def test_an_edit_of_the_colours_alone_has_no_strokes():
    source = photo(120, 160)
    assert model.fit(source, 255 - source).strokes == 0


def test_lines_that_are_drawn_along_edges_get_a_weight():
    source = photo(96, 128)
    grey = cv2.cvtColor(source, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    soft = cv2.GaussianBlur(grey, (5, 5), 1.0)
    strength = np.hypot(cv2.Sobel(soft, -1, 1, 0), cv2.Sobel(soft, -1, 0, 1))
    drawn = np.clip(255 * (0.1 + strength), 0, 255).astype(np.uint8)
    edited = np.dstack([drawn] * 3)
    error = apply(model.fit(source, edited), source).astype(int) - edited
    assert np.abs(error).mean() < 6, "the model draws the same lines"
    assert np.corrcoef(apply(model.fit(source, edited), source).ravel(), edited.ravel())[0, 1] > 0.9


def test_a_source_without_structure_gets_no_glaring_structure():
    ramp = np.linspace(40, 200, 256).astype(np.uint8)
    source = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (144, 256, 3)))
    edited = source.copy()
    edited[50:90, 100:140] = (220, 20, 20)
    full = cv2.resize(source, (640, 360), interpolation=cv2.INTER_LINEAR)
    background = apply(model.fit(source, edited), full)[:, 400:].astype(int) - full[:, 400:]
    assert np.abs(background).mean() < 3


def test_what_a_mask_protects_has_no_influence_on_the_fit():
    source = photo(90, 120)
    mask = np.zeros((90, 120), np.uint8)
    mask[:, 60:] = 255
    edited = np.where(mask[..., None] > 0, 255 - source, source)
    noisy = np.where(mask[..., None] > 0, edited, np.roll(source, 7, 1)).astype(np.uint8)
    one, other = (apply(model.fit(source, image, mask), source) for image in (edited, noisy))
    near = slice(60, None)  # the source itself is filtered over the edge of the mask
    assert np.abs(one[:, near].astype(int) - other[:, near]).mean() < 1
    masked, plain = (np.abs(image.astype(int) - (255 - source))[:, near].mean()
                     for image in (one, apply(model.fit(source, edited), source)))  # fmt: skip
    assert masked < 0.7 * plain, "an edit of half of the image is no mixture"


def test_a_mask_that_is_white_everywhere_changes_the_fit_by_rounding_only():
    source = photo(90, 120)
    edited = np.clip(source * 0.5 + 20, 0, 255).astype(np.uint8)
    full = np.full((90, 120), 255, np.uint8)
    one, other = (
        apply(model.fit(source, edited, full), source),
        apply(model.fit(source, edited), source),
    )
    assert np.abs(one.astype(int) - other).max() <= 2
    empty = np.zeros((90, 120), np.uint8)
    assert apply(model.fit(source, edited, empty), source).shape == source.shape
