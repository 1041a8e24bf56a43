"""The loss of a diffusion model that edits: predict the noise in the latents of the edited picture.

Brooks, Holynski and Efros, "InstructPix2Pix", CVPR 2023, equation 2: the UNet sees the noisy
latents of the edited picture beside the clean ones of the source, and the instruction.
"""

from __future__ import annotations

from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from torch import nn

from .fit import Batch


class Objective(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of the model.

    Attributes:
        drop: share of examples without their text, as many without their picture, as many
            without both; 0.05 in the paper.
        high_noise: share of examples whose time is drawn from the noisier 60 % only, where the
            instruction decides most; the others' times are uniform.
        snr_gamma: weight each time by ``min(SNR, gamma)`` (Hang et al., "Efficient Diffusion
            Training via Min-SNR Weighting Strategy", ICCV 2023); 0 weighs all alike.
    """

    drop: float = 0.05
    high_noise: float = 0.0
    snr_gamma: float = 0.0


class Denoising(nn.Module):
    """The parts of a pipeline as one module whose ``forward`` is the loss.

    Called with a batch of

    - ``edited``, ``source``: pictures, values -1 to 1, shape ``(batch, 3, height, width)``; or
      ``edited_latents``, ``source_latents`` as the autoencoder gave them, unscaled;
    - ``ids``: tokens, shape ``(batch, tokens)``, those of the empty text where it is dropped;
    - ``no_picture``: bool, shape ``(batch,)``.

    Which parts learn is up to the caller: those whose parameters require a gradient.
    """

    def __init__(
        self, unet: Any, text_encoder: Any, vae: Any, scheduler: Any, objective: Objective
    ) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder
        self.vae = vae
        self.objective = objective
        self.noising = DDPMScheduler.from_config(scheduler.config)
        self.scaling = 1.0 if vae is None else float(vae.config.scaling_factor)

    def forward(self, batch: Batch) -> torch.Tensor:
        target, source = self._latents(batch)
        source = source.masked_fill(batch["no_picture"][:, None, None, None], 0)
        text = self.text_encoder(batch["ids"])[0]
        noise = torch.randn_like(target)
        times = drawn_times(len(target), self.objective.high_noise, target.device)
        noisy = self.noising.add_noise(target, noise, times)
        stacked = torch.cat([noisy, source], dim=1).contiguous(memory_format=torch.channels_last)
        output = self.unet(stacked, times, text).sample.float()
        wanted = self._wanted(target, noise, times)
        errors = F.mse_loss(output, wanted, reduction="none").mean((1, 2, 3))
        return (errors * self._weights(times)).mean()

    def _latents(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        if "edited_latents" in batch:
            return batch["edited_latents"] * self.scaling, batch["source_latents"]
        with torch.no_grad():
            edited = sampled_latents(self.vae, batch["edited"]) * self.scaling
            return edited, likely_latents(self.vae, batch["source"])

    def _wanted(
        self, target: torch.Tensor, noise: torch.Tensor, times: torch.Tensor
    ) -> torch.Tensor:
        kind = self.noising.config.prediction_type
        if kind == "epsilon":
            return noise
        wanted: torch.Tensor = (
            self.noising.get_velocity(target, noise, times) if kind == "v_prediction" else target
        )
        return wanted

    def _weights(self, times: torch.Tensor) -> torch.Tensor:
        gamma = self.objective.snr_gamma
        if not gamma:
            return torch.ones_like(times, dtype=torch.float32)
        kept = self.noising.alphas_cumprod.to(times.device)[times].float()
        return snr_weights(kept / (1 - kept), gamma, self.noising.config.prediction_type)


def drawn_times(count: int, high_noise: float, device: torch.device | str = "cpu") -> torch.Tensor:
    """Times 0 to 999 by chance, of torch's generator; see :class:`Objective`."""
    lowest = torch.where(torch.rand(count, device=device) < high_noise, 400, 0)
    return (lowest + torch.rand(count, device=device) * (1000 - lowest)).long().clamp_max(999)


def snr_weights(snr: torch.Tensor, gamma: float, prediction_type: str) -> torch.Tensor:
    """Min-SNR weights: ``min(SNR, gamma)`` on the error of the clean latents, in each terms.

    For noise that is ``min(SNR, gamma)/SNR``, for velocity ``min(SNR, gamma)/(SNR + 1)``.

    >>> snr_weights(torch.tensor([1.0, 10.0]), 5.0, "epsilon")
    tensor([1.0000, 0.5000])
    """
    least = snr.clamp_max(gamma)
    if prediction_type == "epsilon":
        return least / snr
    return least / (snr + 1) if prediction_type == "v_prediction" else least


def sampled_latents(vae: Any, images: torch.Tensor) -> torch.Tensor:
    """A sample of the autoencoder's latents, not scaled; of one without chance, its latents."""
    encoded = vae.encode(images.to(vae.dtype))
    latents = encoded.latent_dist.sample() if hasattr(encoded, "latent_dist") else encoded.latents
    return latents.float()  # type: ignore[no-any-return]


def likely_latents(vae: Any, images: torch.Tensor) -> torch.Tensor:
    """The likeliest latents, not scaled: how InstructPix2Pix is shown its source."""
    encoded = vae.encode(images.to(vae.dtype))
    latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    return latents.float()  # type: ignore[no-any-return]
