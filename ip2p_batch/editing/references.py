"""What all frames of a session look at: anchors of their shot, and a finished picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from ..frame import Frame, Image
from ..recipe import Recipe
from . import carryover, noise, schedule
from .attention import AnchorMemory
from .denoising import AnchorLane, Anchors, Lane
from .vae import Autoencoder

Tensor = torch.Tensor


class MakeLane(Protocol):
    """Makes a lane of frames that are looked at."""

    def __call__(
        self, frames: Sequence[Frame], sources: Sequence[Tensor], step: int, starts: Tensor | None
    ) -> Lane:
        """A lane that sets in at ``step`` with ``starts``; without these from noise, at step 0.

        Args:
            sources: the frames' unscaled latents.
        """
        ...


class Sights:
    """Anchors and look; nothing is looked at before there are some.

    Args:
        scheduler: with the recipe's steps set.
        memory: of the UNet's self-attention layers.
    """

    def __init__(
        self, recipe: Recipe, scheduler: Any, autoencoder: Autoencoder, memory: AnchorMemory
    ) -> None:
        self._recipe = recipe
        self._scheduler = scheduler
        self._autoencoder = autoencoder
        self._memory = memory
        self._anchors: tuple[Frame, ...] = ()
        self._states: Tensor | None = None
        self._look: Frame | None = None
        self._sources: dict[int, Tensor] = {}  # by frame number, each encoded once

    def __bool__(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self._anchors) or self._look is not None

    @property
    def has_anchors(self) -> bool:
        return bool(self._anchors)

    def anchor(self, anchors: Sequence[tuple[Frame, Path | None]]) -> None:
        """Look at these frames, each with its latents file where there is one.

        Raises:
            EditError: as :func:`carryover.load`.
        """
        step = self._recipe.carried_steps()
        states = [
            carryover.load(frame, path, step).latents.state
            for frame, path in anchors
            if path is not None and step
        ]
        self._anchors = tuple(frame for frame, _ in anchors)
        self._states = torch.stack(states) if states else None
        self._sources.clear()

    def look(self, picture: Image) -> None:
        """Look at this finished picture."""
        self._look = Frame(-1, 0, picture)
        self._sources.clear()

    def forget(self) -> None:
        """Forget what was computed; it is of one precision."""
        self._memory.forget()
        self._sources.clear()

    def beside(self, lanes: Sequence[Lane], make: MakeLane) -> Anchors | None:
        """What ``lanes`` look at, from the first step on that one of them runs."""
        step = min((lane.step for lane in lanes), default=0)
        found = []
        if self._look is not None:
            found.append(self._look_lane(self._look, step, make))
        if self._anchors:
            found.append(self._anchor_lane(step, make))
        if not found:
            return None
        return Anchors(lanes=found, memory=self._memory, stop=self._recipe.anchored_steps())

    def _anchor_lane(self, step: int, make: MakeLane) -> AnchorLane:
        handed_at, states = self._recipe.carried_steps(), self._states
        starts = states if step == handed_at else None
        lane = make(self._anchors, self._encoded(self._anchors), step, starts)
        return AnchorLane(lane, lambda at: states if at == handed_at else None)

    def _look_lane(self, look: Frame, step: int, make: MakeLane) -> AnchorLane:
        """A finished picture as an anchor: before each step in the state that leads to it.

        Nobody knows its source, so it is its own: what the model then attends to is the look.
        """
        (source,) = self._encoded([look])
        clean = source[None] * self._autoencoder.scaling_factor
        unit = noise.unit(self._recipe.seed, clean.shape[1:]).to(clean.device)

        def state(at: int) -> Tensor:
            a, s = schedule.state_scale(self._scheduler, at)
            return a * clean.float() + s * unit

        return AnchorLane(make([look], [source], step, state(step)), state)

    def _encoded(self, frames: Sequence[Frame]) -> list[Tensor]:
        if not all(frame.index in self._sources for frame in frames):
            sources = self._autoencoder.encode([frame.image for frame in frames])
            self._sources |= {f.index: s for f, s in zip(frames, sources, strict=True)}
        return [self._sources[frame.index] for frame in frames]
