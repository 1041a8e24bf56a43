"""Carryover: frames take over part of their denoising from the edited borders around them.

No frame depends on another frame between borders, so nothing drifts, and all chunks can be edited
at once. docs/consistency.md has the measurements, also of other variants.

A border runs its first k steps. Its latents are the noisy state there, ``x = a x0 + s n``, and the
x0 that the model predicts from that state. A frame between two borders starts at step k from

* the borders' x0, each warped straight to the frame along the source's flow, blended by distance
  and by visibility, and
* the borders' noise n, not warped, blended by distance and rescaled to its standard deviation.

At distance 0 this is the border's state itself, so a border continues as it would without
carryover, and no seam shows.

Parts of a frame that neither border shows are not in their latents. Warped latents there are
garbage that the remaining steps cannot repair (10 dB lost in a fast pan, a dark smear along the
edge where the scene enters). There the frame's own *x0 estimate* replaces them: the model's
prediction after a few steps from noise. A frame that both borders hide almost completely is edited
from noise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from ..errors import EditError
from ..frame import Frame, Image, Mask
from ..temporal.flow import Motion, Selection, backward_flow, followed_mask
from .mask_blend import KeptSource
from .warp import warp

Tensor = torch.Tensor

#: A frame takes nothing over if both borders hide more than this share of it.
MAX_HIDDEN = 0.9
#: Up to this hidden share no x0 estimate is made: it would not be worth its steps.
NEGLIGIBLE_HIDDEN = 0.05
#: Share of the steps that a frame runs for its x0 estimate. After one of ten steps the bundled
#: model's prediction is within 1 to 5 dB of the finished edit, before it within 2 to 15.
X0_ESTIMATE_STEPS = 0.1

#: A border's mask shows an edit from this level on: the soft edge is protected by the frame's own.
_EDITED = 32
#: Key of the safetensors metadata.
_METADATA = "border"
_HINT = "Run `ip2p-batch resume` to compute them again."


def x0_estimate_steps(num_inference_steps: int) -> int:
    """Steps that a frame runs before its x0 estimate; the estimate itself is one more UNet call.

    >>> x0_estimate_steps(10), x0_estimate_steps(4), x0_estimate_steps(50)
    (1, 1, 5)
    """
    return max(1, round(X0_ESTIMATE_STEPS * num_inference_steps))


@dataclass(frozen=True, slots=True, eq=False)
class BorderLatents:
    """Latents of an edited border, each ``(channels, height, width)``, float32 on the CPU.

    Attributes:
        x: noisy latents at the step where frames start.
        pred_original_sample: the model's x0 for ``x``.
    """

    x: Tensor
    pred_original_sample: Tensor

    @property
    def finite(self) -> bool:
        """Whether all values are finite."""
        return all(bool(t.isfinite().all()) for t in (self.x, self.pred_original_sample))

    def noise(self, scale: tuple[float, float]) -> Tensor:
        """The unit noise n of ``x = a x0 + s n``.

        Args:
            scale: ``(a, s)`` of the step, see :func:`schedule.signal_and_noise_scale`.
        """
        a, s = scale
        return (self.x - a * self.pred_original_sample) / s


@dataclass(frozen=True, slots=True, eq=False)
class Border:
    """A border frame (its resized source and its mask) and its latents."""

    index: int
    image: Image
    latents: BorderLatents
    mask: Mask | None = None


def to_bytes(frame: Frame, step: int, latents: BorderLatents) -> bytes:
    """Serialize a border's latents as safetensors: 128 KiB at 512x512 for SD 1.5.

    Args:
        step: the step where frames start.
    """
    tensors = {"x": latents.x, "pred_original_sample": latents.pred_original_sample}
    plain = {name: t.float().contiguous().cpu() for name, t in tensors.items()}
    facts = _facts(frame, step) | {"digest": _digest(plain)}
    # One key, since safetensors writes several in random order, and equal latents get equal bytes.
    return tensors_to_bytes(plain, {_METADATA: json.dumps(facts, sort_keys=True)})


def from_bytes(frame: Frame, step: int, data: bytes) -> Border:
    """Read what :func:`to_bytes` wrote.

    Raises:
        EditError: the latents are damaged, not finite, or of another frame, step or size.
    """
    expected = _facts(frame, step)
    whose = f"The latents of border frame {frame.index}"
    try:
        tensors = tensors_from_bytes(data)
        facts = _read_facts(data)
        latents = BorderLatents(tensors["x"], tensors["pred_original_sample"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise EditError(f"{whose} cannot be read: {error}.", hint=_HINT) from error
    # safetensors does not notice changed values, and they would only show as a smear.
    if facts.pop("digest", "") != _digest(tensors):
        raise EditError(f"{whose} are damaged.", hint=_HINT)
    if facts != expected:
        raise EditError(f"{whose} are those of {facts}, not of {expected}.", hint=_HINT)
    if not latents.finite:
        raise EditError(f"{whose} are not finite.", hint=_HINT)
    return Border(frame.index, frame.image, latents, frame.mask)


def _read_facts(data: bytes) -> dict[str, str]:
    """Read the facts from a safetensors file: the length of a JSON header, the header, data."""
    length = int.from_bytes(data[:8], "little")
    return dict(json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_METADATA]))


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
class BorderBlend:
    """Where a frame lies between two borders, and where each of them shows its pixels.

    Attributes:
        position: 0 at the left border, 1 at the right one.
        motions: to the left and to the right border; None at a border itself.
        ends: frame numbers of the two borders.
        changes: where the frame may change, of the shape of the motions; None: everywhere.
    """

    position: float
    motions: tuple[Motion, Motion] | None
    ends: tuple[int, int]
    changes: Selection | None = None

    def blend(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Warp both borders' latents to this frame and mix them by distance and visibility.

        Args:
            left, right: shape ``(channels, height, width)``.

        Returns:
            The mixture, and how much of each place both borders hide: ``(height, width)``, 0 to 1.
        """
        if self.motions is None:
            return (right if self.position else left), torch.zeros(left.shape[-2:])
        warped, weights, hidden = [], [], torch.ones(left.shape[-2:])
        for latents, motion, closeness in zip(
            (left, right), self.motions, (1 - self.position, self.position), strict=True
        ):
            at_frame, visible = warp(latents, motion)
            warped.append(at_frame)
            # Where both borders hide a place, distance alone decides.
            weights.append(closeness * (visible + 1e-3))
            hidden = hidden * (1 - visible)
        total = weights[0] + weights[1]
        return (warped[0] * weights[0] + warped[1] * weights[1]) / total, hidden

    @property
    def hidden(self) -> float:
        """Share of what may change that neither border shows, 0 to 1."""
        if self.motions is None:
            return 0.0
        left, right = (motion.occluded for motion in self.motions)
        if self.changes is None:
            return float((left & right).mean())
        return float((left & right & self.changes).sum() / max(1, self.changes.sum()))


def locate(frame: Frame, left: Border, right: Border) -> BorderBlend:
    """Find out where a frame lies between its borders; computes the optical flow to both.

    Raises:
        EditError: the frame does not lie between the borders, or has another size.
    """
    if not left.index <= frame.index <= right.index or frame.image.shape != left.image.shape:
        raise EditError(
            f"Frame {frame.index} does not lie between border frames"
            f" {left.index} and {right.index}, or has another size."
        )
    ends = (left.index, right.index)
    if frame.index in ends:
        return BorderBlend(float(frame.index != left.index), None, ends)
    position = (frame.index - left.index) / (right.index - left.index)
    flows = [backward_flow(frame.image, border.image) for border in (left, right)]
    changes = None
    if frame.mask is not None:
        changes = _at_size(frame.mask, flows[0]) > 0
        flows = [
            _edited_only(motion, changes, border.mask)
            for motion, border in zip(flows, (left, right), strict=True)
        ]
    return BorderBlend(position, (flows[0], flows[1]), ends, changes)


def _edited_only(motion: Motion, changes: Selection, mask: Mask | None) -> Motion:
    """The motion to a border, which hides also what it did not edit but the frame may change."""
    if mask is None:
        return motion
    edited = followed_mask(_at_size(mask, motion), motion.flow) >= _EDITED
    return Motion(motion.flow, motion.occluded | (changes & ~edited))


def _at_size(mask: Mask, motion: Motion) -> Mask:
    """A mask at the size of a motion."""
    height, width = motion.occluded.shape
    if mask.shape == (height, width):
        return mask
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def matched_state(
    blend: BorderBlend,
    left: BorderLatents,
    right: BorderLatents,
    scale: tuple[float, float],
    x0_estimate: Tensor | None = None,
    kept: KeptSource | None = None,
) -> Tensor:
    """The noisy latents x from which a frame starts, shape ``(channels, height, width)``.

    Args:
        scale: ``(a, s)`` of the step, see :func:`schedule.signal_and_noise_scale`.
        x0_estimate: the frame's own x0, for what both borders hide.
        kept: what the frame's mask keeps, so that no edit outlives the border's mask.
    """
    if blend.motions is None:
        return (right if blend.position else left).x
    x0, hidden = blend.blend(left.pred_original_sample, right.pred_original_sample)
    a, s = scale
    noise = blended_noise(left.noise(scale), right.noise(scale), blend.position)
    x0 = _fill_hidden(x0, hidden, x0_estimate)
    return a * (x0 if kept is None else kept.blend(x0)) + s * noise


def _fill_hidden(x0: Tensor, hidden: Tensor, x0_estimate: Tensor | None) -> Tensor:
    """``x0`` with the estimate where it is hidden, if there is an estimate."""
    if x0_estimate is None:
        return x0
    # A latent depends on more than its own pixels, so those next to a hidden place are replaced.
    wide = torch.nn.functional.max_pool2d(hidden[None, None], 3, 1, 1)[0, 0]
    return x0 + wide * (x0_estimate - x0)


def blended_noise(left: Tensor, right: Tensor, position: float) -> Tensor:
    """Blend two noises so that the standard deviation is blended, too.

    A plain blend of independent noises is too weak: at the middle by a factor of sqrt(2).
    """
    mixed = (1 - position) * left + position * right
    std = (1 - position) * left.std() + position * right.std()
    return mixed * (std / mixed.std().clamp_min(1e-6))
