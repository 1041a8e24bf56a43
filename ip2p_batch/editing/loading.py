"""Load a model's weights and create its editor."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..editing.precision import auto_dtype
from ..errors import ModelError, RecipeError
from ..models import catalog, layout
from ..recipe import DEFAULT_MODEL
from ..recipe_parts import Lora
from .control.loading import load_net
from .lora.merge import merge_loras
from .pix2pix import Pix2PixEditor

_TINY_HINT = "`--model tiny` is bundled and needs no download."


def load_editor(
    model: str = DEFAULT_MODEL,
    *,
    revision: str | None = None,
    loras: Sequence[Lora] = (),
    dtype: str = "auto",
    device: str = "auto",
    threads: int = 1,
    share: float = 1.0,
    cache: Path | None = None,
) -> Pix2PixEditor:
    """Load ``model`` through diffusers, weights from safetensors only, no safety checker.

    Args:
        model: bundled name, diffusers folder or hub id.
        loras: are merged into its weights.
        device: ``auto`` (the first GPU, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``auto`` is float16 on a GPU, bfloat16 on a CPU that computes in it, else float32.
        threads: torch threads on the CPU. Their number decides the last bits of the result.
        share: of a GPU's memory that this process may use.
        cache: folder for measurements and compiled kernels, for later processes.

    Raises:
        ModelError: the model is not found, cannot be downloaded, is not an InstructPix2Pix model,
            or is too large for the device; or a LoRA cannot be merged into it.
        RecipeError: the device does not support ``dtype``.
    """
    device = _device(device)
    weights = _dtype(dtype, device)
    if device == "cpu":
        torch.set_num_threads(threads)
    else:
        # Some of cuDNN's convolutions sum in a different order each time.
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        if share < 1:
            # So that batch sizes are measured with the memory left by the GPU's other workers.
            torch.cuda.set_per_process_memory_fraction(share, torch.device(device).index)
    pipe = load_pipeline(model, revision=revision, dtype=weights)
    unet, vae = pipe.unet, pipe.vae
    channels = int(vae.config.latent_channels)
    if int(unet.config.in_channels) != 2 * channels:
        raise ModelError(
            f"{model} is not an InstructPix2Pix model: its UNet takes {unet.config.in_channels}"
            f" channels, not {2 * channels}.",
            hint=f"Use a model trained on instructions, such as {DEFAULT_MODEL}. {_TINY_HINT}",
        )
    merge_loras(pipe, loras)
    try:
        return Pix2PixEditor(
            pipe,
            device=device,
            dtype=weights,
            load_tiny_vae=partial(load_tiny_vae, model),
            load_net=partial(load_net, model),
            name=model,
            cache=cache,
        )
    except torch.OutOfMemoryError:
        raise ModelError(
            f"{model} does not fit into the memory of {device}.",
            hint="Free the device, or use --dtype float16 or --devices cpu.",
        ) from None


def quiet_libraries() -> None:
    """Let diffusers and transformers log errors only, without progress bars."""
    import transformers

    # Before diffusers is imported, since importing its pipelines makes transformers warn.
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    import diffusers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()


def load_pipeline(model: str, *, revision: str | None = None, dtype: torch.dtype) -> Any:
    """Load ``model`` as diffusers' ``StableDiffusionInstructPix2PixPipeline``.

    A plain Stable Diffusion model with the same classes loads as well; its UNet takes only the
    noisy latents.

    Raises:
        ModelError: the model is not found, cannot be downloaded, or is not in diffusers' layout.
    """
    import diffusers

    layout.check_supported(model)
    place = catalog.locate(model)
    quiet_libraries()
    local = Path(place).is_dir()
    if not local:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations between diffusers and transformers
            pipeline = diffusers.StableDiffusionInstructPix2PixPipeline
            if not local:
                place = pipeline.download(
                    place, revision=revision, use_safetensors=True, safety_checker=None
                )
            layout.check_supported(place)
            check_parts(Path(place))
            pipe = pipeline.from_pretrained(
                place,
                torch_dtype=dtype,
                use_safetensors=True,
                variant=layout.weights_variant(Path(place)),
                safety_checker=None,
                requires_safety_checker=False,
                local_files_only=True,
                trust_remote_code=False,
            )
            # Newer loaders keep the type of the saved weights.
            return pipe.to(dtype)
    except ModelError:
        raise
    except Exception as error:  # diffusers, transformers and the hub raise errors of any type
        raise _explain(error, model, local=local) from error


def load_tiny_vae(model: str) -> Any:
    """Load the small VAE for previews with ``model``, diffusers' ``AutoencoderTiny``.

    Raises:
        ModelError: there is no such VAE, or it cannot be downloaded or loaded.
    """
    import diffusers

    place, folder = catalog.tiny_vae(model)
    quiet_libraries()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return diffusers.AutoencoderTiny.from_pretrained(
                place, subfolder=folder, use_safetensors=True, torch_dtype=torch.float32
            )
    except Exception as error:  # as in load_pipeline
        raise _explain(error, f"{place}/{folder or ''}", local=folder is not None) from error


def check_parts(folder: Path) -> None:
    """Refuse a model folder that names its own code, or weights outside of it.

    ``model_index.json`` names the class of each part. With ``trust_remote_code=False`` diffusers
    runs no code of the folder, but it would use a class of any module that is already loaded.

    Raises:
        ModelError: names the part.
    """
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    if not isinstance(index, dict):
        raise ValueError("model_index.json holds no object")
    hint = f"Only parts of diffusers and transformers are loaded. {_TINY_HINT}"
    if not isinstance(index.get("_class_name", ""), str):
        raise ModelError(f"{folder} names its own pipeline, whose code is not run.", hint=hint)
    for part, kind in index.items():
        if part.startswith("_") or not isinstance(kind, list) or part == "safety_checker":
            continue
        if kind[:1] not in ([None], ["diffusers"], ["transformers"]):
            named = ".".join(map(str, kind))[:100]
            raise ModelError(
                f"{folder} names {named} for its {part}, which is not loaded.", hint=hint
            )
        # Next to a text encoder this names another model to load, by path or from the hub.
        if (folder / part / "adapter_config.json").exists():
            raise ModelError(
                f"{folder} has an adapter in its {part}, which is not loaded.",
                hint="Merge it into the weights first, as `ip2p-batch train` does.",
            )
        for shards in (folder / part).glob("*.index.json"):
            _check_shards(shards)


def _check_shards(path: Path) -> None:
    """Refuse an index of weight shards that names a file outside of its own folder.

    Raises:
        ModelError: names the file.
    """
    index = json.loads(path.read_text(encoding="utf-8"))
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict):
        raise ValueError(f"{path.name} has no weight_map")
    for name in map(str, names.values()):
        if not name.endswith(".safetensors") or not set("/\\\0").isdisjoint(name):
            raise ModelError(
                f"{path} names {name[:100]!r} for its weights, which is not loaded.",
                hint=f"Only safetensors files in the same folder are loaded. {_TINY_HINT}",
            )


def _explain(error: Exception, model: str, *, local: bool) -> ModelError:
    """Convert an error while loading to one line and a hint."""
    text = " ".join(str(error).split())[:300]
    if local:
        return ModelError(
            f"{model} cannot be loaded as a diffusers folder: {text}",
            hint=f"It needs model_index.json and safetensors weights. {_TINY_HINT}",
        )
    names = {type(e).__name__ for e in _causes(error)}
    if "HFValidationError" in names or "neither a valid local path" in text:
        # Neither a folder nor something that could be a hub id.
        return ModelError(
            f"There is no model {model!r}: neither a folder nor a hub id.",
            hint=f"Give a diffusers folder or a hub id such as {DEFAULT_MODEL}. {_TINY_HINT}",
        )
    if names & {"RepositoryNotFoundError", "RevisionNotFoundError", "GatedRepoError"}:
        return ModelError(
            f"The model hub has no {model} that may be downloaded.",
            hint=f"Check the name and --revision. {_TINY_HINT}",
        )
    if names & _UNREACHABLE:
        here = f", there is no folder {model} here" if os.sep in model else ""
        return ModelError(
            f"The model {model} is not on this machine{here}, and the model hub cannot be reached.",
            hint=f"Check the name; connect once to download it, or give a diffusers folder."
            f" {_TINY_HINT}",
        )
    return ModelError(
        f"{model} cannot be loaded as an InstructPix2Pix model: {text}",
        hint=f"It needs diffusers' layout and safetensors weights. {_TINY_HINT}",
    )


#: Raised by the hub's client and its libraries if the hub cannot be reached.
_UNREACHABLE = frozenset(
    {
        "ConnectError",
        "ConnectTimeout",
        "ConnectionError",
        "ConnectionRefusedError",
        "ConnectionResetError",
        "LocalEntryNotFoundError",
        "NewConnectionError",
        "OfflineModeIsEnabled",
        "ProxyError",
        "ReadTimeout",
        "SSLError",
        "Timeout",
        "TimeoutError",
        "gaierror",
    }
)


def _causes(error: BaseException | None) -> list[BaseException]:
    chain = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    kind, _, number = name.partition(":")
    if kind != "cuda" or not (number or "0").isdecimal():
        raise ModelError(
            f"Device {name} is not known.", hint="Use auto, cpu, cuda or cuda:0, cuda:1, ..."
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= count:
        raise ModelError(
            f"Device {name} does not exist: torch sees {count or 'no'} GPU"
            f"{'' if count in (0, 1) else 's'}.",
            hint="Check the driver with `ip2p-batch doctor`, or use --devices cpu.",
        )
    return name


def _dtype(name: str, device: str) -> torch.dtype:
    if name == "auto":
        name = auto_dtype(gpu=device != "cpu")
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    if device == "cpu" and dtype is torch.float16:
        raise RecipeError(
            "--dtype float16 is for GPUs; on a CPU it is slow, and some parts of a model lack it.",
            hint="Omit --dtype, or use --dtype bfloat16.",
        )
    return dtype
