"""Compose the frames of an animated image as browsers show them."""

from __future__ import annotations

import io
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
from PIL import GifImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL import Image as Pillow

from ..images.color import to_srgb
from ..images.formats import silence_pillow
from . import apng, gif, webp
from .parts import Animation, Part

#: Red, green, blue and opacity, not premultiplied: uint8 or uint16, shape ``(height, width, 4)``.
Canvas = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


class Composer:
    """Composes any frame of an animation; frames in order are cheapest.

    The canvas is transparent at first, and where it is cleared: browsers ignore the background
    colours that GIF and WebP name.

    Args:
        file: the animated image.
        animation: its frames.
    """

    def __init__(self, file: IO[bytes], animation: Animation) -> None:
        self._file = file
        self._animation = animation
        self._kind = np.uint16 if animation.depth > 8 else np.uint8
        self._canvas = self._empty()
        self._next = 0

    def frame(self, number: int) -> Canvas:
        """Frame ``number`` on its canvas.

        Raises:
            ValueError: its own pixels are damaged. Later frames are composed without them.
        """
        start = self._start(number)
        if not start <= self._next <= number:
            self._canvas, self._next = self._empty(), start
        while self._next < number:
            try:
                self._draw(self._next)
            except ValueError:
                self._next += 1
        return self._draw(number)

    def _empty(self) -> Canvas:
        shape = (self._animation.height, self._animation.width, 4)
        return cast(Canvas, np.zeros(shape, self._kind))

    def _start(self, number: int) -> int:
        """The last frame from 0 to ``number`` that needs no frame before it."""
        parts, covers = self._animation.parts, self._animation.covers
        while number > 0:
            previous, own = parts[number - 1], parts[number]
            if (covers(own) and not own.blends) or (
                covers(previous) and previous.disposal == "clear"
            ):
                break
            number -= 1
        return number

    def _draw(self, number: int) -> Canvas:
        """Draw frame ``number`` on the canvas of its predecessor; returns a copy of the canvas."""
        part = self._animation.parts[number]
        # The last canvas that still has to be disposed of is stored disposed of.
        image = read_part(self._file, self._animation, part)
        rows = slice(part.top, min(part.top + part.height, self._animation.height))
        columns = slice(part.left, min(part.left + part.width, self._animation.width))
        region = self._canvas[rows, columns]
        before = region.copy()
        image = image[: region.shape[0], : region.shape[1]]
        region[:] = blend(image, region) if part.blends else image
        shown = self._canvas.copy()
        if part.disposal == "clear":
            region[:] = 0
        elif part.disposal == "restore":
            region[:] = before
        self._next = number + 1
        return shown


def read_part(file: IO[bytes], animation: Animation, part: Part) -> Canvas:
    """Decode the pixels of one part, in sRGB.

    Raises:
        ValueError: they are damaged.
    """
    try:
        with silence_pillow():
            rgba = _decoded(file, animation, part)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise errors of any kind on damaged files
        raise ValueError(f"damaged ({error})") from error
    if rgba.shape[:2] != (part.height, part.width):
        raise ValueError("of another size than announced")
    return rgba


def _decoded(file: IO[bytes], animation: Animation, part: Part) -> Canvas:
    image: Pillow.Image
    if animation.format == "gif":
        image = GifImagePlugin.GifImageFile(io.BytesIO(gif.as_still(file, part)))
        return np.asarray(image.convert("RGBA"))
    if animation.format == "apng":
        image = PngImagePlugin.PngImageFile(io.BytesIO(apng.as_still(file, animation, part)))
        name = "png"
    else:
        image = WebPImagePlugin.WebPImageFile(io.BytesIO(webp.as_still(file, animation, part)))
        name = "webp"
    pixels = to_srgb(image, name, deep=animation.depth > 8)
    colors: Any = pixels.rgb
    peak = np.iinfo(colors.dtype).max
    alpha = np.full(colors.shape[:2], peak, colors.dtype) if pixels.alpha is None else pixels.alpha
    if animation.depth > 8 and colors.dtype == np.uint8:  # a profile that is converted in 8 bits
        colors = colors.astype(np.uint16) * 257
    if alpha.dtype != colors.dtype:
        alpha = alpha.astype(np.uint16) * 257 if colors.dtype == np.uint16 else alpha >> 8
    return cast(Canvas, np.dstack([colors, alpha]))


def blend(image: Canvas, below: Canvas) -> Canvas:
    """Put pixels over others ("over" of Porter and Duff, SIGGRAPH 1984, colours unmultiplied).

    Args:
        image, below: of the same shape.
    """
    peak = int(np.iinfo(image.dtype).max)
    alpha = image[..., 3]
    result = np.where(alpha[..., None] == 0, below, image)
    partial = (alpha > 0) & (alpha < peak) & (below[..., 3] > 0)
    if partial.any():
        top, under = image[partial].astype(np.uint64), below[partial].astype(np.uint64)
        weight = top[:, 3] * peak
        rest = (peak - top[:, 3]) * under[:, 3]
        total = weight + rest
        colors = top[:, :3] * weight[:, None] + under[:, :3] * rest[:, None]
        mixed = (colors + total[:, None] // 2) // total[:, None]
        opacity = (total + peak // 2) // peak
        result[partial] = np.column_stack([mixed, opacity]).astype(image.dtype)
    return cast(Canvas, result)
