"""Checkpoints of a training run.

A checkpoint is a folder ``checkpoints/step-0000500`` with the trained weights, their moving
average, the optimizer's state, and ``state.json``. It is written under a temporary name and
renamed when complete, so every visible checkpoint is complete.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file, save_file

from ..errors import RecipeError
from ..storage.atomic import write_atomic
from .config import TrainingConfig
from .saving import reporting_write_errors

FOLDER = "checkpoints"
_WEIGHTS = "weights.safetensors"
_AVERAGE = "average.safetensors"
_OPTIMIZER = "optimizer.pt"
_STATE = "state.json"
#: Options that may differ between the run that wrote a checkpoint and the run that resumes it.
_FREE_OPTIONS = frozenset(["checkpoint_every", "keep_checkpoints", "validate_every"])


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a training run after a step.

    Attributes:
        step: optimizer steps done.
        weights: trained parameters by name.
        average: their moving average by name; empty without one.
        average_steps: updates of the moving average.
        optimizer: the optimizer's state, and the gradient scaler's for fp16, as torch saves them.
    """

    step: int
    weights: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    average_steps: int
    optimizer: dict[str, Any]


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of the run in ``folder``, oldest first."""
    return sorted((folder / FOLDER).glob("step-*"))


def write_checkpoint(folder: Path, checkpoint: Checkpoint, config: TrainingConfig) -> None:
    """Write a checkpoint, then delete all but the newest ``config.keep_checkpoints``.

    Raises:
        OutputError: it cannot be written.
    """
    final = folder / FOLDER / f"step-{checkpoint.step:07d}"
    partial = final.with_name(f".{final.name}")
    shutil.rmtree(partial, ignore_errors=True)
    with reporting_write_errors(final, "checkpoint", "The previous checkpoint is complete."):
        partial.mkdir(parents=True)
        save_file(checkpoint.weights, partial / _WEIGHTS)
        if checkpoint.average:
            save_file(checkpoint.average, partial / _AVERAGE)
        torch.save(checkpoint.optimizer, partial / _OPTIMIZER)
        state = {
            "step": checkpoint.step,
            "options": _as_json(config),
            "average_steps": checkpoint.average_steps,
        }
        write_atomic(partial / _STATE, json.dumps(state, indent=1).encode())
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    for old in list_checkpoints(folder)[: -config.keep_checkpoints]:
        shutil.rmtree(old, ignore_errors=True)


def read_newest_checkpoint(folder: Path, config: TrainingConfig) -> Checkpoint | None:
    """Read the newest checkpoint of the run in ``folder``; None where there is no checkpoint.

    Raises:
        RecipeError: it was written with other options than ``config``.
    """
    checkpoints = list_checkpoints(folder)
    if not checkpoints:
        return None
    path = checkpoints[-1]
    state = json.loads((path / _STATE).read_text(encoding="utf-8"))
    _require_same_options(state["options"], config, path)
    return Checkpoint(
        step=state["step"],
        weights=load_file(path / _WEIGHTS),
        average=load_file(path / _AVERAGE) if (path / _AVERAGE).exists() else {},
        average_steps=state["average_steps"],
        optimizer=torch.load(path / _OPTIMIZER, map_location="cpu", weights_only=True),
    )


def _require_same_options(saved: dict[str, Any], config: TrainingConfig, path: Path) -> None:
    current = _as_json(config)
    changed = [
        name for name in current if name not in _FREE_OPTIONS and saved.get(name) != current[name]
    ]
    if changed:
        name = changed[0]
        raise RecipeError(
            f"{path} was written with {name} = {saved.get(name)}, not {current[name]}.",
            hint="Use the options of the first run, or choose another folder with -o.",
        )


def _as_json(config: TrainingConfig) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(msgspec.json.encode(config))
    return values
