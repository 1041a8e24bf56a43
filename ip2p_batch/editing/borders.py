"""A chunk's borders, and what each frame between two of them takes over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..frame import Frame
from ..recipe import Recipe
from . import carryover, schedule


class Ties:
    """Where the frames of a chunk lie between its borders; none are tied before :meth:`tie`.

    Args:
        scheduler: with the recipe's steps set.
    """

    def __init__(self, recipe: Recipe, scheduler: Any) -> None:
        self._borders: list[carryover.Border] = []
        self._recipe = recipe
        self._scheduler = scheduler
        self._places: dict[int, carryover.Between] = {}

    def tie(self, borders: Sequence[tuple[Frame, Path]]) -> None:
        """Take these borders, each with its latents file.

        Raises:
            EditError: as :func:`carryover.load`.
        """
        step = self._recipe.carried_steps()
        self._borders = [carryover.load(frame, path, step) for frame, path in borders]

    def prepare(self, frame: Frame) -> None:
        """Find the frame's place, which takes optical flow; may be done ahead, in a thread."""
        if self._borders:
            self._places[frame.index] = carryover.between(frame, *self._around(frame.index))

    def take(self, frame: Frame) -> tuple[carryover.Between | None, int]:
        """The frame's place, and the step at which it sets in.

        No place where it is not tied: there are no borders, or too much of it is hidden from
        both. Step 0 is the frame's own start, from noise.
        """
        if not self._borders:
            return None, 0
        if frame.index not in self._places:
            self.prepare(frame)
        place, step = self._places.pop(frame.index), self._recipe.carried_steps()
        saved = step - carryover.guess_steps(len(self._scheduler.timesteps)) - 1
        most = carryover.MOST_HIDDEN if saved > 0 else carryover.LEAST_HIDDEN
        return (place, step) if place.hidden <= most else (None, 0)

    def start(
        self, index: int, place: carryover.Between, step: int, guess: torch.Tensor | None
    ) -> torch.Tensor:
        """The state in which frame ``index`` sets in at ``step``.

        Args:
            guess: its own clean latents, for what neither border shows.
        """
        scale = schedule.state_scale(self._scheduler, step)
        left, right = (border.latents for border in self._around(index))
        return carryover.matched(place, left, right, scale, guess)

    def _around(self, index: int) -> tuple[carryover.Border, carryover.Border]:
        """The two borders that a frame lies between; a border itself begins the part after it."""
        last = len(self._borders) - 2
        at = sum(border.index <= index for border in self._borders) - 1
        at = min(max(at, 0), last)
        return self._borders[at], self._borders[at + 1]
