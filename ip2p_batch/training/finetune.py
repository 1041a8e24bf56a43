"""Fine-tune a full-size model on image pairs.

After "Instruction-tuning Stable Diffusion with InstructPix2Pix" (Hugging Face, 2023) and section
3.2 of the InstructPix2Pix paper: text encoder and autoencoder stay frozen; the UNet is trained as
a whole or through low-rank adapters (Hu et al., "LoRA", ICLR 2022).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from accelerate import Accelerator

from ..errors import RecipeError
from ..models import catalog, presets
from ..storage.atomic import write_atomic
from .base_model import lacks_source_input, load_base_model, prepare_unet
from .config import TrainingConfig, check_crop_size
from .denoising import DenoisingLoss, Objective
from .finetune_task import FineTuneTask
from .pairs import Pair
from .saving import save_adapters, save_pipeline
from .seeds import derive_seed
from .trainer import Progress, TrainingResult, new_accelerator, train_model

#: With fewer pairs than this, adapters are the default: they learn as much and forget less.
LORA_BELOW_PAIRS = 5000
LORA_RANK = 16
#: The adapters, for ``--lora``.
LORA_FILE = "lora.safetensors"
REPORT = "training.json"


class FineTuneConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of fine-tuning.

    Attributes:
        base: a hub id, a diffusers folder, a bundled name, or a Stable Diffusion 1.5 checkpoint.
        revision: revision of a hub id.
        size: side of the square crops in pixels, a multiple of 32, at least 64.
        flip: mirror half of the crops.
        lora_rank: rank of the adapters; 0 trains the whole UNet; None lets the number of pairs
            decide.
        gradient_checkpointing: trade a third of the speed for half the memory or less.
        validation_pairs: pairs held out from training and edited at each validation.
        objective: options of the loss.
        training: options of the training loop.

    Raises:
        RecipeError: an option is out of range.
    """

    base: str
    revision: str | None = None
    size: int = 256
    flip: bool = True
    lora_rank: int | None = None
    gradient_checkpointing: bool = False
    validation_pairs: int = 4
    objective: Objective = Objective()
    training: TrainingConfig = TrainingConfig()

    def __post_init__(self) -> None:
        check_crop_size(self.size)
        if self.lora_rank is not None and self.lora_rank < 0:
            raise RecipeError(
                f"--lora-rank is {self.lora_rank}; it must be at least 0. 0 trains the whole UNet."
            )

    def effective_lora_rank(self, pairs: int, *, new_input: bool) -> int:
        """Return ``lora_rank``, or its default for this number of pairs.

        Args:
            pairs: number of pairs to train on.
            new_input: whether the UNet has to learn to use a source image at all, which needs
                training as a whole.
        """
        if self.lora_rank is not None:
            return self.lora_rank
        return 0 if new_input or pairs >= LORA_BELOW_PAIRS else LORA_RANK


class FineTuneResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of fine-tuning.

    Attributes:
        model: folder of the model.
        training: the result of the training loop.
        lora_rank: rank of the adapters; 0 where the whole UNet was trained.
        pairs, held_out: number of pairs trained on, and held out.
    """

    model: str
    training: TrainingResult
    lora_rank: int
    pairs: int
    held_out: int


def fine_tune(
    pairs: Sequence[Pair],
    config: FineTuneConfig,
    output: Path,
    *,
    accelerator: Accelerator | None = None,
    progress: Progress = lambda *_: None,
    stop_at: int | None = None,
) -> FineTuneResult:
    """Train, and write a diffusers folder that ``--model`` loads.

    ``output`` also gets checkpoints, ``curve.csv``, ``loss.png``, TensorBoard's ``logs/``, and
    ``validation/`` with sheets of held-out pairs. An interrupted run resumes from its newest
    checkpoint.

    Args:
        pairs: the good rows of a dataset.
        config: options.
        output: folder of the model.
        accelerator: an ``Accelerator`` of Hugging Face accelerate; several processes train
            together.
        progress: called after each step.
        stop_at: stop after this step as if interrupted; no model is written.

    Raises:
        ModelError: the base cannot be loaded, or the loss is not finite.
        RecipeError: the options contradict each other or the checkpoint in ``output``.
        SourceError: an image cannot be read.
        OutputError: ``output`` cannot be written.
    """
    accelerator = accelerator or new_accelerator(config.training)
    pipe = load_base_model(config.base, config.revision)
    held_out, training_pairs = split_pairs(pairs, config.validation_pairs, config.training.seed)
    widened = lacks_source_input(pipe)
    lora_rank = config.effective_lora_rank(len(training_pairs), new_input=widened)
    prepare_unet(pipe, lora_rank)
    place_pipeline(pipe, accelerator)
    if config.gradient_checkpointing:
        pipe.unet.enable_gradient_checkpointing()
    loss = DenoisingLoss(pipe.unet, pipe.text_encoder, pipe.vae, pipe.scheduler, config.objective)
    task = FineTuneTask(
        pipe, loss, training_pairs, held_out, size=config.size, flip=config.flip,
        sampling=catalog.defaults(config.base),
        seed=config.training.seed,
    )  # fmt: skip
    result = train_and_write(
        task, config.training, output,
        lambda: _write_model(pipe, lora_rank, output, config, widened=widened),
        {"config": msgspec.to_builtins(config), "lora_rank": lora_rank},
        accelerator=accelerator, progress=progress, stop_at=stop_at,
    )  # fmt: skip
    return FineTuneResult(
        model=str(output), training=result, lora_rank=lora_rank, pairs=len(training_pairs),
        held_out=len(held_out),
    )  # fmt: skip


def split_pairs(
    pairs: Sequence[Pair], validation_pairs: int, seed: int
) -> tuple[list[Pair], list[Pair]]:
    """Split the pairs, by the seed, into those to validate with and those to train on.

    At most a fifth of the pairs is held out.
    """
    count = min(validation_pairs, len(pairs) // 5)
    rng = random.Random(derive_seed(seed, "split"))  # noqa: S311
    order = rng.sample(pairs, len(pairs))
    return order[:count], order[count:]


def place_pipeline(pipe: Any, accelerator: Accelerator) -> None:
    """Move all components to the device; the frozen ones need no float32."""
    dtypes = {"fp16": torch.float16, "bf16": torch.bfloat16}
    dtype = dtypes.get(accelerator.mixed_precision, torch.float32)
    for component in (pipe.vae, pipe.text_encoder):
        component.to(accelerator.device, dtype).eval()
    pipe.unet.to(accelerator.device)


def train_and_write(
    task: FineTuneTask,
    config: TrainingConfig,
    output: Path,
    write: Callable[[], None],
    report: Mapping[str, Any],
    *,
    accelerator: Accelerator,
    progress: Progress,
    stop_at: int | None,
) -> TrainingResult:
    """Run the training loop; at its last step, write the result and ``training.json``.

    Args:
        task, config, output, accelerator, progress, stop_at: as for
            :func:`~ip2p_batch.training.trainer.train_model`.
        write: writes the result; called in the main process only.
        report: content of ``training.json``, in addition to steps and loss.
    """
    result = train_model(
        task, config, output, accelerator=accelerator, progress=progress, stop_at=stop_at
    )
    if result.step == config.steps and accelerator.is_main_process:
        write()
        data = msgspec.json.encode({**report, "steps": result.step, "loss": result.loss})
        write_atomic(output / REPORT, msgspec.json.format(data))
    accelerator.wait_for_everyone()
    return result


def _write_model(
    pipe: Any,
    lora_rank: int,
    output: Path,
    config: FineTuneConfig,
    *,
    widened: bool,
) -> None:
    """Write the diffusers folder; adapters are merged into the weights and also kept separately.

    Adapters without the widened input that was trained with them would be of no use.
    """
    if lora_rank:
        if not widened:
            save_adapters(pipe.unet, output / LORA_FILE)
        pipe.unet.fuse_lora()
        pipe.unet.unload_lora()
    pipe.to(torch.float16 if pipe.unet.device.type == "cuda" else torch.float32)
    # The base model's steps and scales suit the fine-tuned model, too.
    edit_sizes = catalog.edit_sizes(config.base).trained_at(config.size)
    # A LoRA that makes the base model fast may not fit the new weights.
    own = {name: p for name, p in presets.own(config.base).items() if "lora" not in p}
    save_pipeline(pipe, output, catalog.defaults(config.base), edit_sizes, own)
