"""Kinds of models: those that are supported, and names of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from ..errors import RecipeError

#: The model of the InstructPix2Pix paper on the hub.
AUTHORS_MODEL = "timbrooks/instruct-pix2pix"
#: Stable Diffusion 1 and 2; Stable Diffusion XL; CosXL, which is SDXL with continuous noise levels.
Family = Literal["sd", "sdxl", "cosxl"]

_SUPPORTED = "only InstructPix2Pix models based on Stable Diffusion 1, 2 and XL can edit"


@dataclass(frozen=True, slots=True)
class ModelKind:
    """A kind of model that can be loaded.

    Attributes:
        edits: its UNet takes the source, as InstructPix2Pix does; else it makes images from text,
            and can only be trained.
    """

    family: Family
    edits: bool = True


class OtherKind(NamedTuple):
    """A kind of model that cannot be loaded.

    Attributes:
        what: its name with an article, such as "a LoRA".
        hint: what to do with it.
    """

    what: str
    hint: str = f"Use a model such as {AUTHORS_MODEL}."

    def message(self, model: str) -> str:
        """One line that names ``model`` and its kind."""
        return f"{model} is {self.what}; {_SUPPORTED}."


#: A UNet that takes noise and text only.
TEXT_TO_IMAGE = OtherKind(
    "a text-to-image model",
    f"Train it with `ip2p-batch train PAIRS --base MODEL`, or use a model such as {AUTHORS_MODEL}.",
)
REFINER = OtherKind("the refiner of Stable Diffusion XL")
LORA = OtherKind("a LoRA", "Add it to a model with --lora.")
CONTROL_NET = OtherKind("a ControlNet", "Add it to a model with --control KIND:MODEL.")
T2I_ADAPTER = OtherKind("a T2I-Adapter", "Add it to a model with --control KIND:MODEL.")
VAE = OtherKind("a VAE", "Give the whole model that the VAE belongs to.")
UNET = OtherKind(
    "a UNet without text encoder and VAE", "Give the whole model that the UNet belongs to."
)
TEXT_ENCODER = OtherKind("a text encoder", "Give the whole model that it belongs to.")


#: Schedulers for continuous noise levels.
CONTINUOUS_SCHEDULERS = ("euler", "dpm++")


def check_scheduler(family: Family, scheduler: str) -> None:
    """Refuse a scheduler that a family's noise levels do not fit.

    Raises:
        RecipeError: the scheduler is for discrete timesteps, the noise levels are continuous.
    """
    if family == "cosxl" and scheduler not in CONTINUOUS_SCHEDULERS:
        raise RecipeError(
            f"--scheduler {scheduler} is not for this model, whose noise levels are continuous.",
            hint=f"Use --scheduler {' or '.join(CONTINUOUS_SCHEDULERS)}.",
        )


class KindFacts(NamedTuple):
    """What the models of one family have in common.

    Attributes:
        training_size: longest side in pixels that the models were trained for.
        defaults: recipe fields with other defaults.
        tiny_vae: hub id of a small VAE with the family's latents (MIT licence).
    """

    training_size: int
    defaults: Mapping[str, Any]
    tiny_vae: str


#: SDXL's scales are those of diffusers' example for sdxl-instructpix2pix-768 and of its CosXL-Edit
#: defaults; CosXL's noise levels are for schedulers without discrete timesteps.
FACTS: Mapping[Family, KindFacts] = MappingProxyType(
    {
        "sd": KindFacts(512, {}, "madebyollin/taesd"),
        "sdxl": KindFacts(768, {"guidance_scale": 3.0}, "madebyollin/taesdxl"),
        "cosxl": KindFacts(
            1024, {"guidance_scale": 5.0, "scheduler": "euler"}, "madebyollin/taesdxl"
        ),
    }
)


def by_channels(family: Family, taken: int, latent: int) -> ModelKind | OtherKind:
    """The kind of a Stable Diffusion model by what its UNet takes.

    Args:
        taken: channels of the UNet's input.
        latent: channels of the latents.
    """
    if taken == 2 * latent:
        return ModelKind(family)
    if taken == latent:
        return ModelKind(family, edits=False)
    if taken == 2 * latent + 1:
        return OtherKind("an inpainting model")
    if taken == latent + 1:
        return OtherKind("a depth-to-image model")
    return OtherKind(f"a model whose UNet takes {taken} channels")
