"""Matched-state carryover: how a chunk's frames take over from the borders at its two ends.

A border frame runs its first k steps and hands over its noisy state there, ``x = a x0 + s n``,
together with the clean prediction x0 that the model makes at that state. A frame between two
borders sets in at step k from

* the borders' x0, each warped straight to the frame along the source's flow, blended by distance
  and by what is not occluded, and
* the borders' own noise n, not warped, blended by distance and brought back to its strength.

At distance 0 that is the border's state itself, so a border goes on along its own way and no seam
shows. No frame follows from another, so nothing drifts and a chunk is one batch.

A frame of which too much is hidden from both borders takes nothing over and is edited from the
beginning: what the borders know would be of other things, and show as ghosts of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from ..errors import EditError
from ..frame import Frame, Image
from .flow import backward_flow, warp

#: Share of a frame that may be hidden from both its borders. On a street with cars driving by
#: this brings nearly all of a decibel back that carrying over costs there (14.1 to 15.05 dB to the
#: wanted edit, 15.14 without carryover); on calm shots few frames or none are above it.
MOST_HIDDEN = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Border:
    """A border frame at the step where it is handed over.

    Attributes:
        index: frame number.
        image: the source frame, fitted.
        state: noisy latents x, shape ``(channels, height, width)``, float32 on the CPU.
        clean: clean prediction x0 at that state, same shape.
    """

    index: int
    image: Image
    state: torch.Tensor
    clean: torch.Tensor

    def noise(self, scale: tuple[float, float]) -> torch.Tensor:
        """The unit noise n of ``x = a x0 + s n``."""
        a, s = scale
        return (self.state - a * self.clean) / s


def save(path: Path, frame: Frame, step: int, state: torch.Tensor, clean: torch.Tensor) -> None:
    """Write a border's latents: two float32 tensors, 128 KiB in all at 512x512 for SD 1.5.

    Raises:
        OSError: the disk is full, or ``path`` cannot be written.
    """
    tensors = {"state": state, "clean": clean}
    data = to_bytes(
        {k: v.float().contiguous().cpu() for k, v in tensors.items()}, _facts(frame, step)
    )
    # Not safetensors' own writer: it hides the reason for which a write fails.
    path.write_bytes(data)


def load(frame: Frame, path: Path, step: int) -> Border:
    """Read a border's latents.

    Raises:
        EditError: the file is missing or damaged, or belongs to another frame, step or size.
    """
    expected = _facts(frame, step)
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata()
            state, clean = file.get_tensor("state"), file.get_tensor("clean")
    except (OSError, SafetensorError) as error:
        raise EditError(
            f"The latents of border frame {frame.index} cannot be read from {path}: {error}.",
            hint="`ip2p-batch resume` makes them again.",
        ) from error
    if facts != expected:
        raise EditError(
            f"{path} holds the latents of {facts}, not of {expected}.",
            hint="`ip2p-batch resume` makes them again.",
        )
    return Border(frame.index, frame.image, state, clean)


def _facts(frame: Frame, step: int) -> dict[str, str]:
    height, width = frame.image.shape[:2]
    return {"frame": str(frame.index), "step": str(step), "size": f"{width}x{height}"}


def blend(
    frame: Frame, left: Border, right: Border, scale: tuple[float, float]
) -> torch.Tensor | None:
    """The state in which ``frame`` sets in, shape ``(channels, height, width)``.

    None where more than :data:`MOST_HIDDEN` of the frame is hidden from both borders.

    Args:
        frame: ``left.index <= frame.index <= right.index``, of the borders' size.
        scale: ``(a, s)`` of the step, see :func:`schedule.state_scale`.

    Raises:
        EditError: the frame does not lie between the borders, or has another size.
    """
    if not left.index <= frame.index <= right.index or frame.image.shape != left.image.shape:
        raise EditError(
            f"Frame {frame.index} does not go between border frames {left.index} and {right.index}."
        )
    for border in (left, right):
        if frame.index == border.index:
            return border.state
    at = (frame.index - left.index) / (right.index - left.index)
    cleans, weights = [], []
    hidden = torch.ones(left.clean.shape[-2:])
    for border, share in ((left, 1 - at), (right, at)):
        clean, visible = warp(border.clean, *backward_flow(frame.image, border.image))
        cleans.append(clean)
        # Where both hide it, distance alone decides.
        weights.append(share * (visible + 1e-3))
        hidden = hidden * (visible < 0.5)
    if hidden.mean() > MOST_HIDDEN:
        return None
    total = weights[0] + weights[1]
    clean = (cleans[0] * weights[0] + cleans[1] * weights[1]) / total
    a, s = scale
    return a * clean + s * blended_noise(left.noise(scale), right.noise(scale), at)


def blended_noise(left: torch.Tensor, right: torch.Tensor, at: float) -> torch.Tensor:
    """Noise between two noises, with the standard deviation that lies between theirs.

    A plain blend of independent noises is too weak: at the middle by a factor of sqrt(2).
    """
    mixed = (1 - at) * left + at * right
    strength = (1 - at) * left.std() + at * right.std()
    return mixed * (strength / mixed.std().clamp_min(1e-6))
