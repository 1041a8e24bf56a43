"""Optical flow between two source frames by DIS, with occlusion checks; no model weights."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ..frame import Image, Mask

#: For editing, flow is computed at this longest side in pixels; latents are smaller.
LONGEST_SIDE = 256
#: Flow is computed with both sides at least this long: below about 32 rows OpenCV's DIS returns
#: NaN or crashes.
SHORTEST_SIDE = 64
#: A pixel whose neighbourhood differs by more than this many grey levels has no correspondence.
_MAX_DIFFERENCE = 24

Flow = npt.NDArray[np.float32]
Selection = npt.NDArray[np.bool_]


class Motion(NamedTuple):
    """Where each pixel of a target frame is in a reference frame.

    Attributes:
        flow: shape ``(h, w, 2)``, x and y, in units of the image's width and height:
            ``target(p)`` looks like ``reference(p + flow(p))``.
        occluded: shape ``(h, w)``, True where the reference does not show that pixel.
    """

    flow: Flow
    occluded: Selection


def backward_flow(target: Image, reference: Image) -> Motion:
    """Flow for warping a reference frame to a target frame: fast, with strict occlusion checks.

    DIS (Kroeger et al., ECCV 2016, "Fast Optical Flow using Dense Inverse Search") in both
    directions. A pixel counts as occluded if the two flows are not consistent
    (:func:`inconsistent`), or if it differs from its correspondence in the reference: a search that
    fails in both directions gives two small flows that are consistent.

    Args:
        target, reference: images of one shape.

    Returns:
        Motion at working size: sides from :data:`SHORTEST_SIDE` to :data:`LONGEST_SIDE`.
    """
    return _checked_motion(*_working_size_flows(target, reference))


def bidirectional_flow(target: Image, reference: Image) -> tuple[Motion, Motion]:
    """:func:`backward_flow` from target to reference and from reference to target, in one search.

    >>> images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    >>> _, reverse = bidirectional_flow(*images)
    >>> np.array_equal(reverse.flow, backward_flow(images[1], images[0]).flow)
    True
    """
    grays, (forward, backward) = _working_size_flows(target, reference)
    return (
        _checked_motion(grays, (forward, backward)),
        _checked_motion(grays[::-1], (backward, forward)),
    )


def _working_size_flows(
    target: Image, reference: Image
) -> tuple[tuple[Image, Image], tuple[Flow, Flow]]:
    """Both images in grey at working size, and the flows between them in pixels."""
    grays = (_gray(target, LONGEST_SIDE), _gray(reference, LONGEST_SIDE))
    return grays, _dis_flows(*grays, cv2.DISOPTICAL_FLOW_PRESET_FAST)


def _checked_motion(grays: tuple[Image, Image], flows: tuple[Flow, Flow]) -> Motion:
    warped = cv2.remap(
        grays[1], *_coordinates(flows[0]), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    mismatches = cv2.blur(cv2.absdiff(grays[0], warped), (5, 5)) > _MAX_DIFFERENCE
    return Motion(_relative(flows[0]), inconsistent(*flows) | mismatches)


def measured_flow(target: Image, reference: Image) -> Motion:
    """Flow for metrics: at the images' own size, with the usual consistency check only.

    DIS with the slower "medium" preset; occlusion as in Lai et al. (ECCV 2018) and UnFlow.

    Args:
        target, reference: images of one shape, sides at least :data:`SHORTEST_SIDE` (smaller
            ones are enlarged).
    """
    gray = [_gray(image, max(target.shape[:2])) for image in (target, reference)]
    forward, backward = _dis_flows(gray[0], gray[1], cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return Motion(_relative(forward), inconsistent(forward, backward))


def inconsistent(forward: Flow, backward: Flow) -> Selection:
    """Where two flows in opposite directions, in pixels, do not cancel out.

    ``|f + b|^2 > 0.01 (|f|^2 + |b|^2) + 0.5``, with b at the end of f (Sundaram, Brox, Keutzer,
    ECCV 2010). A flow that leads out of the image is inconsistent, too.
    """
    returned = cv2.remap(
        backward,
        *_coordinates(forward),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(1e4, 1e4),  # outside the reference: never cancels out
    )
    error = _squared_length(forward + returned)
    length = _squared_length(returned)
    bound = 0.01 * (_squared_length(forward) + length) + 0.5
    mask: Selection = (error > bound) | (length > 5e3**2)
    return mask


def warp_image(reference: Image, flow: Flow) -> npt.NDArray[np.float32]:
    """Warp the reference image to the target: ``reference(p + flow(p))``, bilinear.

    Args:
        reference: uint8 or float, shape ``(h, w, channels)``.
        flow: of :class:`Motion`, of any size.

    Returns:
        float32, of the reference's shape.
    """
    height, width = reference.shape[:2]
    coordinates = target_coordinates(flow, (width, height))
    return np.asarray(remap(reference.astype(np.float32), coordinates), dtype=np.float32)


def followed_mask(mask: Mask, flow: Flow) -> Mask:
    """A mask of the reference, warped to the target: ``mask(p + flow(p))``, bilinear."""
    height, width = mask.shape
    return np.asarray(remap(mask, target_coordinates(flow, (width, height))), np.uint8)


def target_coordinates(flow: Flow, size: tuple[int, int]) -> Flow:
    """Where the flow leads from each pixel of an image.

    Args:
        flow: of :class:`Motion`, of any size.
        size: width and height of the image.

    Returns:
        x and y in pixels, shape ``(height, width, 2)``, for :func:`remap`.
    """
    width, height = size
    resized = cv2.resize(flow, size, interpolation=cv2.INTER_LINEAR)
    pixels = cv2.multiply(resized, (float(width), float(height), 0.0, 0.0))
    return np.asarray(cv2.add(pixels, _grid(size)), dtype=np.float32)


def remap(picture: npt.NDArray[Any], coordinates: Flow) -> npt.NDArray[Any]:
    """Sample an image at coordinates, bilinear, in its own type; edges are replicated."""
    return np.asarray(
        cv2.remap(picture, coordinates, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    )


@lru_cache(maxsize=4)
def _grid(size: tuple[int, int]) -> Flow:
    x, y = np.meshgrid(*(np.arange(side, dtype=np.float32) for side in size))
    return np.dstack([x, y])


def _dis_flows(target: Image, reference: Image, preset: int) -> tuple[Flow, Flow]:
    # DIS splits the image among threads: use one, so that results do not depend on the machine.
    cv2.setNumThreads(1)
    dis = cv2.DISOpticalFlow.create(preset)
    return dis.calc(target, reference, None), dis.calc(reference, target, None)


def _squared_length(flow: Flow) -> npt.NDArray[np.float32]:
    """Squared length of each vector; written out, since numpy sums slowly over a short axis."""
    x, y = flow[..., 0], flow[..., 1]
    length: npt.NDArray[np.float32] = x * x + y * y
    return length


def _coordinates(flow: Flow) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Absolute x and y of the ends of a flow in pixels."""
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
