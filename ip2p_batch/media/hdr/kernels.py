"""Loops over the pixels of HDR images, compiled by numba; see :mod:`.tone`.

Tables hold functions at ``r^8``, r from 0 to 1 in equal steps: eighth roots make PQ and gamma
nearly straight, so linear interpolation between a few thousand entries is exact to 16 bits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...transfer.kernels import compiled

Samples16 = npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float32]

_ZERO, _ONE, _HALF = (np.float32(value) for value in (0.0, 1.0, 0.5))
_WHITE = np.float32(65535)


@compiled
def look_up(table: Floats, value: np.float32) -> np.float32:
    """The table's function at ``value``, 0 to 1; values beyond count as 0 and 1."""
    value = min(max(value, _ZERO), _ONE)
    place = np.sqrt(np.sqrt(np.sqrt(value))) * np.float32(len(table) - 1)
    index = min(int(place), len(table) - 2)
    share = np.float32(place - np.float32(index))
    return np.float32(table[index] + share * (table[index + 1] - table[index]))


@compiled
def encoded(table: Floats, value: np.float32) -> np.uint16:
    """The sample of 16 bits, rounded, that a table from 0 to 1 has for ``value``."""
    return np.uint16(_WHITE * look_up(table, value) + _HALF)


@compiled
def tone(
    image: Samples16,
    linear: Floats,
    luma: Floats,
    system: Floats,
    curve: Floats,
    encode: Floats,
    result: Samples16,
) -> None:
    """HDR samples to toned ones, by the factor that the curve gives for the brightest channel.

    Args:
        image, result: shape ``(height, width, 3)``.
        linear: linear value, 0 to 1, of each sample; shape ``(65536,)``.
        luma: weights of the channels; shape ``(3,)``.
        system: table of the factor by luminance of HLG's OOTF; without an entry for PQ.
        curve: table of toned light by light, both 0 to 1.
        encode: table of the sample, 0 to 1, by toned light.
    """
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            red, green, blue = (
                linear[image[y, x, 0]],
                linear[image[y, x, 1]],
                linear[image[y, x, 2]],
            )
            factor = _ONE
            if len(system):
                factor = look_up(system, luma[0] * red + luma[1] * green + luma[2] * blue)
            brightest = factor * max(red, green, blue)
            if brightest > _ZERO:
                factor *= look_up(curve, brightest) / brightest
            result[y, x, 0] = encoded(encode, factor * red)
            result[y, x, 1] = encoded(encode, factor * green)
            result[y, x, 2] = encoded(encode, factor * blue)


@compiled
def expand(
    image: Samples16,
    linear: Floats,
    luma: Floats,
    system: Floats,
    curve: Floats,
    encode: Floats,
    result: Samples16,
) -> None:
    """The inverse of :func:`tone`.

    Args:
        linear: toned light, 0 to 1, of each sample.
        system: table of the divisor by luminance of HLG's inverse OOTF.
        curve: table of light by toned light.
        encode: table of the HDR sample, 0 to 1, by linear value.
    """
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            red, green, blue = (
                linear[image[y, x, 0]],
                linear[image[y, x, 1]],
                linear[image[y, x, 2]],
            )
            brightest = max(red, green, blue)
            factor = _ZERO
            if brightest > _ZERO:
                factor = look_up(curve, brightest) / brightest
            if len(system):
                luminance = factor * (luma[0] * red + luma[1] * green + luma[2] * blue)
                divisor = look_up(system, luminance)
                if divisor > _ZERO:
                    factor /= divisor
            result[y, x, 0] = encoded(encode, factor * red)
            result[y, x, 1] = encoded(encode, factor * green)
            result[y, x, 2] = encoded(encode, factor * blue)


@compiled
def convert_gamut(
    image: Samples16,
    linear: Floats,
    matrix: Floats,
    luma: Floats,
    encode: Floats,
    result: Samples16,
) -> None:
    """Samples of one set of primaries to another.

    Colours outside of the target move towards their own grey, of the same luminance.

    Args:
        linear: light, white 1, of each sample.
        matrix: between the primaries, shape ``(3, 3)``.
        luma: weights of the target's channels.
        encode: table of the sample, 0 to 1, by light up to 1.
    """
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            codes = image[y, x]
            r, g, b = linear[codes[0]], linear[codes[1]], linear[codes[2]]
            red = matrix[0, 0] * r + matrix[0, 1] * g + matrix[0, 2] * b
            green = matrix[1, 0] * r + matrix[1, 1] * g + matrix[1, 2] * b
            blue = matrix[2, 0] * r + matrix[2, 1] * g + matrix[2, 2] * b
            grey = min(max(luma[0] * red + luma[1] * green + luma[2] * blue, _ZERO), _ONE)
            low, high = min(red, green, blue), max(red, green, blue)
            share = _ONE
            if low < _ZERO:
                share = grey / (grey - low)
            if high > _ONE:
                share = min(share, (_ONE - grey) / (high - grey))
            result[y, x, 0] = encoded(encode, grey + share * (red - grey))
            result[y, x, 1] = encoded(encode, grey + share * (green - grey))
            result[y, x, 2] = encoded(encode, grey + share * (blue - grey))
