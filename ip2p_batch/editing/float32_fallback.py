"""Repeat in float32 what half precision spoils: images that are not finite, black or flat.

float16 ends at 65504, and some VAEs and UNets exceed it (diffusers #1484). The result is then not a
number, which shows as black. Such a frame is decoded again in float32 and, if that does not help,
edited again in float32: alone, so that the other frames of its batch stay bit-identical and the
result does not depend on them.

There is no second copy of the weights. They are upcast in place and cast back, which restores the
same bits, since float32 holds every value of the narrower types. Meanwhile they take twice their
memory; if that is not free, the frame is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch

from ..frame import Frame, Image
from .device_memory import is_out_of_memory
from .vae import VaeCodec

T = TypeVar("T")

#: An image whose channels all have a standard deviation below this many levels is flat ...
_FLAT = 1.0
#: ... which is a defect if its source has a channel with more than this.
_NOT_FLAT = 8.0
_DARK = 8.0  # mean level up to which a flat image is called black
_HALF_TYPES = (torch.float16, torch.bfloat16)

NOT_FINITE = "came out not finite (black)"
_BLACK = "came out black"
_ONE_COLOUR = "came out in one colour"


class Decoded(NamedTuple):
    """A decoded frame.

    Attributes:
        image: the image; None if it is not finite.
        defect: what is wrong with it, in words that follow "Frame 17"; empty if nothing is.
    """

    image: Image | None
    defect: str = ""


class Notes(dict[int, str]):
    """What was done about frames, by their numbers, in words that follow "Frame 17"."""

    def recovered(self, frame: Frame, defect: str, dtype: torch.dtype, how: str) -> None:
        """Note that a frame was decoded or edited again in float32."""
        self[frame.index] = f"{defect} in {_name(dtype)}; {how} again in float32"


def decode(
    codec: VaeCodec, latents: torch.Tensor, frames: Sequence[Frame], notes: Notes
) -> list[Decoded]:
    """Decode finished latents; repeat in float32 those that half precision spoils.

    Args:
        latents: of ``frames``, followed by those that pad the batch.
        notes: gets a line for each frame that was recovered.
    """
    vae = codec.vae
    decoded = _decode_once(codec, latents, frames)
    if vae.dtype not in _HALF_TYPES:
        return decoded
    half = vae.dtype
    # Latents that are not finite themselves have no better image.
    repeat = [n for n, d in enumerate(decoded) if d.defect and bool(latents[n].isfinite().all())]
    for n in repeat:

        def alone(n: int = n) -> Decoded:
            with upcast([vae]):
                return _decode_once(codec, latents[n : n + 1], frames[n : n + 1])[0]

        better = unless_out_of_memory(alone)
        if better is not None and not better.defect:
            notes.recovered(frames[n], decoded[n].defect, half, "decoded")
            decoded[n] = better
    return decoded


def _decode_once(codec: VaeCodec, latents: torch.Tensor, frames: Sequence[Frame]) -> list[Decoded]:
    images, not_finite = codec.decode(latents)
    return [
        Decoded(None, NOT_FINITE)
        if n in not_finite
        else Decoded(image, find_defect(image, frame.image))
        for n, (image, frame) in enumerate(zip(images, frames, strict=False))
    ]


def choose(
    frame: Frame, half: Decoded, full: Decoded | None, dtype: torch.dtype, notes: Notes
) -> Image | None:
    """Choose between two images of a frame; None if neither is finite.

    Args:
        half: the image in ``dtype``, with a defect.
        full: the image in float32; None if there is none (``dtype`` is float32 already, or
            memory ran out).
    """
    if full is not None and full.image is not None and (half.image is None or not full.defect):
        notes.recovered(frame, half.defect, dtype, "edited")
        if full.defect:
            notes[frame.index] += ", where it " + full.defect
        return full.image
    if half.image is not None:
        # A defect that float32 has, too, is the model's answer and not an overflow.
        where = f" in {_name(dtype)}" + (" and in float32" if full is not None else "")
        notes[frame.index] = f"{half.defect}{where}; left as it is"
    return half.image


def find_defect(image: Image, source: Image) -> str:
    """What is wrong with a finite edit of ``source``, see :class:`Decoded`; empty if nothing is.

    >>> import numpy as np
    >>> varied = np.arange(768, dtype=np.uint8).reshape(16, 16, 3)
    >>> find_defect(np.zeros_like(varied), varied), find_defect(varied, varied)
    ('came out black', '')
    >>> find_defect(varied // 255, varied // 99)  # a source that is nearly flat
    ''
    """
    # A sixteenth of the pixels suffices for nearly every image that is not flat.
    if _spread(image[::4, ::4]) >= _FLAT or _spread(image) >= _FLAT or _spread(source) < _NOT_FLAT:
        return ""
    return _BLACK if float(image.mean()) <= _DARK else _ONE_COLOUR


def _spread(image: Image) -> float:
    return float(image.reshape(-1, image.shape[-1]).std(axis=0).max())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# -- weights in float32 ---------------------------------------------------------------------


def is_half(module: Any) -> bool:
    """Whether a module computes in less than float32."""
    return module.dtype in _HALF_TYPES


@contextmanager
def upcast(modules: Iterable[Any]) -> Iterator[None]:
    """Hold the weights of ``modules`` in float32 in the block; restore their types afterwards."""
    tensors = {id(t): t for m in modules for t in (*m.parameters(), *m.buffers())}
    half = [(t, t.dtype) for t in tensors.values() if t.dtype in _HALF_TYPES]
    try:
        _convert((tensor, torch.float32) for tensor, _ in half)
        yield
    finally:
        _convert(half)


def _convert(tensors: Iterable[tuple[torch.Tensor, torch.dtype]]) -> None:
    # Weights made within inference mode could not be trained, nor changed outside of it.
    with torch.inference_mode(mode=False), torch.no_grad():
        for tensor, dtype in tensors:
            tensor.data = tensor.data.to(dtype)


# -- memory ---------------------------------------------------------------------------------


def unless_out_of_memory(work: Callable[[], T]) -> T | None:
    """Return ``work()``, or None if memory runs out."""
    try:
        return work()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    # After the handler: the error holds what ran out of memory.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None
