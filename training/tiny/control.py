"""Train control nets for the bundled model, on latents of crops and hints of their sources."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from ip2p_batch.editing.control.nets import hint_tensor
from ip2p_batch.editing.loading import load_pipeline
from ip2p_batch.hints.kinds import check_kind
from ip2p_batch.hints.make import make_hint
from ip2p_batch.models import net_checks
from ip2p_batch.models.control_nets import ADAPTER_FOLDER, CONTROL_FOLDER, NetType
from ip2p_batch.training.config import TrainingConfig
from ip2p_batch.training.control_loss import ControlLoss, ControlObjective
from ip2p_batch.training.control_nets import new_net, save_net
from ip2p_batch.training.tensors import tokenize
from ip2p_batch.training.trainer import Batch, train_model

from .crops import Crops
from .denoiser import DenoiserTask
from .latents import Latents, make_latents
from .progress import Progress, loss_of


class ControlStage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stage of the training of a control net.

    Attributes:
        side: side of the training squares in latent pixels.
        objective: options of the loss.
        training: options of the training loop.
    """

    side: int
    objective: ControlObjective = ControlObjective()
    training: TrainingConfig


class ControlConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The training of the bundled model's control nets.

    Attributes:
        every_crop: use one of so many crops; their latents are encoded again for a finished model.
        edits_per_crop: edits used of each crop.
        stages: training stages by type of net, in order.
    """

    every_crop: int = 1
    edits_per_crop: int = 8
    stages: dict[NetType, tuple[ControlStage, ...]]


class ControlTask(DenoiserTask):
    """Edit by instruction and hint; a :class:`~ip2p_batch.training.trainer.TrainingTask`.

    The hint is made of the source, as at inference: the edits keep its edges.

    Args:
        model: the loss, without an autoencoder.
        tokenizer: the text encoder's tokenizer.
        latents, crops: latents to train on, and the crops that they encode.
        side: side in latent pixels of the squares that are cut out; even.
        kind: of the hints.
    """

    def __init__(
        self,
        model: ControlLoss,
        tokenizer: Any,
        latents: Latents,
        crops: Crops,
        side: int,
        kind: str,
    ) -> None:
        super().__init__(model, tokenizer, latents, side)
        self.crops, self.kind = crops, kind
        self.factor = crops.sources.shape[1] // latents.sources.shape[-1]

    def batch(self, size: int, seed: int) -> Batch:
        examples, uniform = self.draw(size, seed)
        squares = []
        for example in examples:
            top, left = self.factor * example.top, self.factor * example.left
            side = self.factor * self.side
            hint = make_hint(self.kind, np.ascontiguousarray(self.crops.sources[example.crop]))
            squares.append(hint[top : top + side, left : left + side])
        hints = hint_tensor(squares, 3, "cpu", torch.float32)
        empty = tokenize(self.tokenizer, [""] * size)
        return self.collate(examples, uniform) | {"hint": hints, "empty_ids": empty}


def build_net(
    config: ControlConfig,
    kind: str,
    net_type: NetType,
    base: str,
    crops: Crops,
    work: Path,
    output: Path,
    *,
    progress: Progress = lambda *_: None,
) -> Path:
    """Train a control net, and write it where the model in ``output`` has its own nets.

    Args:
        config: options.
        kind: of the hints.
        net_type: of the net.
        base: the model that the net is for: a bundled name or a folder.
        crops: training images.
        work: folder for latents and checkpoints. The build resumes from what it contains.
        output: folder of the model.
        progress: called with the stage's name, the number of units done and of all, and a comment.

    Returns:
        The folder of the net.

    Raises:
        RecipeError: the kind of hints is unknown, or ``work`` has checkpoints of other options.
        ModelError: the base cannot be loaded.
        OutputError: a file cannot be written.
    """
    check_kind(kind)
    pipe = load_pipeline(base, revision=None, dtype=torch.float32)
    part = crops.subset(config.every_crop, config.edits_per_crop)
    vae = pipe.vae.to(memory_format=torch.channels_last)
    latents = make_latents(
        vae, part, work / f"control-latents-{_digest(vae, config)}",
        progress=lambda done, total: progress("latents", done, total, ""),
    )  # fmt: skip
    torch.manual_seed(0)
    factor = net_checks.latent_factor(vae.config)
    unet = pipe.unet.to(memory_format=torch.channels_last)
    net = new_net(net_type, unet, factor).to(memory_format=torch.channels_last)
    for number, stage in enumerate(config.stages[net_type], 1):
        name = f"{net_type}-{kind}-{number}"
        loss = ControlLoss(
            net, unet, pipe.text_encoder, None, pipe.scheduler, stage.objective, factor
        )
        loss.scaling = float(vae.config.scaling_factor)
        task = ControlTask(loss, pipe.tokenizer, latents, part, stage.side, kind)
        train_model(task, stage.training, work / name, progress=loss_of(progress, name))
    folder = output / (CONTROL_FOLDER if net_type == "controlnet" else ADAPTER_FOLDER) / kind
    save_net(net, folder)
    return folder


def _digest(vae: Any, config: ControlConfig) -> str:
    """Name of the latents: of the autoencoder's weights, and of the crops that are used."""
    digest = hashlib.sha256(f"{config.every_crop} {config.edits_per_crop}".encode())
    for value in vae.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()[:12]
