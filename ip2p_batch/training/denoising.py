"""The training loss of InstructPix2Pix: predict the noise in the edited image's latents.

Brooks, Holynski and Efros, "InstructPix2Pix", CVPR 2023, equation 2. The UNet gets the noisy
latents of the edited image, the clean latents of the source image, and the instruction.
"""

from __future__ import annotations

from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from torch import nn

from .trainer import Batch

_TRAIN_TIMESTEPS = 1000
#: Lowest timestep of the examples that :attr:`Objective.high_noise_fraction` counts.
_HIGH_NOISE_TIMESTEP = 400


class Objective(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the loss.

    Attributes:
        conditioning_dropout: fraction of the examples without text, the same without image, and
            the same without both, 0 to 1/3; 0.05 in the paper.
        high_noise_fraction: fraction of the examples whose timestep is drawn from 400 to 999
            only, where the instruction has most effect; the other timesteps are uniform.
        detail_weight: weight of the error of differences between neighbouring latents, added to
            the error of the latents; see :func:`detail_errors`.
        snr_gamma: weight each timestep by ``min(SNR, gamma)`` (Hang et al., "Efficient Diffusion
            Training via Min-SNR Weighting Strategy", ICCV 2023); 0 weights all equally.
    """

    conditioning_dropout: float = 0.05
    high_noise_fraction: float = 0.0
    snr_gamma: float = 0.0
    detail_weight: float = 0.0


class DenoisingLoss(nn.Module):
    """The components of a pipeline as one module whose ``forward`` returns the loss.

    A batch has these keys:

    - ``edited``, ``source``: images, values in [-1, 1], shape ``(batch, 3, height, width)``; or
      ``edited_latents``, ``source_latents``: the autoencoder's latents, unscaled;
    - ``ids``: token ids, shape ``(batch, tokens)``; those of the empty text where it is dropped;
    - ``drop_image``: bool, shape ``(batch,)``.

    Components are trained where their parameters require a gradient.

    Args:
        unet, text_encoder, scheduler: components of a pipeline.
        vae: its autoencoder; None where all batches contain latents.
        objective: options of the loss.
    """

    def __init__(
        self, unet: Any, text_encoder: Any, vae: Any, scheduler: Any, objective: Objective
    ) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder
        self.vae = vae
        self.objective = objective
        self.noise_scheduler = DDPMScheduler.from_config(scheduler.config)
        #: Scaling factor of the edited latents.
        self.scaling = 1.0 if vae is None else float(vae.config.scaling_factor)

    def forward(self, batch: Batch) -> torch.Tensor:
        latents, source = self._latents(batch)
        source = source.masked_fill(batch["drop_image"][:, None, None, None], 0)
        text = self.text_encoder(batch["ids"])[0]
        noise = torch.randn_like(latents)
        timesteps = sample_timesteps(
            len(latents), self.objective.high_noise_fraction, latents.device
        )
        noisy = self.noise_scheduler.add_noise(latents, noise, timesteps)
        prediction = self.predict(noisy, source, timesteps, text, batch).float()
        target = self._target(latents, noise, timesteps)
        errors = F.mse_loss(prediction, target, reduction="none").mean((1, 2, 3))
        if self.objective.detail_weight:
            errors = errors + self.objective.detail_weight * detail_errors(prediction - target)
        return (errors * self._weights(timesteps)).mean()

    def predict(
        self,
        noisy: torch.Tensor,
        source: torch.Tensor,
        timesteps: torch.Tensor,
        text: torch.Tensor,
        batch: Batch,
    ) -> torch.Tensor:
        """Return the UNet's output.

        Args:
            noisy: noisy latents of the edited image, scaled.
            source: latents of the source; zero where they are dropped.
            timesteps: one for each example.
            text: embeddings, shape ``(batch, tokens, width)``.
            batch: the batch, for a subclass that has further conditions.
        """
        return self.unet_output(noisy, source, timesteps, text)

    def unet_output(
        self,
        noisy: torch.Tensor,
        source: torch.Tensor,
        timesteps: torch.Tensor,
        text: torch.Tensor,
        **residuals: Any,
    ) -> torch.Tensor:
        """Call the UNet once; ``residuals`` are arguments of its own, such as a net's output."""
        stacked = torch.cat([noisy, source], dim=1).contiguous(memory_format=torch.channels_last)
        prediction: torch.Tensor = self.unet(stacked, timesteps, text, **residuals).sample
        return prediction

    def _latents(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        if "edited_latents" in batch:
            return batch["edited_latents"] * self.scaling, batch["source_latents"]
        with torch.no_grad():
            edited = sample_latents(self.vae, batch["edited"]) * self.scaling
            return edited, mode_latents(self.vae, batch["source"])

    def _target(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        prediction_type = self.noise_scheduler.config.prediction_type
        if prediction_type == "epsilon":
            return noise
        if prediction_type == "v_prediction":
            velocity: torch.Tensor = self.noise_scheduler.get_velocity(latents, noise, timesteps)
            return velocity
        return latents

    def _weights(self, timesteps: torch.Tensor) -> torch.Tensor:
        gamma = self.objective.snr_gamma
        if not gamma:
            return torch.ones_like(timesteps, dtype=torch.float32)
        alphas = self.noise_scheduler.alphas_cumprod.to(timesteps.device)[timesteps].float()
        prediction_type = self.noise_scheduler.config.prediction_type
        return min_snr_weights(alphas / (1 - alphas), gamma, prediction_type)


def sample_timesteps(
    count: int, high_noise_fraction: float, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Draw ``count`` timesteps, 0 to 999, from torch's generator; see :class:`Objective`."""
    is_high = torch.rand(count, device=device) < high_noise_fraction
    lowest = torch.where(is_high, _HIGH_NOISE_TIMESTEP, 0)
    uniform = torch.rand(count, device=device)
    timesteps = (lowest + uniform * (_TRAIN_TIMESTEPS - lowest)).long()
    return timesteps.clamp_max(_TRAIN_TIMESTEPS - 1)


def min_snr_weights(snr: torch.Tensor, gamma: float, prediction_type: str) -> torch.Tensor:
    """Return Min-SNR weights for the loss of the model's own prediction.

    ``min(SNR, gamma)`` weights the error of the clean latents. The equal weight of the noise's
    error is ``min(SNR, gamma)/SNR``, that of the velocity's ``min(SNR, gamma)/(SNR + 1)``.

    Args:
        snr: signal-to-noise ratios, shape ``(batch,)``.
        gamma: the largest weight of the clean latents' error.
        prediction_type: the scheduler's: "epsilon", "v_prediction" or "sample".

    >>> min_snr_weights(torch.tensor([1.0, 10.0]), 5.0, "epsilon")
    tensor([1.0000, 0.5000])
    """
    clipped = snr.clamp_max(gamma)
    if prediction_type == "epsilon":
        return clipped / snr
    return clipped / (snr + 1) if prediction_type == "v_prediction" else clipped


def detail_errors(error: torch.Tensor) -> torch.Tensor:
    """Return the mean squared differences between neighbouring elements of an error.

    Texture and edges count more in it than colour and brightness, which are nearly equal in
    neighbours.

    Args:
        error: shape ``(batch, channels, height, width)``.

    Returns:
        The sum over both directions, shape ``(batch,)``.

    >>> detail_errors(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))
    tensor([1.])
    """
    across, down = error.diff(dim=-1), error.diff(dim=-2)
    return across.square().mean((1, 2, 3)) + down.square().mean((1, 2, 3))


def sample_latents(vae: Any, images: torch.Tensor) -> torch.Tensor:
    """Return a sample of the autoencoder's latents, float32, unscaled.

    The latents of a deterministic autoencoder (``AutoencoderTiny``) are returned as they are.
    """
    encoded = vae.encode(images.to(vae.dtype))
    latents = encoded.latent_dist.sample() if hasattr(encoded, "latent_dist") else encoded.latents
    return latents.float()  # type: ignore[no-any-return]


def mode_latents(vae: Any, images: torch.Tensor) -> torch.Tensor:
    """Return the mode of the autoencoder's latents, float32, unscaled.

    InstructPix2Pix gets its source image in this form.
    """
    encoded = vae.encode(images.to(vae.dtype))
    latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    return latents.float()  # type: ignore[no-any-return]
