"""Build the bundled model: photographs in, a diffusers folder that ``--model`` loads out."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from safetensors.torch import load_file, save_file

from ip2p_batch.errors import RecipeError, SourceError
from ip2p_batch.media.images.listing import find_items
from ip2p_batch.media.images.reader import read_image
from ip2p_batch.models.edit_sizes import EditSizes
from ip2p_batch.training.config import TrainingConfig
from ip2p_batch.training.denoising import DenoisingLoss, Objective
from ip2p_batch.training.saving import save_pipeline
from ip2p_batch.training.trainer import train_model

from . import autoencoder, components
from .control import ControlConfig
from .crops import CropConfig, Crops, make_crops
from .denoiser import DenoiserTask
from .latents import make_latents
from .progress import Progress, loss_of

_FINISHED = "finished.safetensors"


class AutoencoderStage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The training of the autoencoder.

    Attributes:
        side: side of the training squares in pixels.
        architecture: sizes of the autoencoder.
        training: options of the training loop.
    """

    side: int
    architecture: autoencoder.Architecture
    training: TrainingConfig


class DenoiserStage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stage of the training of UNet and text encoder.

    Attributes:
        side: side of the training squares in latent pixels.
        training: options of the training loop.
    """

    side: int
    training: TrainingConfig


class TinyConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration file of the bundled model.

    Attributes:
        photos: list of the photographs, a path relative to the file; see :mod:`.photos`.
        seed: seed of the initial weights.
        crops: options of the training crops.
        autoencoder: sizes and training of the autoencoder.
        text, unet: sizes of the text encoder and the UNet.
        objective: options of the UNet's loss.
        stages: training stages of UNet and text encoder, in order.
        defaults: the model's defaults for steps and scales.
        control: the training of its control nets, which needs the finished model.
    """

    photos: str
    seed: int = 0
    crops: CropConfig
    autoencoder: AutoencoderStage
    text: components.TextArchitecture
    unet: components.UNetArchitecture
    objective: Objective
    stages: tuple[DenoiserStage, ...]
    defaults: dict[str, int | float]
    control: ControlConfig | None = None


def load_config(path: Path) -> TinyConfig:
    """Read a configuration from a TOML file.

    Raises:
        RecipeError: the file is missing or not TOML, or a field is missing, unknown or invalid.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), TinyConfig)
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"{path} is not a valid configuration: {error}",
            hint="See training/tiny.toml for all fields.",
        ) from None


def build_model(
    config: TinyConfig,
    photos: Path,
    held_out: Path,
    work: Path,
    output: Path,
    *,
    progress: Progress = lambda *_: None,
) -> Path:
    """Run the unfinished stages, and write the model to ``output``.

    Args:
        config: sizes and training options.
        photos, held_out: folders of the photographs to train on and to measure with.
        work: folder for crops, latents and checkpoints. The build resumes from what it contains.
        output: folder of the model, in diffusers' layout with float16 weights.
        progress: called after each unit of work.

    Raises:
        SourceError: there are no photographs.
        RecipeError: ``work`` contains checkpoints of another configuration.
        OutputError: a file cannot be written.
    """
    crops = make_crops(
        list_images(photos), work / "crops", config.crops,
        progress=lambda done, total: progress("crops", done, total, ""),
    )  # fmt: skip
    vae = _train_autoencoder(
        config, crops, center_squares(held_out), work / "autoencoder", progress
    )
    latents = make_latents(
        vae, crops, work / "latents",
        progress=lambda done, total: progress("latents", done, total, ""),
    )  # fmt: skip
    tokenizer = components.keep_tokenizer(config.text, work / "tokenizer")
    torch.manual_seed(config.seed)
    channels = config.autoencoder.architecture.latent_channels
    text_encoder = components.build_text_encoder(config.text, tokenizer)
    unet = components.build_unet(config.unet, channels, config.text.width)
    scheduler = components.build_scheduler()
    loss = DenoisingLoss(unet, text_encoder, None, scheduler, config.objective)
    loss.scaling = float(vae.config.scaling_factor)
    for number, stage in enumerate(config.stages, 1):
        name = f"denoiser-{number}"
        if not _load_finished(loss, work / name):
            task = DenoiserTask(loss, tokenizer, latents, stage.side)
            train_model(task, stage.training, work / name, progress=loss_of(progress, name))
            _save_finished(loss, work / name)
    return save_model(
        output, config.defaults, EditSizes.unmeasured(config.crops.size),
        vae=vae, unet=unet, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=scheduler,
    )  # fmt: skip


def _train_autoencoder(
    config: TinyConfig, crops: Crops, held_out: np.ndarray, work: Path, progress: Progress
) -> Any:
    stage = config.autoencoder
    torch.manual_seed(config.seed)
    vae = autoencoder.build(stage.architecture)
    if not _load_finished(vae, work):
        task = autoencoder.AutoencoderTask(vae, crops, stage.side, held_out)
        autoencoder.normalize(vae, task.batch(16, 0)["images"])
        train_model(task, stage.training, work, progress=loss_of(progress, "autoencoder"))
        _save_finished(vae, work)
    vae.eval().requires_grad_(requires_grad=False)
    vae.register_to_config(scaling_factor=1 / autoencoder.latent_std(vae, crops))
    return vae


def _load_finished(module: torch.nn.Module, work: Path) -> bool:
    """Load the weights of a finished stage; return whether there are any."""
    path = work / _FINISHED
    if not path.exists():
        return False
    module.load_state_dict(load_file(path))
    return True


def _save_finished(module: torch.nn.Module, work: Path) -> None:
    """Save the averaged weights of a finished stage."""
    partial = work / f".{_FINISHED}"
    tensors = {name: value.contiguous() for name, value in module.state_dict().items()}
    save_file(tensors, partial)
    partial.replace(work / _FINISHED)


def list_images(folder: Path) -> list[Path]:
    """Return all readable images in ``folder`` and its subfolders, sorted by path.

    Raises:
        SourceError: there is no readable image.
    """
    items = find_items(folder, folder / ".results")  # an output folder that does not exist
    images = sorted(Path(item.source) for item in items if item.error is None)
    if not images:
        raise SourceError(f"{folder} contains no photographs.", path=folder)
    return images


def center_squares(folder: Path, side: int = 256) -> np.ndarray:
    """Return the center square of each image in ``folder``, scaled to ``side`` pixels.

    Returns:
        uint8, shape ``(images, side, side, 3)``.
    """
    squares = []
    for path in list_images(folder):
        image = read_image(path)
        height, width = image.shape[:2]
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        square = image[top : top + short, left : left + short]
        squares.append(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA))
    return np.stack(squares)


def save_model(
    output: Path, defaults: dict[str, int | float], edit_sizes: EditSizes, **pipeline_parts: Any
) -> Path:
    """Write a pipeline to a diffusers folder, with weights as float16 safetensors."""
    pipe = StableDiffusionInstructPix2PixPipeline(
        **pipeline_parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipe.to(dtype=torch.float16)
    save_pipeline(pipe, output, defaults, edit_sizes)
    pipe.to(dtype=torch.float32)
    return output
