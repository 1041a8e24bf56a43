"""Optical flow between source frames, occlusion, and latents moved along it."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ip2p_batch.editing.warp import warp
from ip2p_batch.temporal.flow import LONGEST_SIDE, Motion, backward_flow


def texture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=(height, width, 3)), (0, 0), 2)
    return np.clip(128 + 250 * noise, 0, 255).astype(np.uint8)


def test_a_shift_is_found_in_units_of_the_image():
    wide = texture(96, 200)
    target, reference = wide[:, 6:166].copy(), wide[:, :160].copy()  # moved by 6 pixels
    flow, occluded = backward_flow(target, reference)
    inner = np.s_[10:-10, 10:-20]
    assert np.median(flow[inner][..., 0]) * 160 == pytest.approx(6, abs=0.2)
    assert np.median(np.abs(flow[inner][..., 1])) * 96 < 0.2
    assert not occluded[inner].any()


def test_what_a_moving_thing_uncovers_does_not_show_the_thing():
    ground, thing = texture(128, 128) // 2, texture(40, 40, seed=1) // 2 + 127
    before, after = ground.copy(), ground.copy()
    before[44:84, 30:70] = thing
    after[44:84, 42:82] = thing
    flow, occluded = backward_flow(after, before)
    found, _ = warp(torch.from_numpy(before).permute(2, 0, 1), Motion(flow, occluded))
    uncovered = found[:, 46:82, 32:40][:, ~torch.from_numpy(occluded[46:82, 32:40])]
    assert uncovered.max() < thing.min()
    assert occluded[5:35, 10:110].mean() < 0.15  # ground, all the while


def test_pixels_without_correspondence_are_occluded():
    _, occluded = backward_flow(texture(128, 128) // 2, texture(128, 128, seed=1) // 2 + 127)
    assert occluded.mean() > 0.9


def test_what_enters_the_image_is_occluded():
    wide = texture(96, 220)
    target, reference = wide[:, 20:180].copy(), wide[:, :160].copy()
    _, occluded = backward_flow(target, reference)
    assert occluded[:, -15:].mean() > 0.9


def test_flow_does_not_depend_on_the_machines_threads():
    one, two = texture(64, 96), texture(64, 96, seed=3)
    flows = []
    for threads in (1, 4):
        cv2.setNumThreads(threads)
        flows.append(backward_flow(one, two)[0])
    assert np.array_equal(flows[0], flows[1])


@settings(max_examples=15)
@given(st.integers(1, 40).map(lambda n: 8 * n), st.integers(1, 40).map(lambda n: 8 * n))
@example(8, 8)
@example(8, 512)  # OpenCV's DIS crashes on so few rows
@example(512, 8)
def test_images_of_any_size_work(height, width):
    picture = texture(height, width)
    flow, occluded = backward_flow(picture, picture)
    assert flow.shape[:2] == occluded.shape
    assert max(occluded.shape) <= max(LONGEST_SIDE, 64)
    assert np.isfinite(flow).all()
    assert np.abs(flow).max() < 0.02  # nothing moved


def test_without_motion_latents_do_not_change():
    latents = torch.randn(4, 9, 16)
    moved, visible = warp(
        latents, Motion(np.zeros((144, 256, 2), np.float32), np.zeros((144, 256), bool))
    )
    torch.testing.assert_close(moved, latents, rtol=0, atol=1e-5)
    assert torch.equal(visible, torch.ones(9, 16))


def test_latents_are_warped_to_the_target():
    latents = torch.randn(1, 8, 16)
    flow = np.zeros((64, 128, 2), np.float32)
    flow[..., 0] = 3 / 16  # three latent pixels to the right, in the reference
    moved, _ = warp(latents, Motion(flow, np.zeros((64, 128), bool)))
    torch.testing.assert_close(moved[..., :-3], latents[..., 3:], rtol=0, atol=1e-5)


def test_a_half_hidden_latent_counts_half():
    occluded = np.zeros((64, 64), bool)
    occluded[:, 4:8] = True
    _, visible = warp(torch.zeros(1, 8, 8), Motion(np.zeros((64, 64, 2), np.float32), occluded))
    assert visible[0, 0] == pytest.approx(0.5)
    assert visible[0, 1] == 1
