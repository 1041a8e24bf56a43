"""Conversions of 16 bits agree with LittleCMS, which converts 8."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from ip2p_batch.media.depth import to_8_bits, to_16_bits
from ip2p_batch.media.images import matrix_profile
from ip2p_batch.media.images.srgb import srgb_profile

from . import pictures

SRGB = matrix_profile.parse(srgb_profile())
GAMMA = pictures.sampled_curve(round(2.2 * 256))
TABLE = pictures.sampled_curve(*(round(65535 * (n / 40) ** 1.8) for n in range(41)))
CURVES = {
    "srgb": pictures.parametric_curve(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    "gamma": GAMMA,
    "table": TABLE,
    "identity": pictures.sampled_curve(),
    "function 0": pictures.parametric_curve(0, 1.8),
    "function 1": pictures.parametric_curve(1, 2.0, 1.1, -0.1),
    "function 2": pictures.parametric_curve(2, 2.0, 0.9, -0.05, 0.0),
    "function 4": pictures.parametric_curve(
        4, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0.0, 0.0
    ),
}


def by_littlecms(picture, profile):
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    source, target = (ImageCms.ImageCmsProfile(io.BytesIO(p)) for p in (profile, srgb_profile()))
    transform = ImageCms.buildTransform(source, target, picture.mode, "RGB", intent, flags)
    return np.asarray(ImageCms.applyTransform(picture, transform)).astype(int)


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_rgb_agrees_with_littlecms(curve):
    image = np.random.default_rng(0).integers(0, 256, (150, 90, 3)).astype(np.uint8)
    profile = pictures.wide_gamut_profile(curve)
    mine = matrix_profile.to_srgb_16_bits(to_16_bits(image), matrix_profile.parse(profile), SRGB)
    expected = by_littlecms(Image.fromarray(image), profile)
    difference = np.abs(to_8_bits(mine).astype(int) - expected)
    assert difference.max() <= 1 and difference.mean() < 0.03


@pytest.mark.parametrize("curve", [GAMMA, TABLE])
def test_grey_agrees_with_littlecms(curve):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    profile = pictures.grey_profile(curve)
    mine = matrix_profile.to_srgb_16_bits(to_16_bits(levels), matrix_profile.parse(profile), SRGB)
    expected = by_littlecms(Image.fromarray(levels), profile)
    assert np.abs(to_8_bits(mine).astype(int) - expected).max() <= 1


def test_all_levels_are_converted_and_not_those_of_8_bits():
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    profile = matrix_profile.parse(pictures.wide_gamut_profile(GAMMA))
    result = matrix_profile.to_srgb_16_bits(np.dstack([ramp] * 3), profile, SRGB)
    assert len(np.unique(result[..., 1])) > 40_000
    assert (np.diff(result[..., 1].ravel().astype(int)) >= 0).all()
    assert (result[0, 0] == 0).all() and (result[-1, -1] >= 65530).all()


def test_srgb_is_nearly_unchanged():
    image = np.random.default_rng(0).integers(0, 65536, (64, 64, 3)).astype(np.uint16)
    result = matrix_profile.to_srgb_16_bits(image, SRGB, SRGB)
    assert np.abs(result.astype(int) - image).max() <= 12


def test_the_result_does_not_depend_on_the_strips(monkeypatch):
    image = np.random.default_rng(0).integers(0, 65536, (31, 20, 3)).astype(np.uint16)
    profile = matrix_profile.parse(pictures.wide_gamut_profile())
    whole = matrix_profile.to_srgb_16_bits(image, profile, SRGB)
    monkeypatch.setattr(matrix_profile, "_STRIP_PIXELS", 60)
    assert np.array_equal(matrix_profile.to_srgb_16_bits(image, profile, SRGB), whole)


@pytest.mark.parametrize(
    "change",
    [
        lambda icc: icc.replace(b"RGB XYZ ", b"CMYKLab "),
        lambda icc: icc.replace(b"RGB XYZ ", b"RGB Lab "),
        lambda icc: icc.replace(b"cprt", b"A2B0"),  # tables have precedence
        lambda icc: icc.replace(b"rXYZ", b"qXYZ"),
        lambda icc: icc.replace(b"para\0\0\0\0\0\3", b"para\0\0\0\0\0\7"),
        lambda icc: icc[:140],
        # Black is not at zero, so black point compensation would change the colours.
        lambda icc: pictures.wide_gamut_profile(pictures.parametric_curve(2, 2, 0.9, 0, 0.02)),
        lambda icc: b"",
    ],
)
def test_profiles_of_other_kinds_and_damaged_ones_are_not_parsed(change):
    profile = pictures.wide_gamut_profile()
    assert matrix_profile.parse(profile) is not None
    assert matrix_profile.parse(change(profile)) is None


@given(st.sampled_from(sorted(CURVES)), st.lists(st.tuples(st.integers(0), st.integers(0, 255))))
def test_a_damaged_profile_is_no_error(curve, changes):
    profile = bytearray(pictures.wide_gamut_profile(CURVES[curve]))
    for place, value in changes:
        profile[place % len(profile)] = value
    parsed = matrix_profile.parse(bytes(profile))
    if parsed is not None:
        assert all(np.isfinite(c).all() and 0 <= c.min() <= c.max() <= 1 for c in parsed.curves)
