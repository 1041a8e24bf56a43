"""The training loop, used for fine-tuning and for every stage of the bundled model.

Resuming is bit-reproducible. All random numbers of step ``n`` come from a seed derived from the
run's seed and ``n``, and a checkpoint holds everything else: weights, their moving average and the
optimizer's state. A run that was interrupted and resumed therefore ends with bit-identical
weights.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import msgspec
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers.training_utils import EMAModel
from torch import nn

from ..errors import ModelError, RecipeError
from .checkpoints import Checkpoint, read_newest_checkpoint, write_checkpoint
from .config import TrainingConfig, learning_rate_at
from .loss_curve import CurvePoint, TensorBoardLog, read_curve, write_curve
from .seeds import derive_seed

_LOG_FOLDER = "logs"
#: The loss of a :class:`TrainingResult` is averaged over this many steps.
_LOSS_WINDOW = 100

Batch = dict[str, Any]
#: Called with the step, the number of steps, and the step's loss.
Progress = Callable[[int, int, float], None]


class TrainingTask(Protocol):
    """A model, its training data and its validation."""

    @property
    def model(self) -> nn.Module:
        """A module that takes a batch and returns the loss, a scalar.

        Its parameters that require a gradient are trained.
        """
        ...

    def batch(self, size: int, seed: int) -> Batch:
        """Return ``size`` examples on the CPU; they depend on ``size`` and ``seed`` alone.

        May be called from another thread than the training loop's.
        """
        ...

    def validate(self, step: int, folder: Path) -> dict[str, float]:
        """Measure ``model``, whose weights are the averaged ones during the call.

        Args:
            step: optimizer steps done.
            folder: the folder of the run, for files such as sample images.

        Returns:
            Scalars by name.
        """
        ...


class TrainingResult(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a training run.

    Attributes:
        step: the last optimizer step.
        loss: mean over the last 100 steps.
        seconds: wall time of this call, without the steps of an interrupted run.
    """

    step: int
    loss: float
    seconds: float


def train_model(
    task: TrainingTask,
    config: TrainingConfig,
    folder: Path,
    *,
    accelerator: Accelerator | None = None,
    progress: Progress = lambda *_: None,
    stop_at: int | None = None,
) -> TrainingResult:
    """Train ``task.model`` in place; after the last step it holds the averaged weights.

    Resumes from the newest checkpoint in ``folder``.

    Args:
        task: the model and its data.
        config: options. A checkpoint written with other options is refused, except for the
            intervals of checkpoints and validations.
        folder: for ``checkpoints/``, ``curve.csv``, ``loss.png`` and TensorBoard's ``logs/``.
        accelerator: an ``Accelerator`` of Hugging Face accelerate; a new one by default.
        progress: called after each step.
        stop_at: stop after this step as if interrupted.

    Raises:
        RecipeError: the checkpoint was written with other options.
        ModelError: the loss is not finite.
        OutputError: ``folder`` cannot be written.
    """
    accelerator = accelerator or new_accelerator(config)
    trainer = _Trainer(task, config, folder, accelerator)
    return trainer.run(progress, stop_at or config.steps)


def new_accelerator(config: TrainingConfig) -> Accelerator:
    """Return an ``Accelerator`` for the current devices and processes, with ``config``'s precision.

    accelerate keeps one state per process and refuses to change its precision. The stages of the
    bundled model may differ in precision, so the state is reset first.
    """
    AcceleratorState._reset_state()
    return Accelerator(
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        step_scheduler_with_optimizer=False,
    )


class _Trainer:
    def __init__(
        self, task: TrainingTask, config: TrainingConfig, folder: Path, accelerator: Accelerator
    ) -> None:
        self.task, self.config, self.folder, self.accelerator = task, config, folder, accelerator
        self.names = [n for n, p in task.model.named_parameters() if p.requires_grad]
        self.parameters = [p for p in task.model.parameters() if p.requires_grad]
        if not self.parameters:
            raise RecipeError("There is nothing to train: no parameter requires a gradient.")
        optimizer = _new_optimizer(self.parameters, config)
        self.model, self.optimizer = accelerator.prepare(task.model, optimizer)
        self.ema = (
            EMAModel(
                self.parameters, decay=config.ema_decay, inv_gamma=1.0, power=0.75,
                use_ema_warmup=True, foreach=True,
            )
            if config.ema_decay
            else None
        )  # fmt: skip
        self.step = 0
        self.curve: list[CurvePoint] = []

    # -- the loop ---------------------------------------------------------------------------

    def run(self, progress: Progress, stop_at: int) -> TrainingResult:
        start = time.monotonic()
        self._restore()
        self.model.train()
        enabled = self.accelerator.is_main_process
        with TensorBoardLog(self.folder / _LOG_FOLDER, enabled=enabled, step=self.step) as log:
            for batches in self._batches(stop_at):
                loss = self._train_step(batches)
                rate = self.optimizer.param_groups[0]["lr"]
                self.step += 1
                self.curve.append(CurvePoint(self.step, loss, rate))
                log.add({"loss": loss, "learning_rate": rate}, self.step)
                progress(self.step, self.config.steps, loss)
                self._validate_and_save(log)
        if self.ema is not None and self.step == self.config.steps:
            self.ema.copy_to(self.parameters)
        recent = [point.loss for point in self.curve[-_LOSS_WINDOW:]]
        return TrainingResult(
            step=self.step,
            loss=sum(recent) / max(1, len(recent)),
            seconds=time.monotonic() - start,
        )

    def _seed(self, step: int, micro_step: int, purpose: str) -> int:
        process = self.accelerator.process_index
        return derive_seed(self.config.seed, purpose, step, micro_step, process)

    def _batches(self, stop_at: int) -> Iterator[list[Batch]]:
        """Yield the batches of each step; for a GPU they are read ahead in a thread.

        On a CPU that thread competes with the computation: a step of the bundled model took a
        third longer with it.
        """

        def read(step: int) -> list[Batch]:
            return [
                self.task.batch(self.config.batch_size, self._seed(step, micro_step, "batch"))
                for micro_step in range(self.config.gradient_accumulation_steps)
            ]

        steps = range(self.step, stop_at)
        if self.accelerator.device.type == "cpu":
            yield from map(read, steps)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as reader:
            pending = deque(reader.submit(read, step) for step in steps[:1])
            for next_step in [*steps[1:], None]:
                if next_step is not None:
                    pending.append(reader.submit(read, next_step))
                if pending:
                    yield pending.popleft().result()

    def _train_step(self, batches: Sequence[Batch]) -> float:
        """Take one optimizer step over ``batches``; return their mean loss over all processes."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.step, self.config)
        total = torch.zeros((), device=self.accelerator.device)
        for micro_step, batch in enumerate(batches):
            torch.manual_seed(self._seed(self.step, micro_step, "noise"))
            with self.accelerator.accumulate(self.model):
                loss = self.model(_to_device(batch, self.accelerator.device))
                self.accelerator.backward(loss)
                total += loss.detach().float() / len(batches)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.step(self.parameters)
        mean = float(self.accelerator.reduce(total, "mean"))
        if not math.isfinite(mean):
            raise ModelError(
                f"The loss of step {self.step + 1} is {mean}.",
                hint="Lower --learning-rate, or use bf16 instead of fp16.",
                survives="The last checkpoint is complete; the same command resumes from it.",
            )
        return mean

    def _validate_and_save(self, log: TensorBoardLog) -> None:
        is_last = self.step == self.config.steps
        validate_every = self.config.validate_every or self.config.checkpoint_every
        if is_last or self.step % validate_every == 0:
            self._validate(log)
        if is_last or self.step % self.config.checkpoint_every == 0:
            self._save()

    def _validate(self, log: TensorBoardLog) -> None:
        if not self.accelerator.is_main_process:
            return
        if self.ema is not None:
            self.ema.store(self.parameters)
            self.ema.copy_to(self.parameters)
        self.task.model.eval()
        with torch.no_grad():
            log.add(self.task.validate(self.step, self.folder), self.step)
        self.task.model.train()
        if self.ema is not None:
            self.ema.restore(self.parameters)

    # -- checkpoints ------------------------------------------------------------------------

    def _save(self) -> None:
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        optimizer = {"optimizer": self.optimizer.state_dict()}
        if self.accelerator.scaler is not None:
            optimizer["scaler"] = self.accelerator.scaler.state_dict()
        # The curve first: points after the newest checkpoint are dropped on resume, but points
        # that are missing before it would stay missing.
        write_curve(self.curve, self.folder)
        checkpoint = Checkpoint(
            step=self.step,
            weights=self._by_name(self.parameters),
            average=self._by_name(self.ema.shadow_params) if self.ema is not None else {},
            average_steps=self.ema.optimization_step if self.ema is not None else 0,
            optimizer=optimizer,
        )
        write_checkpoint(self.folder, checkpoint, self.config)

    def _by_name(self, tensors: Sequence[Any]) -> dict[str, torch.Tensor]:
        return {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in zip(self.names, tensors, strict=True)
        }

    def _restore(self) -> None:
        """Load the newest checkpoint, if there is one."""
        checkpoint = read_newest_checkpoint(self.folder, self.config)
        if checkpoint is None:
            return
        with torch.no_grad():
            for name, parameter in zip(self.names, self.parameters, strict=True):
                parameter.copy_(checkpoint.weights[name])
        if self.ema is not None:
            self.ema.shadow_params = [
                checkpoint.average[name].to(parameter.device)
                for name, parameter in zip(self.names, self.parameters, strict=True)
            ]
            self.ema.optimization_step = checkpoint.average_steps
        self.optimizer.load_state_dict(checkpoint.optimizer["optimizer"])
        if self.accelerator.scaler is not None and "scaler" in checkpoint.optimizer:
            self.accelerator.scaler.load_state_dict(checkpoint.optimizer["scaler"])
        self.step = checkpoint.step
        self.curve = [point for point in read_curve(self.folder) if point.step <= self.step]


def _to_device(batch: Batch, device: torch.device) -> Batch:
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
    }


def _new_optimizer(parameters: list[nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    options: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": config.betas,
        "weight_decay": config.weight_decay,
    }
    if not config.use_8bit_adam:
        return torch.optim.AdamW(parameters, **options)
    try:
        import bitsandbytes
    except ImportError:
        raise RecipeError(
            "8-bit Adam needs bitsandbytes, which is not installed.",
            hint="Run `pip install bitsandbytes`, or omit --use-8bit-adam.",
        ) from None
    optimizer: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(parameters, **options)
    return optimizer
