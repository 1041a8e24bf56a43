"""From a recipe file and a folder of photographs to a diffusers folder that ``--model`` loads."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from safetensors.torch import load_file, save_file

from ip2p_batch.errors import RecipeError, SourceError
from ip2p_batch.media.images.codec import read_still
from ip2p_batch.media.images.listing import find_items
from ip2p_batch.training.denoising import Denoising, Objective
from ip2p_batch.training.fit import Fitting, fit
from ip2p_batch.training.saving import save_pipeline

from . import autoencoder, parts
from .crops import Cropping, Crops, make_crops
from .denoiser import DenoiserTask
from .latents import make_latents

#: what, done, of how many, and a word on how it goes
Progress = Callable[[str, int, int, str], None]


class AutoencoderStage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the autoencoder is trained.

    Attributes:
        side: pixels of the squares it sees.
        architecture, fitting: its sizes, and the loop's options.
    """

    side: int
    architecture: autoencoder.Architecture
    fitting: Fitting


class DenoiserStage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stretch of the training of UNet and text encoder.

    Attributes:
        side: latent pixels of the squares they see.
        fitting: the loop's options.
    """

    side: int
    fitting: Fitting


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recipe file.

    Attributes:
        photos: list of the photographs, a path beside the recipe; see :mod:`.photos`.
        seed: where the first weights come from.
        crops: what is cut of the photographs.
        autoencoder: its sizes and training.
        text, unet: sizes.
        objective: what the UNet is asked.
        stages: its training, one after the other.
        defaults: the finished model's own defaults for steps, scales and size.
    """

    photos: str
    seed: int = 0
    crops: Cropping
    autoencoder: AutoencoderStage
    text: parts.TextArchitecture
    unet: parts.UNetArchitecture
    objective: Objective
    stages: tuple[DenoiserStage, ...]
    defaults: dict[str, int | float]


def load_recipe(path: Path) -> Recipe:
    """Read a TOML file.

    Raises:
        RecipeError: it is missing, not TOML, or has a field that is unknown or wrong.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Recipe)
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"{path} is not a training recipe: {error}",
            hint="training/tiny.toml of the repository shows every field.",
        ) from None


def build_model(
    recipe: Recipe,
    photos: Path,
    held_out: Path,
    work: Path,
    output: Path,
    *,
    progress: Progress = lambda *_: None,
) -> Path:
    """Do every stage that is not done yet, and write the model to ``output``.

    Args:
        recipe: sizes and steps.
        photos, held_out: folders of photographs to learn from and to measure with.
        work: for crops, latents and checkpoints; given again, the work goes on where it was.
        output: a folder for the model, in diffusers' form with float16 weights.
        progress: called often.

    Raises:
        SourceError: there are no photographs.
        RecipeError: ``work`` holds checkpoints of another recipe.
        OutputError: something cannot be written.
    """
    crops = make_crops(
        pictures(photos), work / "crops", recipe.crops,
        progress=lambda done, of: progress("crops", done, of, ""),
    )  # fmt: skip
    vae = _autoencoder(recipe, crops, squares(held_out), work / "autoencoder", progress)
    latents = make_latents(
        vae, crops, work / "latents",
        progress=lambda done, of: progress("latents", done, of, ""),
    )  # fmt: skip
    tokenizer = parts.build_tokenizer(recipe.text)
    torch.manual_seed(recipe.seed)
    channels = recipe.autoencoder.architecture.latent_channels
    text_encoder = parts.build_text_encoder(recipe.text, tokenizer)
    unet = parts.build_unet(recipe.unet, channels, recipe.text.width)
    scheduler = parts.build_scheduler()
    model = Denoising(unet, text_encoder, None, scheduler, recipe.objective)
    model.scaling = float(vae.config.scaling_factor)
    for number, stage in enumerate(recipe.stages, 1):
        name = f"denoiser-{number}"
        if not _finished(model, work / name):
            task = DenoiserTask(model, tokenizer, latents, stage.side)
            fit(task, stage.fitting, work / name, progress=_told(progress, name))
            _finish(model, work / name)
    return save_model(
        output, recipe.defaults, vae=vae, unet=unet, text_encoder=text_encoder,
        tokenizer=tokenizer, scheduler=scheduler,
    )  # fmt: skip


def _autoencoder(
    recipe: Recipe, crops: Crops, held_out: np.ndarray, work: Path, progress: Progress
) -> Any:
    stage = recipe.autoencoder
    torch.manual_seed(recipe.seed)
    vae = autoencoder.build(stage.architecture)
    if not _finished(vae, work):
        task = autoencoder.AutoencoderTask(vae, crops, stage.side, held_out)
        autoencoder.normalize(vae, task.batch(16, 0)["images"])
        fit(task, stage.fitting, work, progress=_told(progress, "autoencoder"))
        _finish(vae, work)
    vae.eval().requires_grad_(requires_grad=False)
    vae.register_to_config(scaling_factor=1 / autoencoder.latent_spread(vae, crops))
    return vae


def _told(progress: Progress, name: str) -> Callable[[int, int, float], None]:
    return lambda step, of, loss: progress(name, step, of, f"loss {loss:.4f}")


def _finished(module: torch.nn.Module, work: Path) -> bool:
    path = work / "finished.safetensors"
    if not path.exists():
        return False
    module.load_state_dict(load_file(path))
    return True


def _finish(module: torch.nn.Module, work: Path) -> None:
    """Keep the averaged weights; the optimiser's state is of no use any more."""
    partial = work / ".finished.safetensors"
    tensors = {name: value.contiguous() for name, value in module.state_dict().items()}
    save_file(tensors, partial)
    partial.replace(work / "finished.safetensors")


def pictures(folder: Path) -> list[Path]:
    """Every picture below ``folder`` that can be read, in the order of their names."""
    items = find_items(folder, folder / ".results")  # nothing is written there
    found = sorted(Path(item.source) for item in items if item.error is None)
    if not found:
        raise SourceError(f"{folder} holds no photographs.", path=folder)
    return found


def squares(folder: Path, side: int = 256) -> np.ndarray:
    """The middle square of each picture below ``folder``, uint8, scaled to ``side`` pixels."""
    cut = []
    for path in pictures(folder):
        image = read_still(path).image
        height, width = image.shape[:2]
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        square = image[top : top + short, left : left + short]
        cut.append(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA))
    return np.stack(cut)


def save_model(output: Path, defaults: dict[str, int | float], **components: Any) -> Path:
    """Write a pipeline's components to a diffusers folder, weights as float16 safetensors."""
    pipe = StableDiffusionInstructPix2PixPipeline(
        **components, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipe.to(dtype=torch.float16)
    save_pipeline(pipe, output, defaults)
    pipe.to(dtype=torch.float32)
    return output
