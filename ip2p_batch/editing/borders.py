"""The borders of a chunk, and how each of its frames starts from two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from ..frame import Frame
from . import carryover, schedule
from .editor import ContextFrame
from .mask_blend import KeptSource


@dataclass(frozen=True, slots=True, eq=False)
class LocatedFrame(Frame):
    """A frame with the optical flow to its borders."""

    blend: carryover.BorderBlend = field(kw_only=True)


class Borders:
    """The borders of one chunk; immutable, so any thread may call its methods.

    Args:
        frames: ascending, each with latents; none where nothing is carried over.
        step: the step at which frames start from their borders.
        scheduler: with the recipe's steps set.

    Raises:
        EditError: as :func:`carryover.from_bytes`.
    """

    def __init__(self, frames: Sequence[ContextFrame], step: int, scheduler: Any) -> None:
        self._borders = tuple(
            carryover.from_bytes(border.frame, step, border.latents or b"") for border in frames
        )
        self._step = step
        self._scheduler = scheduler

    def locate(self, frame: Frame) -> Frame:
        """The frame with the flow to its two borders, if there are borders.

        Raises:
            EditError: as :func:`carryover.locate`.
        """
        if not self._borders:
            return frame
        left, right = self._around(frame.index)
        if isinstance(frame, LocatedFrame) and frame.blend.ends == (left.index, right.index):
            return frame
        blend = carryover.locate(frame, left, right)
        kept = {own.name: getattr(frame, own.name) for own in fields(Frame)}
        return LocatedFrame(**kept, blend=blend)

    def start_step(self, frame: Frame) -> int:
        """The step at which a located frame starts; 0: it starts from noise.

        Frames start from noise if there are no borders or if both hide too much of them.
        """
        if not isinstance(frame, LocatedFrame):
            return 0
        estimate_steps = carryover.x0_estimate_steps(len(self._scheduler.timesteps))
        saved_steps = self._step - estimate_steps - 1
        allowed = carryover.MAX_HIDDEN if saved_steps > 0 else carryover.NEGLIGIBLE_HIDDEN
        return self._step if frame.blend.hidden <= allowed else 0

    def needs_x0_estimate(self, frame: Frame) -> bool:
        """Whether a frame that starts from its borders needs an estimate for hidden parts."""
        hidden = frame.blend.hidden if isinstance(frame, LocatedFrame) else 0.0
        return hidden > carryover.NEGLIGIBLE_HIDDEN

    def start(
        self, frame: Frame, x0_estimate: torch.Tensor | None, kept: KeptSource | None = None
    ) -> torch.Tensor:
        """The noisy latents from which a located frame starts, ``(channels, height, width)``.

        Args:
            x0_estimate: the frame's own x0, for what both borders hide.
            kept: what the frame's mask keeps; on the CPU.
        """
        assert isinstance(frame, LocatedFrame)
        scale = schedule.signal_and_noise_scale(self._scheduler, self._step)
        left, right = (border.latents for border in self._around(frame.index))
        return carryover.matched_state(frame.blend, left, right, scale, x0_estimate, kept)

    def _around(self, index: int) -> tuple[carryover.Border, carryover.Border]:
        """The two borders around a frame; a border itself belongs to the span that it begins."""
        last = len(self._borders) - 2
        at = sum(border.index <= index for border in self._borders) - 1
        at = min(max(at, 0), last)
        return self._borders[at], self._borders[at + 1]
