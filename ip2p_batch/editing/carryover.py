"""Carryover: what frames take over from the edited borders before and after them.

No frame follows from another, so nothing drifts, and chunks can all be edited at once. For the
figures, and for other variants that were measured, see docs/consistency.md.

A border runs its first k steps and hands over its noisy state there, ``x = a x0 + s n``, together
with the clean prediction x0 that the model makes at that state. A frame between two borders sets in
at step k from

* the borders' x0, each warped straight to the frame along the source's flow, blended by distance
  and by what is not occluded, and
* the borders' own noise n, not warped, blended by distance and brought back to its strength.

At distance 0 that is the border's state itself, so a border goes on along its own way and no seam
shows.

What neither border shows of a frame is not in their latents either: warped nonetheless, it is junk
that the steps left over cannot mend (10 dB lost in a fast pan, a dark smear along the edge where
the scene comes in). There the frame's own *guess* is put in: the clean prediction after a few steps
of its own. A frame of which both borders show next to nothing is edited from the beginning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from ..errors import EditError
from ..frame import Frame, Image
from ..temporal.flow import Motion, backward_flow
from .warp import warp

Tensor = torch.Tensor

#: Above this share hidden from both its borders, a frame takes nothing over.
MOST_HIDDEN = 0.9
#: Up to this share nothing is guessed for what is hidden: too little to be worth its steps.
LEAST_HIDDEN = 0.01
#: Share of the steps that a frame runs for its guess. After one of ten steps the bundled model's
#: prediction is within 1 to 5 dB of the finished edit, before it within 2 to 15.
GUESSED = 0.1


def guess_steps(steps: int) -> int:
    """Steps that a frame runs before its guess is read off; the reading costs one more call.

    >>> guess_steps(10), guess_steps(4), guess_steps(50)
    (1, 1, 5)
    """
    return max(1, round(GUESSED * steps))


@dataclass(frozen=True, slots=True, eq=False)
class Handover:
    """A border's latents; each of shape ``(channels, height, width)``, float32 on the CPU.

    Attributes:
        state: noisy latents x at the step where frames set in.
        clean: clean prediction x0 at that state.
    """

    state: Tensor
    clean: Tensor

    @property
    def finite(self) -> bool:
        """Whether all latents are finite."""
        return all(bool(part.isfinite().all()) for part in (self.state, self.clean))

    def noise(self, scale: tuple[float, float]) -> Tensor:
        """The unit noise n of ``x = a x0 + s n``."""
        a, s = scale
        return (self.state - a * self.clean) / s


@dataclass(frozen=True, slots=True, eq=False)
class Border:
    """A border frame (fitted source) and what it hands over."""

    index: int
    image: Image
    latents: Handover


def save(path: Path, frame: Frame, step: int, latents: Handover) -> None:
    """Write a border's latents: two float32 tensors, 128 KiB in all at 512x512 for SD 1.5.

    Raises:
        OSError: the disk is full, or ``path`` cannot be written.
    """
    tensors = {"state": latents.state, "clean": latents.clean}
    plain = {k: v.float().contiguous().cpu() for k, v in tensors.items()}
    data = to_bytes(plain, _facts(frame, step) | {"digest": _digest(plain)})
    # Not safetensors' own writer: it hides the reason for which a write fails.
    path.write_bytes(data)


def load(frame: Frame, path: Path, step: int) -> Border:
    """Read a border's latents.

    Raises:
        EditError: the file is missing or damaged, is not finite, or belongs to another frame,
            step or size.
    """
    expected = _facts(frame, step)
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            latents = Handover(tensors["state"], tensors["clean"])
    except (OSError, SafetensorError, KeyError) as error:
        raise EditError(
            f"The latents of border frame {frame.index} cannot be read from {path}: {error}.",
            hint="`ip2p-batch resume` makes them again.",
        ) from error
    # A byte that a disk changed would be seen as a smear at best.
    if facts.pop("digest", "") != _digest(tensors):
        raise EditError(
            f"The latents of border frame {frame.index} in {path} are damaged.",
            hint="`ip2p-batch resume` makes them again.",
        )
    if facts != expected:
        raise EditError(
            f"{path} holds the latents of {facts}, not of {expected}.",
            hint="`ip2p-batch resume` makes them again.",
        )
    if not latents.finite:
        raise EditError(
            f"The latents of border frame {frame.index} in {path} are not finite.",
            hint="`ip2p-batch resume` makes them again.",
        )
    return Border(frame.index, frame.image, latents)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names and values of tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def _facts(frame: Frame, step: int) -> dict[str, str]:
    height, width = frame.image.shape[:2]
    return {"frame": str(frame.index), "step": str(step), "size": f"{width}x{height}"}


@dataclass(frozen=True, slots=True, eq=False)
class Between:
    """A frame's place between two borders: how far from each, and where each shows its pixels.

    Attributes:
        at: 0 at the left border, 1 at the right one.
        motions: to the left and to the right border; None at a border itself.
        ends: frame numbers of the two borders.
    """

    at: float
    motions: tuple[Motion, Motion] | None
    ends: tuple[int, int]

    def blend(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Both borders' latents moved to this frame and mixed by distance and visibility.

        Args:
            left, right: shape ``(channels, height, width)``.

        Returns:
            The mixture, and how much of each place is hidden from both: ``(height, width)``,
            0 to 1.
        """
        if self.motions is None:
            return (right if self.at else left), torch.zeros(left.shape[-2:])
        moved, weights, hidden = [], [], torch.ones(left.shape[-2:])
        for latents, motion, share in zip(
            (left, right), self.motions, (1 - self.at, self.at), strict=True
        ):
            there, visible = warp(latents, motion)
            moved.append(there)
            # Where both hide it, distance alone decides.
            weights.append(share * (visible + 1e-3))
            hidden = hidden * (1 - visible)
        total = weights[0] + weights[1]
        return (moved[0] * weights[0] + moved[1] * weights[1]) / total, hidden

    @property
    def hidden(self) -> float:
        """Share of the frame that neither border shows, 0 to 1."""
        if self.motions is None:
            return 0.0
        left, right = (motion.occluded for motion in self.motions)
        return float((left & right).mean())


def between(frame: Frame, left: Border, right: Border) -> Between:
    """Where a frame lies between its borders; the flow is computed here.

    Raises:
        EditError: the frame does not lie between the borders, or has another size.
    """
    if not left.index <= frame.index <= right.index or frame.image.shape != left.image.shape:
        raise EditError(
            f"Frame {frame.index} does not go between border frames {left.index} and {right.index}."
        )
    ends = (left.index, right.index)
    if frame.index in ends:
        return Between(float(frame.index != left.index), None, ends)
    at = (frame.index - left.index) / (right.index - left.index)
    flows = [backward_flow(frame.image, border.image) for border in (left, right)]
    return Between(at, (flows[0], flows[1]), ends)


def matched(
    place: Between,
    left: Handover,
    right: Handover,
    scale: tuple[float, float],
    guess: Tensor | None = None,
) -> Tensor:
    """The state in which a frame sets in, shape ``(channels, height, width)``.

    Args:
        scale: ``(a, s)`` of the step, see :func:`schedule.state_scale`.
        guess: the frame's own clean latents, for what is hidden from both borders.
    """
    if place.motions is None:
        return (right if place.at else left).state
    clean = _filled(*place.blend(left.clean, right.clean), guess)
    a, s = scale
    return a * clean + s * blended_noise(left.noise(scale), right.noise(scale), place.at)


def _filled(clean: Tensor, hidden: Tensor, guess: Tensor | None) -> Tensor:
    """``clean`` with the frame's own guess where it is hidden, if there is a guess."""
    if guess is None:
        return clean
    # Latents beside a hidden place know of what hides it: a latent is made of more than its pixels.
    wide = torch.nn.functional.max_pool2d(hidden[None, None], 3, 1, 1)[0, 0]
    return clean + wide * (guess - clean)


def blended_noise(left: Tensor, right: Tensor, at: float) -> Tensor:
    """Noise between two noises, with the standard deviation that lies between theirs.

    A plain blend of independent noises is too weak: at the middle by a factor of sqrt(2).
    """
    mixed = (1 - at) * left + at * right
    strength = (1 - at) * left.std() + at * right.std()
    return mixed * (strength / mixed.std().clamp_min(1e-6))
