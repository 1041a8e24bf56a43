"""What is done about pictures that half precision spoils: not finite, black, or of one colour.

float16 ends at 65504, and some autoencoders and UNets go beyond it (diffusers #1484); what then
comes out is not a number, and shown as a picture it is black. Such a frame is decoded again in
float32, and where that does not help, edited again in float32: alone, so that the frames beside it
keep their bits and the result does not depend on them.

No second copy of the weights is kept. They are widened in place and narrowed again, which gives
the same bits back, since float32 holds every value of the narrower types. While a frame is
mended the weights take twice their memory; where that is not there, it is not mended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch

from ..frame import Frame, Image
from .device_memory import is_out_of_memory
from .vae import Autoencoder

T = TypeVar("T")

#: A picture whose channels all have a standard deviation below this many levels is flat ...
_FLAT = 1.0
#: ... and that is worth another look where the source has a channel with more than this.
_LIVELY = 8.0
_DARK = 8.0  # mean level up to which a flat picture is called black
_HALVES = (torch.float16, torch.bfloat16)

NOT_FINITE = "came out not finite (black)"
_BLACK = "came out black"
_ONE_COLOUR = "came out in one colour"


class Attempt(NamedTuple):
    """One try at a frame.

    Attributes:
        image: the picture; None where it is not finite.
        flaw: what is wrong with it, in words that follow "Frame 17"; empty where all is well.
    """

    image: Image | None
    flaw: str = ""


class Notes(dict[int, str]):
    """What was done about frames, by their numbers, in words that follow "Frame 17"."""

    def mended(self, frame: Frame, flaw: str, dtype: torch.dtype, how: str) -> None:
        self[frame.index] = f"{flaw} in {_name(dtype)}; {how} again in float32"


def decode(
    autoencoder: Autoencoder, latents: torch.Tensor, frames: Sequence[Frame], notes: Notes
) -> list[Attempt]:
    """Pictures of finished latents; those that half precision spoils are decoded again in float32.

    Args:
        latents: of ``frames`` and of whatever fills up the batch behind them.
        notes: gets a line for each frame that was mended so.
    """
    vae = autoencoder.vae
    found = _decoded(autoencoder, latents, frames)
    if vae.dtype not in _HALVES:
        return found
    before = vae.dtype
    # What is not finite already has no better picture.
    again = [n for n, a in enumerate(found) if a.flaw and bool(latents[n].isfinite().all())]
    for n in again:

        def alone(n: int = n) -> Attempt:
            with in_float32([vae]):
                return _decoded(autoencoder, latents[n : n + 1], frames[n : n + 1])[0]

        better = unless_full(alone)
        if better is not None and not better.flaw:
            notes.mended(frames[n], found[n].flaw, before, "decoded")
            found[n] = better
    return found


def _decoded(
    autoencoder: Autoencoder, latents: torch.Tensor, frames: Sequence[Frame]
) -> list[Attempt]:
    images, bad = autoencoder.decode(latents)
    return [
        Attempt(None, NOT_FINITE) if n in bad else Attempt(image, flaw(image, frame.image))
        for n, (image, frame) in enumerate(zip(images, frames, strict=False))
    ]


def settle(
    frame: Frame, first: Attempt, second: Attempt | None, dtype: torch.dtype, notes: Notes
) -> Image | None:
    """Which picture of a frame is taken; None where there is none that is finite.

    Args:
        first: the try in ``dtype``, with a flaw.
        second: the try in float32; None where there is none (it is float32 already, or would not
            fit into memory).
    """
    nothing = first.image is None
    if second is not None and second.image is not None and (nothing or not second.flaw):
        notes.mended(frame, first.flaw, dtype, "edited")
        if second.flaw:
            notes[frame.index] += ", where it " + second.flaw
        return second.image
    if first.image is not None:
        # What the model finds by itself in float32, too, is its answer and no accident.
        where = f" in {_name(dtype)}" + (" and in float32" if second is not None else "")
        notes[frame.index] = f"{first.flaw}{where}; left as it is"
    return first.image


def flaw(image: Image, source: Image) -> str:
    """What is wrong with a finite picture of ``source``; empty where nothing is.

    >>> import numpy as np
    >>> lively = np.arange(768, dtype=np.uint8).reshape(16, 16, 3)
    >>> flaw(np.zeros_like(lively), lively), flaw(lively, lively), flaw(lively // 255, lively // 99)
    ('came out black', '', '')
    """
    # A sixteenth of the pixels says of nearly every picture that it is not flat.
    if _spread(image[::4, ::4]) >= _FLAT or _spread(image) >= _FLAT or _spread(source) < _LIVELY:
        return ""
    return _BLACK if float(image.mean()) <= _DARK else _ONE_COLOUR


def _spread(image: Image) -> float:
    return float(image.reshape(-1, image.shape[-1]).std(axis=0).max())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# -- float32 for a while --------------------------------------------------------------------


def is_half(module: Any) -> bool:
    """Whether a module computes in less than float32."""
    return module.dtype in _HALVES


@contextmanager
def in_float32(modules: Iterable[Any]) -> Iterator[None]:
    """The weights of ``modules`` in float32 while the block runs, and afterwards as they were."""
    tensors = {id(t): t for m in modules for t in (*m.parameters(), *m.buffers())}
    before = [(t, t.dtype) for t in tensors.values() if t.dtype in _HALVES]
    try:
        _convert((tensor, torch.float32) for tensor, _ in before)
        yield
    finally:
        _convert(before)


def _convert(wanted: Iterable[tuple[torch.Tensor, torch.dtype]]) -> None:
    # Weights made within inference mode could not be trained, nor changed outside of it.
    with torch.inference_mode(mode=False), torch.no_grad():
        for tensor, dtype in wanted:
            tensor.data = tensor.data.to(dtype)


# -- memory ---------------------------------------------------------------------------------


def unless_full(work: Callable[[], T]) -> T | None:
    """``work()``, or None where memory runs out."""
    try:
        return work()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    # Outside of the handler: as long as the error is held, so is all that it ran out of.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None
