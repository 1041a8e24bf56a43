"""Cover an image with overlapping tiles of one size, and average what a model returns for them.

MultiDiffusion (Bar-Tal et al., ICML 2023, arXiv 2302.08113) denoises an image that is larger than
its model in tiles. All tiles are cut from one shared latent, and the predictions f_i of the tiles
that show a place p are averaged (equation 5; F_i cuts tile i, W_i weighs its places)::

    f(p) = sum_i W_i(p) f_i(p) / sum_j W_j(p)

Here the weights fall smoothly to the borders that a tile shares with others, since a model is least
certain there, and they are divided by their sum beforehand: ``sum_i w_i(p) = 1`` at every place.
They are a product of one factor per axis, so that an image of any size needs two small tables.

Lengths are in units of the caller:
latents or pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..frame import Image
from .tile_options import MARGIN, TileOptions, starts

Weights = npt.NDArray[np.float32]

# -- one axis -------------------------------------------------------------------------------


def ramp(overlap: int, tile: int) -> npt.NDArray[np.float64]:
    """Unnormalized weight by distance d from a border: rises from 0 to 1 over the overlap.

    ``sin^2(pi/2 (d + 1/2) / overlap)``: two neighbours sum to 1, since the other has ``cos^2``.

    Returns:
        Shape ``(tile,)``, above 0.
    """
    if not overlap:
        return np.ones(tile)
    distance = np.minimum((np.arange(tile) + 0.5) / overlap, 1.0)
    return np.asarray(np.sin(np.pi / 2 * distance) ** 2)


def axis_weights(tile: int, begins: tuple[int, ...]) -> Weights:
    """Weights of all tiles of one axis; at every place they sum to 1.

    The ends of the axis have no ramp, since no other tile shows them.

    Args:
        begins: see :func:`starts`.

    Returns:
        Shape ``(tiles, tile)``.
    """
    weights = np.ones((len(begins), tile))
    for i, (left, right) in enumerate(pairwise(begins)):
        overlap = left + tile - right
        weights[i + 1] *= ramp(overlap, tile)
        weights[i] *= ramp(overlap, tile)[::-1]
    total = np.zeros(begins[-1] + tile)
    for begin, own in zip(begins, weights, strict=True):
        total[begin : begin + tile] += own
    for begin, own in zip(begins, weights, strict=True):
        own /= total[begin : begin + tile]
    return weights.astype(np.float32)


# -- two axes -------------------------------------------------------------------------------


class Tile(NamedTuple):
    """The place of one tile: its number down and across, and where it begins."""

    row: int
    column: int
    top: int
    left: int


@dataclass(frozen=True)
class TileGrid:
    """All tiles of one image.

    Attributes:
        tile: side of each tile.
        tops, lefts: where the rows and the columns of tiles begin.
    """

    tile: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @classmethod
    def of_latents(cls, width: int, height: int, options: TileOptions, factor: int) -> TileGrid:
        """The grid of the latents of an image and its margin.

        Args:
            width, height: of the image in pixels.
            factor: pixels of an image per latent along each axis, 1 to 8.

        Raises:
            ValueError: tile or overlap is not a multiple of ``factor``.
        """
        if options.size % factor or options.overlap % factor:
            raise ValueError(f"{options} does not consist of whole latents of {factor} pixels")
        tile, overlap = options.size // factor, options.overlap // factor
        down, across = (
            starts(-(-(n + 2 * MARGIN) // factor), tile, overlap) for n in (height, width)
        )
        return cls(tile, down, across)

    @property
    def height(self) -> int:
        """Height that the tiles cover, at least that of one tile."""
        return self.tops[-1] + self.tile

    @property
    def width(self) -> int:
        """Width that the tiles cover, at least that of one tile."""
        return self.lefts[-1] + self.tile

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, row by row."""
        return tuple(
            Tile(row, column, top, left)
            for row, top in enumerate(self.tops)
            for column, left in enumerate(self.lefts)
        )

    @cached_property
    def weights(self) -> tuple[Weights, Weights]:
        """Weights of the rows and of the columns of tiles; see :func:`axis_weights`."""
        return axis_weights(self.tile, self.tops), axis_weights(self.tile, self.lefts)

    def scaled(self, factor: int) -> TileGrid:
        """The same tiles in smaller units: pixels instead of latents."""
        tops, lefts = (tuple(factor * n for n in begins) for begins in (self.tops, self.lefts))
        return TileGrid(factor * self.tile, tops, lefts)

    def cut(self, field: Any, tile: Tile) -> Any:
        """The part of a field that a tile shows, not copied.

        Args:
            field: array or tensor of shape ``(..., height, width)``.
        """
        rows = slice(tile.top, tile.top + self.tile)
        return field[..., rows, tile.left : tile.left + self.tile]


def add_tile(total: Any, values: Any, weights: tuple[Any, Any], tile: Tile, top: int = 0) -> None:
    """Add a tile to the weighted sum of all tiles, in place: one term of the equation above.

    Args:
        total: array or tensor of shape ``(..., height, width)``.
        values: of the tile, shape ``(..., tile, tile)``.
        weights: see :attr:`TileGrid.weights`; of the type of ``total``.
        top: where ``total`` begins, if it is only a strip of the image.
    """
    rows, columns = weights[0][tile.row], weights[1][tile.column]
    height, width = values.shape[-2:]
    place = total[..., tile.top - top : tile.top - top + height, tile.left : tile.left + width]
    place += values * rows[:, None] * columns


def mirrored(length: int, covered: int) -> npt.NDArray[np.intp]:
    """Positions in an axis that its mirror image continues, from its margin up to ``covered``.

    >>> mirrored(3, 36)[MARGIN - 4 : MARGIN + 7].tolist()
    [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]
    """
    return np.pad(np.arange(length), (MARGIN, covered - length - MARGIN), mode="symmetric")


def cut_image(image: Image, grid: TileGrid, tile: Tile) -> Image:
    """The pixels that a tile shows; beyond the image, its mirror image.

    Args:
        grid: in pixels, of the image and its margin.
    """
    height, width = image.shape[:2]
    rows = mirrored(height, grid.height)[tile.top : tile.top + grid.tile]
    columns = mirrored(width, grid.width)[tile.left : tile.left + grid.tile]
    return np.ascontiguousarray(image[rows[:, None], columns])
