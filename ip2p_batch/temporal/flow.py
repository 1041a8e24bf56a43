"""Optical flow between two source frames, without weights: DIS, with a check for occlusion."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ..frame import Image

#: For editing, flow is computed at this longest side; latents are smaller still.
LONGEST_SIDE = 256
#: ... and never at a shorter side than this: below about 32 rows OpenCV's DIS gives NaN or crashes.
SHORTEST_SIDE = 64
#: A pixel whose neighbourhood differs by more than this many grey levels was not found.
_LARGEST_GAP = 24

Flow = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


class Motion(NamedTuple):
    """Where each pixel of a target frame is found in a reference frame.

    Attributes:
        flow: shape ``(h, w, 2)``, x and y, in units of the picture's width and height:
            ``target(p)`` looks like ``reference(p + flow(p))``.
        occluded: shape ``(h, w)``, True where the reference does not show that pixel.
    """

    flow: Flow
    occluded: Mask


def backward_flow(target: Image, reference: Image) -> Motion:
    """For moving a reference frame's latents to a target frame: fast, and wary.

    DIS (Kroeger et al., ECCV 2016, "Fast Optical Flow using Dense Inverse Search"), both ways. A
    pixel counts as occluded where the two ways do not cancel out (:func:`contradicted`), and where
    it looks unlike what was found, since a search that fails both ways gives two small flows that
    do cancel out.

    Args:
        target, reference: images of one shape.

    Returns:
        Motion at working size: sides from :data:`SHORTEST_SIDE` to :data:`LONGEST_SIDE`.
    """
    return _wary(*_at_work(target, reference))


def flow_both_ways(target: Image, reference: Image) -> tuple[Motion, Motion]:
    """``backward_flow(target, reference)`` and ``backward_flow(reference, target)`` for one search.

    >>> pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    >>> there, back = flow_both_ways(*pictures)
    >>> np.array_equal(back.flow, backward_flow(pictures[1], pictures[0]).flow)
    True
    """
    grays, (forward, backward) = _at_work(target, reference)
    return _wary(grays, (forward, backward)), _wary(grays[::-1], (backward, forward))


def _at_work(target: Image, reference: Image) -> tuple[tuple[Image, Image], tuple[Flow, Flow]]:
    """Both pictures at working size, and the flows between them."""
    grays = (_gray(target, LONGEST_SIDE), _gray(reference, LONGEST_SIDE))
    return grays, _both_ways(*grays, cv2.DISOPTICAL_FLOW_PRESET_FAST)


def _wary(grays: tuple[Image, Image], flows: tuple[Flow, Flow]) -> Motion:
    looks = cv2.remap(
        grays[1], *_places(flows[0]), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    mismatches = cv2.blur(cv2.absdiff(grays[0], looks), (5, 5)) > _LARGEST_GAP
    return Motion(_relative(flows[0]), contradicted(*flows) | mismatches)


def measured_flow(target: Image, reference: Image) -> Motion:
    """For measuring: at the pictures' own size, with the usual check alone.

    DIS at its slower "medium" setting; occlusion as in Lai et al. (ECCV 2018) and UnFlow.

    Args:
        target, reference: images of one shape, sides at least :data:`SHORTEST_SIDE` (smaller
            ones are enlarged).
    """
    gray = [_gray(image, max(target.shape[:2])) for image in (target, reference)]
    forward, backward = _both_ways(gray[0], gray[1], cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return Motion(_relative(forward), contradicted(forward, backward))


def contradicted(forward: Flow, backward: Flow) -> Mask:
    """Where two flows in pixels, each way one, do not cancel out.

    ``|f + b|^2 > 0.01 (|f|^2 + |b|^2) + 0.5``, with b looked up where f leads (Sundaram, Brox,
    Keutzer, ECCV 2010). What leads out of the picture is contradicted, too.
    """
    found = cv2.remap(
        backward,
        *_places(forward),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(1e4, 1e4),  # outside the reference: never cancels out
    )
    gap = _squared(forward + found)
    back = _squared(found)
    bound = 0.01 * (_squared(forward) + back) + 0.5
    wrong: Mask = (gap > bound) | (back > 5e3**2)
    return wrong


def moved(reference: Image, flow: Flow) -> npt.NDArray[np.float32]:
    """The reference picture as the target would show it: ``reference(p + flow(p))``, bilinear.

    Args:
        reference: uint8 or float, shape ``(h, w, channels)``.
        flow: of :class:`Motion`, of any size.

    Returns:
        float32, of the reference's shape.
    """
    height, width = reference.shape[:2]
    found = looked_up(reference.astype(np.float32), places(flow, (width, height)))
    return np.asarray(found, dtype=np.float32)


def places(flow: Flow, size: tuple[int, int]) -> Flow:
    """Where the flow leads from each pixel of a picture.

    Args:
        flow: of :class:`Motion`, of any size.
        size: width and height of the picture.

    Returns:
        x and y in pixels, shape ``(height, width, 2)``, for :func:`looked_up`.
    """
    width, height = size
    fitted = cv2.resize(flow, size, interpolation=cv2.INTER_LINEAR)
    pixels = cv2.multiply(fitted, (float(width), float(height), 0.0, 0.0))
    return np.asarray(cv2.add(pixels, _grid(size)), dtype=np.float32)


def looked_up(picture: npt.NDArray[Any], where: Flow) -> npt.NDArray[Any]:
    """A picture's values at these places, bilinear, in its own type; the edge goes on outside."""
    return np.asarray(
        cv2.remap(picture, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    )


@lru_cache(maxsize=4)
def _grid(size: tuple[int, int]) -> Flow:
    x, y = np.meshgrid(*(np.arange(side, dtype=np.float32) for side in size))
    return np.dstack([x, y])


def _both_ways(target: Image, reference: Image, preset: int) -> tuple[Flow, Flow]:
    # DIS parts the picture among threads: one, so that the result cannot depend on the machine.
    cv2.setNumThreads(1)
    dis = cv2.DISOpticalFlow.create(preset)
    return dis.calc(target, reference, None), dis.calc(reference, target, None)


def _squared(flow: Flow) -> npt.NDArray[np.float32]:
    """Length of each vector, squared. Spelt out: numpy sums over a short last axis slowly."""
    x, y = flow[..., 0], flow[..., 1]
    length: npt.NDArray[np.float32] = x * x + y * y
    return length


def _places(flow: Flow) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Absolute x and y to which a flow in pixels leads."""
    height, width = flow.shape[:2]
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    return x + flow[..., 0], y + flow[..., 1]


def _relative(flow: Flow) -> Flow:
    size = np.array((flow.shape[1], flow.shape[0]), dtype=np.float32)
    return np.divide(flow, size, dtype=np.float32)


def _gray(image: Image, longest: int) -> Image:
    height, width = image.shape[:2]
    scale = min(1.0, longest / max(height, width))
    size = (
        max(SHORTEST_SIDE, round(width * scale)),
        max(SHORTEST_SIDE, round(height * scale)),
    )
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
