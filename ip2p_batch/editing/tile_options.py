"""How many tiles a tile pass has, and where they lie. Imports no numpy, so that plans can count.

See :mod:`.tiles` for what is done with them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..jobs.spec import Job

#: Pixels of the image's mirror image that the tiles show on each side of it. They are cropped: at
#: the border of what it sees, a model draws a frame (8 pixels wide for the bundled model).
MARGIN = 16


@dataclass(frozen=True, slots=True)
class TileOptions:
    """How the tile pass of an image runs.

    Attributes:
        size: side of a tile in pixels; the size that the model was trained at.
        overlap: pixels that neighbouring tiles share at least.
        strength: part of the denoising steps that the tile pass runs; at 1 it starts from noise.

    Raises:
        ValueError: ``size`` is not a positive multiple of 64, ``overlap`` not a multiple of 8 from
            0 to ``size - 8``, or ``strength`` not from 0 to 1.
    """

    size: int
    overlap: int
    strength: float

    def __post_init__(self) -> None:
        if self.size < 64 or self.size % 64:
            raise ValueError(f"a tile has {self.size} pixels, not a positive multiple of 64")
        if not 0 <= self.overlap < self.size or self.overlap % 8:
            raise ValueError(f"tiles of {self.size} pixels cannot overlap by {self.overlap}")
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength is {self.strength}, not from 0 to 1")

    @classmethod
    def of_job(cls, job: Job) -> TileOptions:
        """The tile pass of a job with ``detail = "tiles"``.

        Neighbours share an eighth: with a quarter or a half, the bundled model's results are not
        closer to the reference edit, and no seam is visible with an eighth.
        """
        return cls(
            size=job.tile_size, overlap=job.tile_size // 8, strength=job.recipe.tile_strength
        )

    def tile_count(self, width: int, height: int) -> int:
        """How many tiles cover an image of ``width`` x ``height`` pixels, each at least 1.

        >>> options = TileOptions(size=256, overlap=64, strength=0.7)
        >>> options.tile_count(1280, 720), options.tile_count(200, 100)
        (28, 1)
        """
        sides = (width + 2 * MARGIN, height + 2 * MARGIN)
        across, down = (len(starts(n, self.size, self.overlap)) for n in sides)
        return across * down

    def steps(self, num_inference_steps: int) -> int:
        """How many of the denoising steps the tile pass runs, at least 1.

        >>> [TileOptions(256, 64, strength).steps(10) for strength in (0, 0.5, 1)]
        [1, 5, 10]
        """
        return max(1, round(num_inference_steps * self.strength))


def starts(length: int, tile: int, overlap: int) -> tuple[int, ...]:
    """Where the tiles of one axis begin: the fewest that cover it, evenly spread.

    A tile reaches beyond the end only where the axis is shorter than one tile.

    Args:
        length: of the axis, at least 1.
        overlap: least that neighbours share, 0 to ``tile - 1``.

    >>> starts(720, 256, 64), starts(256, 256, 64), starts(100, 256, 64)
    ((0, 154, 309, 464), (0,), (0,))
    """
    span = length - tile
    if span <= 0:
        return (0,)
    intervals = -(-span // (tile - overlap))
    return tuple(i * span // intervals for i in range(intervals + 1))
