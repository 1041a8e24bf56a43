"""From an edited frame or image at the edit size to the result at the source's size."""

from __future__ import annotations

import numpy as np

from ..frame import Alpha, FullImage, Image, Mask
from ..masks.shape import reduced
from ..media.alpha import partly_visible
from ..media.depth import Samples16, to_8_bits, to_16_bits
from ..media.hdr.tone import ToneMap
from ..media.resize import Resize
from ..recipe import Recipe
from ..transfer.apply import apply
from ..transfer.model import fit

#: Of 8 bits, in 16 bits.
_HALF_STEP = 257 // 2


def keeps_depth(recipe: Recipe) -> bool:
    """Whether results of a source of more than 8 bits a sample have more than 8 bits."""
    return recipe.detail != "edit"


def needs_source(recipe: Recipe, resize: Resize, *, deep: bool, transparent: bool = False) -> bool:
    """Whether results are made from the full-size source, and not from the edit alone.

    An edit at about the source's size has all its detail, but only 8 bits a sample, and the colours
    of partly transparent pixels only mixed with their surroundings.

    Args:
        deep: whether results have more than 8 bits a sample.
        transparent: whether the source has pixels that are not opaque.
    """
    needs = resize.enlarges or deep or transparent
    return recipe.detail == "tiles" or (recipe.detail == "source" and needs)


def at_full_size(
    resize: Resize,
    source: Image,
    edited: Image,
    full: FullImage,
    alpha: Alpha | None = None,
    mask: Mask | None = None,
) -> FullImage:
    """The result of an edit that :func:`needs_source`.

    Args:
        source, edited, full: as for :func:`transferred`.
        alpha: opacity of ``full``, if it has transparency. Where it is partial, the model has seen
            a mix with the surroundings, so the edit is transferred to the own colours there.
        mask: what the edit may change, at full size; what it protects is not pasted here.

    Returns:
        as :func:`transferred`.
    """
    if resize.enlarges:
        return transferred(resize, source, edited, full, mask)
    if full.dtype == np.uint8:
        result: FullImage = resize.restore(edited)
    else:
        result = deepened(resize, source, edited, to_16_bits(full), mask)
    if alpha is None or not (partial := partly_visible(alpha)).any():
        return result
    own = transferred(resize, source, edited, full, mask)
    return np.where(partial[..., None], own, result)


def hdr_at_full_size(
    resize: Resize,
    source: Image,
    edited: Image,
    full: Samples16,
    mapping: ToneMap,
    *,
    detail: bool,
    mask: Mask | None = None,
) -> Samples16:
    """The result of an edit of HDR that stays HDR, in toned samples.

    The edit, of SDR images, is converted to toned samples; its model is then applied to those of
    the source. So colours and light that SDR does not have are changed like their neighbours, and
    none changes without an edit.

    Args:
        source, edited: SDR, as for :func:`transferred`.
        full: toned samples of the source.
        detail: whether the result has the source's detail, or the edit's.
        mask: as for :func:`at_full_size`.
    """
    if not detail:
        return mapping.from_sdr(resize.restore(edited))
    before, after = (to_8_bits(mapping.from_sdr(image)) for image in (source, edited))
    result = transferred(resize, before, after, full, mask)
    # Above SDR white, small steps of toned samples are large steps of light.
    return np.asarray(np.minimum(result, np.maximum(full, mapping.white)), np.uint16)


def transferred(
    resize: Resize, source: Image, edited: Image, full: FullImage, mask: Mask | None = None
) -> FullImage:
    """The edit at full size, with the detail of the source.

    Args:
        source, edited: at the edit size, uint8, with padding.
        full: the source, of the stored size.
        mask: what the edit may change, at full size; the rest says nothing about the edit.

    Returns:
        of the shape and type of ``full``.
    """
    small = None if mask is None else reduced(mask, resize.content, (0, 0))
    model = fit(resize.without_padding(source), resize.without_padding(edited), small)
    return apply(model, full)


def deepened(
    resize: Resize, source: Image, edited: Image, full: Samples16, mask: Mask | None = None
) -> Samples16:
    """An edit at about the source's size, with the source's depth.

    This is :func:`transferred`, limited to half a step of 8 bits around the edit. So it is smooth
    where the edit is only rounded, and it is the edit if it is rounded.

    Args, returns: as :func:`transferred`.
    """
    edit = to_16_bits(resize.restore(edited)).astype(np.int32)
    smooth = transferred(resize, source, edited, full, mask)
    limited = np.clip(smooth, edit - _HALF_STEP, edit + _HALF_STEP)
    return np.asarray(np.clip(limited, 0, 65535), dtype=np.uint16)
