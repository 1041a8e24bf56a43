"""The equations of HDR against published values, and tone mapping that can be undone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ip2p_batch.media.hdr import curves
from ip2p_batch.media.hdr.tone import ToneMap, tone_map

TEN_BITS = (np.arange(1024, dtype=np.uint32) * 65535 + 511) // 1023


def to_10_bits(samples):
    return (samples.astype(np.uint32) * 1023 + 32767) // 65535


@pytest.mark.parametrize(
    ("light", "signal"), [(0, 0), (100, 0.508078), (203, 0.580689), (1000, 0.751827), (10000, 1)]
)
def test_pq_has_the_values_of_bt2408(light, signal):
    assert curves.light_to_pq(light) == pytest.approx(signal, abs=1e-6)
    assert curves.pq_to_light(signal) == pytest.approx(light, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize(("signal", "scene"), [(0, 0), (0.5, 1 / 12), (0.75, 0.26496256), (1, 1)])
def test_hlg_has_the_values_of_bt2408(signal, scene):
    assert curves.hlg_to_scene(signal) == pytest.approx(scene, abs=1e-6)
    assert curves.scene_to_hlg(scene) == pytest.approx(signal, abs=1e-6)


def test_the_gamut_matrix_is_that_of_bt2087():
    expected = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    assert curves.gamut_matrix(9, 1) == pytest.approx(np.array(expected), abs=1e-4)
    assert curves.luma_weights(9) == pytest.approx([0.2627, 0.6780, 0.0593], abs=1e-4)


@pytest.mark.parametrize("peak", [100, 203, 400, 1000, 4000, 10000])
def test_the_tone_curve_keeps_the_dark_meets_white_at_the_peak_and_rises_everywhere(peak):
    light = curves.pq_to_light(np.linspace(0, 1, 2000))
    toned = curves.tone_curve(light, peak)
    assert (np.diff(toned) > 0).all() and (toned <= light * (1 + 1e-6)).all()
    assert curves.tone_curve(peak, peak) == pytest.approx(min(peak, 203), rel=1e-6)
    assert curves.tone_curve(20, peak) == pytest.approx(20, rel=1e-6)


@given(
    arrays.arrays(np.uint16, (4, 5, 3), elements=st.integers(0, 1023)),
    st.sampled_from([(16, 9), (18, 9), (16, 12)]),
    st.sampled_from([203.0, 1000.0, 4000.0, 10000.0]),
)
@settings(deadline=None)
def test_toned_samples_expand_to_the_same_10_bit_samples(codes, kind, peak):
    image = TEN_BITS[codes].astype(np.uint16)
    mapping = tone_map(*kind, peak)
    assert np.array_equal(to_10_bits(mapping.expand(mapping.tone(image))), codes)


def test_grey_stays_grey_and_sdr_white_is_reached_at_the_peak():
    for transfer, top in ((16, float(curves.light_to_pq(1000))), (18, 1.0)):
        mapping = ToneMap(transfer, 9, 1000)
        ramp = np.linspace(0, top, 300)[None, :, None] * 65535
        grey = np.repeat(np.rint(ramp).astype(np.uint16), 3, 2)
        sdr = mapping.to_sdr(mapping.tone(grey)).astype(int)
        assert np.ptp(sdr, axis=2).max() <= 8
        assert (np.diff(sdr[0, :, 0]) >= 0).all() and sdr[0, 0].max() == 0
        assert sdr[0, -1].min() > 65400


def test_light_below_the_knee_is_shown_as_bright_as_in_hdr():
    signal = float(curves.light_to_pq(20)) * 65535
    image = np.full((1, 1, 3), round(signal), np.uint16)
    mapping = ToneMap(16, 9, 1000)
    sdr = mapping.to_sdr(mapping.tone(image))[0, 0, 1] / 65535
    assert 203 * sdr**2.4 == pytest.approx(20, rel=0.01), "cd/m2 of a display with a white of 203"


def test_colours_outside_of_bt709_move_towards_their_grey():
    mapping = ToneMap(16, 9, 1000)
    green = np.array([[[0, 30000, 0]]], np.uint16)
    sdr = mapping.to_sdr(mapping.tone(green))[0, 0].astype(int)
    assert sdr[1] > sdr[0] and sdr[1] > sdr[2] and sdr.min() == 0


@given(arrays.arrays(np.uint8, (3, 4, 3), elements=st.integers(30, 225)))
@settings(deadline=None)
def test_sdr_samples_return_from_toned_ones(image):
    mapping = tone_map(16, 9, 1000.0)
    back = np.rint(mapping.to_sdr(mapping.from_sdr(image)) / 257)
    assert np.abs(back - image).max() <= 1
