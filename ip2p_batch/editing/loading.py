"""Load a model's weights and create its editor."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..editing.precision import auto_dtype
from ..errors import ModelError, RecipeError
from ..models import catalog, layout
from ..models.kinds import ModelKind
from ..recipe import DEFAULT_MODEL
from ..recipe_parts import Lora
from . import single_file
from .control.loading import load_net
from .load_errors import TINY_HINT, explain
from .lora.merge import merge_loras
from .pipeline_class import pipeline_class
from .pix2pix import Pix2PixEditor

#: Raises ModelError for a kind that may not be loaded; else returns it, or None if unknown.
CheckKind = Callable[[str, Path], ModelKind | None]


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
        model: bundled name, diffusers folder, .safetensors checkpoint or hub id.
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
            hint=f"Use a model trained on instructions, such as {DEFAULT_MODEL}. {TINY_HINT}",
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


def load_pipeline(
    model: str,
    *,
    revision: str | None = None,
    dtype: torch.dtype,
    check: CheckKind = layout.check_edits,
) -> Any:
    """Load ``model`` as diffusers' InstructPix2Pix pipeline for its family.

    A plain Stable Diffusion model with the same classes loads as well; its UNet takes only the
    noisy latents.

    Args:
        check: what kinds may be loaded; :func:`.layout.check_trains` for base models.

    Raises:
        ModelError: the model is not found, cannot be downloaded, or is of another kind.
    """
    catalog.check_supported(model, check)
    quiet_libraries()
    place = Path(catalog.locate(model))
    local = place.exists()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations between diffusers and transformers
            if not local:
                place = _download(model, revision, check)
            kind = check(model, place) or ModelKind("sd")
            if place.is_file():
                return single_file.load(place, kind, dtype)
            return _load_folder(place, kind, dtype)
    except ModelError:
        raise
    except Exception as error:  # diffusers, transformers and the hub raise errors of any type
        raise explain(error, model, local=local) from error


def _download(model: str, revision: str | None, check: CheckKind) -> Path:
    """Download a model from the hub, or find it in the cache; its folder."""
    from huggingface_hub import snapshot_download

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # A model of another kind is refused before its weights are downloaded.
    small = ["model_index.json", "*/config.json", "scheduler/*.json"]
    described = Path(snapshot_download(model, revision=revision, allow_patterns=small))
    pipeline, _ = pipeline_class(check(model, described) or ModelKind("sd"))
    options = {"revision": revision, "use_safetensors": True, "safety_checker": None}
    try:
        return Path(pipeline.download(model, **options))
    except OSError as error:
        if "safetensors" not in str(error):
            raise
        # Some have half precision weights only.
        return Path(pipeline.download(model, variant=layout.HALF_PRECISION, **options))


def _load_folder(folder: Path, kind: ModelKind, dtype: torch.dtype) -> Any:
    check_parts(folder)
    pipeline, options = pipeline_class(kind)
    pipe = pipeline.from_pretrained(
        folder,
        torch_dtype=dtype,
        use_safetensors=True,
        variant=layout.weights_variant(folder),
        local_files_only=True,
        trust_remote_code=False,
        **options,
    )
    # Newer loaders keep the type of the saved weights.
    return pipe.to(dtype)


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
        raise explain(error, f"{place}/{folder or ''}", local=folder is not None) from error


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
    hint = f"Only parts of diffusers and transformers are loaded. {TINY_HINT}"
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
                hint=f"Only safetensors files in the same folder are loaded. {TINY_HINT}",
            )


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
