"""Explain errors of diffusers, transformers and the hub while a model loads."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import ModelError
from ..recipe import DEFAULT_MODEL

#: Next step for users without a model.
TINY_HINT = "`--model tiny` is bundled and needs no download."


def explain(error: Exception, model: str, *, local: bool) -> ModelError:
    """Convert an error while loading to one line and a hint."""
    text = " ".join(str(error).split())[:300]
    if local and Path(model).expanduser().is_file():
        return ModelError(
            f"{model} cannot be loaded as a checkpoint: {text}",
            hint=f"It needs the tensors of a whole Stable Diffusion model. {TINY_HINT}",
        )
    if local:
        return ModelError(
            f"{model} cannot be loaded as a diffusers folder: {text}",
            hint=f"It needs model_index.json and safetensors weights. {TINY_HINT}",
        )
    names = {type(e).__name__ for e in _causes(error)}
    if "HFValidationError" in names or "neither a valid local path" in text:
        # Neither a folder nor something that could be a hub id.
        return ModelError(
            f"There is no model {model!r}: neither a folder nor a hub id.",
            hint=f"Give a diffusers folder or a hub id such as {DEFAULT_MODEL}. {TINY_HINT}",
        )
    if names & {"RepositoryNotFoundError", "RevisionNotFoundError", "GatedRepoError"}:
        return ModelError(
            f"The model hub has no {model} that may be downloaded.",
            hint=f"Check the name and --revision. {TINY_HINT}",
        )
    if names & _UNREACHABLE:
        here = f", there is no folder {model} here" if os.sep in model else ""
        return ModelError(
            f"The model {model} is not on this machine{here}, and the model hub cannot be reached.",
            hint=f"Check the name; connect once to download it, or give a diffusers folder."
            f" {TINY_HINT}",
        )
    return ModelError(
        f"{model} cannot be loaded as an InstructPix2Pix model: {text}",
        hint=f"It needs diffusers' layout and safetensors weights. {TINY_HINT}",
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
