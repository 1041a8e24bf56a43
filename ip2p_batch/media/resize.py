"""Resize images to the size at which they are edited, and back.

Models need square pixels and sides that are multiples of 8. Images have any size, and some
videos have pixels that are not square. :class:`Resize` scales the longest side to the requested
length, then pads, and undoes both, so that a result has exactly the source's size.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow

from ..frame import FullImage, Image
from ..jobs.spec import Item
from ..jobs.video_facts import VideoFacts
from .depth import to_8_bits

#: Enlarging an image by less than this loses no visible detail.
_DETAIL_FACTOR = 1.25


@dataclass(frozen=True, slots=True)
class Resize:
    """Resize images of one size to their edit size and back.

    Attributes:
        stored: ``(width, height)`` of the source, upright, in stored pixels.
        content: ``(width, height)`` that the source is scaled to.
        padding: pixels added to it at the ``(right, bottom)``.
    """

    stored: tuple[int, int]
    content: tuple[int, int]
    padding: tuple[int, int]

    @classmethod
    def for_size(
        cls,
        width: int,
        height: int,
        size: int,
        sar: tuple[int, int] = (1, 1),
        multiple: int = 8,
    ) -> Resize:
        """Compute the resize of images of ``width`` x ``height`` stored pixels.

        Args:
            width, height: upright, at least 1.
            size: longest side of the edited image before padding, reached by scaling up or
                down; at least 1.
            sar: sample aspect ratio, ``(width, height)`` of a stored pixel; a ratio that is not
                positive counts as square.
            multiple: both sides of the edited image are padded to a multiple of this.

        A very long and thin image keeps up to ``multiple`` pixels of its short side, so that
        it is not scaled to a line.

        Raises:
            ValueError: a side, ``size`` or ``multiple`` is below 1.
        """
        if min(width, height, size, multiple) < 1:
            raise ValueError(f"cannot resize {width}x{height} at size {size}, multiple {multiple}")
        across, down = sar if min(sar) > 0 else (1, 1)
        # With square pixels, the image is width*across by height*down, up to a common factor.
        # Integers only: every machine must compute the same size.
        shown = (width * across, height * down)
        longest = max(shown)
        content_width, content_height = (
            max(_divide(side * size, longest), min(multiple, own))
            for side, own in zip(shown, (width, height), strict=True)
        )
        return cls(
            stored=(width, height),
            content=(content_width, content_height),
            padding=(-content_width % multiple, -content_height % multiple),
        )

    @classmethod
    def of_video(cls, facts: VideoFacts, size: int) -> Resize:
        """Compute the resize of a video's upright frames; see :meth:`for_size`."""
        return cls.for_size(*facts.upright, size, facts.upright_sar)

    @classmethod
    def of_item(cls, item: Item, size: int) -> Resize:
        """Compute the resize of an image that planning could open; see :meth:`for_size`."""
        return cls.for_size(item.width, item.height, size)

    def of_companion(self, image: FullImage) -> Resize:
        """The resize of a companion's image, of any size, to the same edited size."""
        return dataclasses.replace(self, stored=(image.shape[1], image.shape[0]))

    @property
    def width(self) -> int:
        """Width of the edited image in pixels, padding included."""
        return self.content[0] + self.padding[0]

    @property
    def height(self) -> int:
        """Height of the edited image in pixels, padding included."""
        return self.content[1] + self.padding[1]

    def apply(self, image: FullImage) -> Image:
        """Scale and pad a source image; samples of 16 bits are rounded to 8 first.

        Args:
            image: uint8 or uint16, shape ``(stored height, stored width, 3)``.

        Returns:
            uint8, shape ``(height, width, 3)``. The padding mirrors the border, so that it
            adds no edge.

        Raises:
            ValueError: ``image`` is not of the stored size.
        """
        _check(image, self.stored, np.uint8, np.uint16)
        right, bottom = self.padding
        scaled = _resized(to_8_bits(image), self.content)
        if right or bottom:
            scaled = np.pad(scaled, ((0, bottom), (0, right), (0, 0)), mode="symmetric")
        return np.ascontiguousarray(scaled)

    @property
    def enlarges(self) -> bool:
        """Whether :meth:`restore` enlarges the image so much that detail is missing."""
        return max(self.stored) > _DETAIL_FACTOR * max(self.content)

    def without_padding(self, image: Image) -> Image:
        """Cut the padding off an image of the edited size.

        Raises:
            ValueError: ``image`` is not of the edited size.
        """
        _check(image, (self.width, self.height), np.uint8)
        width, height = self.content
        return np.ascontiguousarray(image[:height, :width])

    def restore(self, image: Image) -> Image:
        """Undo :meth:`apply` on an edited image.

        Args:
            image: uint8, shape ``(height, width, 3)``.

        Returns:
            uint8, shape ``(stored height, stored width, 3)``. If nothing was scaled, the
            pixels are unchanged.

        Raises:
            ValueError: ``image`` is not of the edited size.
        """
        return np.ascontiguousarray(_resized(self.without_padding(image), self.stored))


def _divide(numerator: int, denominator: int) -> int:
    """Divide and round to the nearest integer, halves up."""
    return (2 * numerator + denominator) // (2 * denominator)


def _check(image: FullImage, size: tuple[int, int], *types: type[np.generic]) -> None:
    width, height = size
    if image.shape != (height, width, 3) or image.dtype not in types:
        expected = " or ".join(kind.__name__ for kind in types)
        raise ValueError(
            f"expected {expected} pixels of shape {(height, width, 3)}, "
            f"got {image.dtype} {image.shape}"
        )


def _resized(image: Image, size: tuple[int, int]) -> Image:
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    # Lanczos keeps most detail when shrinking (Pillow widens the filter, so nothing aliases).
    # When enlarging, bicubic rings less at hard edges, which edits often have.
    shrinks = size[0] < width or size[1] < height
    method = Pillow.Resampling.LANCZOS if shrinks else Pillow.Resampling.BICUBIC
    picture = Pillow.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize(size, method))
