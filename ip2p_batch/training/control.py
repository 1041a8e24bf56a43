"""Train a control net on image pairs: a ControlNet or a T2I-Adapter for an edit model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from accelerate import Accelerator

from ..editing.control.nets import hint_tensor
from ..errors import ModelError, RecipeError
from ..frame import Image
from ..hints.kinds import check_kind
from ..hints.make import make_hint
from ..models import net_checks
from ..models.control_nets import NET_TYPES, NetType
from .base_model import lacks_source_input, load_base_model
from .config import TrainingConfig, check_crop_size
from .control_loss import ControlLoss, ControlObjective
from .control_nets import new_net, save_net
from .finetune import place_pipeline, split_pairs, train_and_write
from .finetune_task import FineTuneTask, crop_pair
from .pairs import Pair
from .seeds import derive_seed
from .tensors import tokenize
from .trainer import Batch, Progress, TrainingResult, new_accelerator


class ControlTrainingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the training of a control net.

    Attributes:
        base: the edit model: a hub id, a diffusers folder or a bundled name. It is not changed.
        revision: revision of a hub id.
        kind: how hints are made of a source, one of :data:`ip2p_batch.hints.kinds.KINDS`.
        net_type: ``controlnet`` or ``t2i-adapter``.
        size: side of the square crops in pixels, a multiple of 32, at least 64.
        flip: mirror half of the crops.
        gradient_checkpointing: trade a third of the speed for half the memory or less.
        validation_pairs: pairs held out from training.
        objective: options of the loss.
        training: options of the training loop.

    Raises:
        RecipeError: an option is out of range.
    """

    base: str
    revision: str | None = None
    kind: str = "canny"
    net_type: NetType = "controlnet"
    size: int = 256
    flip: bool = True
    gradient_checkpointing: bool = False
    validation_pairs: int = 4
    objective: ControlObjective = ControlObjective()
    training: TrainingConfig = TrainingConfig()

    def __post_init__(self) -> None:
        check_kind(self.kind)
        if self.net_type not in NET_TYPES:
            raise RecipeError(
                f"--control-type is {self.net_type!r}; it must be {' or '.join(NET_TYPES)}."
            )
        check_crop_size(self.size)


class ControlTrainingResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of :func:`train_control`.

    Attributes:
        net: folder of the control net.
        kind, net_type: of the net.
        training: the result of the training loop.
        pairs, held_out: number of pairs trained on, and held out.
    """

    net: str
    kind: str
    net_type: NetType
    training: TrainingResult
    pairs: int
    held_out: int


def train_control(
    pairs: Sequence[Pair],
    config: ControlTrainingConfig,
    output: Path,
    *,
    accelerator: Accelerator | None = None,
    progress: Progress = lambda *_: None,
    stop_at: int | None = None,
) -> ControlTrainingResult:
    """Train, and write a folder in diffusers' layout that ``--control KIND:FOLDER`` loads.

    ``output`` also gets checkpoints, ``curve.csv``, ``loss.png`` and TensorBoard's ``logs/``. An
    interrupted run resumes from its newest checkpoint, with the same result.

    Args:
        pairs: the good rows of a dataset.
        config: options.
        output: folder of the net.
        accelerator: an ``Accelerator`` of Hugging Face accelerate; several processes train
            together.
        progress: called after each step.
        stop_at: stop after this step as if interrupted; no net is written.

    Raises:
        ModelError: the base cannot be loaded or is no edit model, or the loss is not finite.
        RecipeError: the options contradict the checkpoint in ``output``.
        SourceError: an image cannot be read.
        OutputError: ``output`` cannot be written.
    """
    accelerator = accelerator or new_accelerator(config.training)
    pipe = load_base_model(config.base, config.revision)
    _check_base(pipe, config.base)
    held_out, training_pairs = split_pairs(pairs, config.validation_pairs, config.training.seed)
    loss = _new_loss(pipe, config)
    place_pipeline(pipe, accelerator)
    task = ControlTask(
        pipe, loss, training_pairs, held_out,
        size=config.size, flip=config.flip, seed=config.training.seed,
        kind=config.kind,
    )  # fmt: skip
    result = train_and_write(
        task, config.training, output, lambda: save_net(loss.net, output),
        {"config": msgspec.to_builtins(config)},
        accelerator=accelerator, progress=progress, stop_at=stop_at,
    )  # fmt: skip
    return ControlTrainingResult(
        net=str(output), kind=config.kind, net_type=config.net_type, training=result,
        pairs=len(training_pairs), held_out=len(held_out),
    )  # fmt: skip


def _check_base(pipe: Any, base: str) -> None:
    if lacks_source_input(pipe):
        raise ModelError(
            f"{base} takes no source image, so it is no edit model.",
            hint="Its published control nets fit the edit models that were made of it.",
        )


def _new_loss(pipe: Any, config: ControlTrainingConfig) -> ControlLoss:
    """Make the net, with weights from the seed, and its loss."""
    factor = net_checks.latent_factor(pipe.vae.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.training.seed, "net"))
        net = new_net(config.net_type, pipe.unet, factor)
    if config.gradient_checkpointing:
        pipe.unet.enable_gradient_checkpointing()
        if config.net_type == "controlnet":
            net.enable_gradient_checkpointing()
    return ControlLoss(
        net, pipe.unet, pipe.text_encoder, pipe.vae, pipe.scheduler, config.objective, factor
    )


class ControlTask(FineTuneTask):
    """Edits of a dataset's pairs with hints of their sources.

    Args:
        pipe: the frozen edit model.
        model: the loss of the net.
        pairs, held_out: pairs to train on, and pairs to validate with.
        size: side of the crops in pixels.
        flip: mirror half of the crops.
        seed: seed of the validation's noise.
        kind: of the hints.
    """

    model: ControlLoss

    def __init__(
        self,
        pipe: Any,
        model: ControlLoss,
        pairs: Sequence[Pair],
        held_out: Sequence[Pair],
        *,
        size: int,
        flip: bool,
        seed: int,
        kind: str,
    ) -> None:
        super().__init__(pipe, model, pairs, held_out, size=size, flip=flip, sampling={}, seed=seed)
        self.kind = kind

    def collate(
        self,
        pairs: Sequence[Pair],
        crops: Sequence[tuple[Image, Image]],
        uniform: Sequence[float],
    ) -> Batch:
        hints = [make_hint(self.kind, source) for source, _ in crops]
        return super().collate(pairs, crops, uniform) | {
            "hint": hint_tensor(hints, 3, "cpu", torch.float32),
            "empty_ids": tokenize(self.pipe.tokenizer, [""] * len(crops)),
        }

    def validate(self, step: int, folder: Path) -> dict[str, float]:
        """Return the loss on the held-out pairs, without the source, with and without the net."""
        if not self.held_out:
            return {}
        crops = [crop_pair(pair, self.size, None) for pair in self.held_out]
        batch = self.collate(self.held_out, crops, [1.0] * len(crops))
        batch["drop_image"] = torch.ones_like(batch["drop_image"])
        device = next(self.model.parameters()).device
        batch = {name: value.to(device) for name, value in batch.items()}
        losses = {}
        for name, with_net in (("validation_loss", True), ("validation_loss_without_net", False)):
            with torch.random.fork_rng():
                torch.manual_seed(derive_seed(self.seed, "validation"))
                self.model.with_net = with_net
                try:
                    losses[name] = float(self.model(batch).detach())
                finally:
                    self.model.with_net = True
        return losses
