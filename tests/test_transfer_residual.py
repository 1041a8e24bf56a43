"""The gate: noise and lines are left out, objects are kept."""

import cv2
import numpy as np

from ip2p_batch.transfer.residual import gate, gated


def test_noise_is_left_out():
    noise = np.random.default_rng(0).normal(0, 0.1, (3, 128, 128)).astype(np.float32)
    assert gated(noise) is None


def test_lines_that_are_too_coarse_are_left_out():
    """A line of a drawn edit has a dark and a light side, which cancel out over an area."""
    stripes = np.sin(np.arange(256) * 2 * np.pi / 8).astype(np.float32) * 0.4
    residual = np.broadcast_to(stripes[:, None], (192, 256, 3)).copy()
    assert not gate(residual)[:, 16:-16].any(), "except for stripes cut at the image's border"


def test_an_object_is_kept():
    residual = np.zeros((128, 128, 3), np.float32)
    cv2.circle(residual, (64, 64), 24, (0.6, -0.3, 0.2), -1)
    weight = gate(residual)
    assert weight[64, 64] > 0.9
    assert weight[5, 5] == 0
    kept = gated(residual.transpose(2, 0, 1))
    assert np.allclose(kept[64, 64], residual[64, 64], atol=0.05)
