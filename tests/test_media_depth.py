"""Samples of 8 and 16 bits."""

import numpy as np

from ip2p_batch.media.depth import to_8_bits, to_16_bits


def test_every_sample_of_16_bits_is_rounded_to_the_nearest_of_8():
    samples = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    rounded = to_8_bits(samples)
    assert rounded.dtype == np.uint8 and rounded.shape == samples.shape
    assert np.array_equal(rounded, (samples.astype(int) * 2 * 255 + 65535) // (2 * 65535))


def test_samples_of_8_bits_return_from_16_bits_unchanged():
    samples = np.arange(256, dtype=np.uint8)
    deep = to_16_bits(samples)
    assert deep.dtype == np.uint16 and (deep[0], deep[255]) == (0, 65535)
    assert np.array_equal(to_8_bits(deep), samples)


def test_samples_that_have_the_depth_are_not_copied():
    shallow, deep = np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint16)
    assert to_8_bits(shallow) is shallow and to_16_bits(deep) is deep
