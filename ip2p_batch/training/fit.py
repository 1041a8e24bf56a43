"""The training loop: one for fine-tuning and for every part of the bundled model.

Nothing in it depends on how a run came to its present step. All chance of step ``n`` comes from a
seed made of the run's seed and ``n``, and a checkpoint holds the rest (weights, their moving
average, the optimiser's moments), so a run that was stopped and gone on with ends with the same
bits as one that was not.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import msgspec
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import nn

from ..errors import ModelError, OutputError, RecipeError
from ..storage.atomic import atomic_path, write_atomic

CHECKPOINTS = "checkpoints"
CURVE = "curve.csv"
PICTURE = "loss.png"
Batch = dict[str, Any]


class Fitting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to train.

    Attributes:
        steps: optimiser steps in all.
        batch_size: examples of one device's one forward pass.
        gradient_accumulation_steps: forward passes to one step.
        learning_rate: the highest.
        warmup_steps: the rate climbs to it for so long.
        hold: share of the steps at the highest rate, before it falls as half a cosine to 1 %.
        weight_decay, betas: of AdamW.
        max_grad_norm: gradients are scaled down to this norm.
        ema_decay: of the moving average of the weights; 0 keeps none.
        mixed_precision: "no", "bf16" or "fp16".
        use_8bit_adam: bitsandbytes' AdamW, where it is installed.
        checkpoint_every: steps between checkpoints.
        keep_checkpoints: older ones are deleted.
        validate_every: steps between validations; 0 means at checkpoints.
        seed: where all chance comes from.
    """

    steps: int = 1000
    batch_size: int = 4
    gradient_accumulation_steps: int = 1
    learning_rate: float = 1e-4
    warmup_steps: int = 50
    hold: float = 0.4
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    mixed_precision: str = "no"
    use_8bit_adam: bool = False
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    validate_every: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mixed_precision not in ("no", "bf16", "fp16"):
            raise RecipeError(
                f"mixed precision is {self.mixed_precision!r}; it is one of no, bf16, fp16."
            )
        for name in ("steps", "batch_size", "gradient_accumulation_steps", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 <= self.hold <= 1:
            raise RecipeError(f"hold is {self.hold}; it is a share, from 0 to 1.")
        if not 0 <= self.ema_decay < 1:
            raise RecipeError(f"ema_decay is {self.ema_decay}; it must be from 0 to below 1.")


class Task(Protocol):
    """What is trained."""

    @property
    def model(self) -> nn.Module:
        """Called with a batch it returns the loss, a scalar.

        Its parameters that require a gradient learn.
        """
        ...

    def batch(self, size: int, seed: int) -> Batch:
        """Examples, on the CPU; a function of its arguments alone. Called from a thread."""
        ...

    def validate(self, step: int, folder: Path) -> dict[str, float]:
        """Look at the averaged weights, which stand in the model meanwhile; figures by name."""
        ...


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """How it went: the last step, its loss averaged over the last hundred, and the seconds."""

    step: int
    loss: float
    seconds: float


#: step, steps, loss
Progress = Callable[[int, int, float], None]


def derived(*parts: object) -> int:
    """A seed of 63 bits from anything that has a text; the same on every machine.

    >>> derived(0, "step", 1) == derived(0, "step", 1) != derived(0, "step", 2)
    True
    """
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def learning_rate(step: int, fitting: Fitting) -> float:
    """The rate of step ``step``, counted from 0: up in a line, level, down as half a cosine.

    >>> fitting = Fitting(steps=100, warmup_steps=10, hold=0.5, learning_rate=1.0)
    >>> [round(learning_rate(step, fitting), 3) for step in (0, 9, 40, 75, 100)]
    [0.1, 1.0, 1.0, 0.505, 0.01]
    """
    peak = fitting.learning_rate * min(1.0, (step + 1) / max(1, fitting.warmup_steps))
    done = step / fitting.steps
    if done <= fitting.hold or fitting.hold == 1:
        return peak
    falling = min(1.0, (done - fitting.hold) / (1 - fitting.hold))
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * falling)))


def fit(
    task: Task,
    fitting: Fitting,
    folder: Path,
    *,
    accelerator: Accelerator | None = None,
    progress: Progress = lambda *_: None,
    stop_at: int | None = None,
) -> Fitted:
    """Train ``task.model`` in place; it ends with the averaged weights.

    Goes on from the newest checkpoint below ``folder`` where there is one.

    Args:
        task: what to train.
        fitting: how; a checkpoint made with another one is refused, but for its number of steps
            between checkpoints and validations.
        folder: for ``checkpoints/``, ``curve.csv``, ``loss.png`` and TensorBoard's ``logs/``.
        accelerator: Hugging Face accelerate's; by default one for ``fitting``'s precision.
        progress: called after each step.
        stop_at: end after this step as if interrupted.

    Raises:
        RecipeError: the checkpoint was made with other options.
        ModelError: the loss is not a number any more.
        OutputError: ``folder`` cannot be written.
    """
    accelerator = accelerator or new_accelerator(fitting)
    run = _Run(task, fitting, folder, accelerator)
    return run.go(progress, stop_at or fitting.steps)


def new_accelerator(fitting: Fitting) -> Accelerator:
    """Accelerate's own idea of devices and processes, with ``fitting``'s precision."""
    # It keeps one state a process and refuses a second precision; a build has several stages.
    AcceleratorState._reset_state()
    return Accelerator(
        mixed_precision=fitting.mixed_precision,
        gradient_accumulation_steps=fitting.gradient_accumulation_steps,
        step_scheduler_with_optimizer=False,
    )


class _Run:
    def __init__(
        self, task: Task, fitting: Fitting, folder: Path, accelerator: Accelerator
    ) -> None:
        self.task, self.fitting, self.folder, self.accelerator = task, fitting, folder, accelerator
        self.names = [n for n, p in task.model.named_parameters() if p.requires_grad]
        self.parameters = [p for p in task.model.parameters() if p.requires_grad]
        if not self.parameters:
            raise RecipeError("There is nothing to train: no parameter requires a gradient.")
        optimizer = _optimizer(self.parameters, fitting)
        self.model, self.optimizer = accelerator.prepare(task.model, optimizer)
        self.ema = (
            EMAModel(self.parameters, decay=fitting.ema_decay, inv_gamma=1.0, power=0.75,
                     use_ema_warmup=True, foreach=True)
            if fitting.ema_decay
            else None
        )  # fmt: skip
        self.step = 0
        self.curve: list[tuple[int, float, float]] = []

    # -- the loop ---------------------------------------------------------------------------

    def go(self, progress: Progress, stop_at: int) -> Fitted:
        began = time.monotonic()
        self._load_newest()
        self.model.train()
        with _Logs(self.folder / "logs", self.accelerator.is_main_process, self.step) as logs:
            for batches in self._batches(stop_at):
                loss = self._one_step(batches)
                rate = self.optimizer.param_groups[0]["lr"]
                self.step += 1
                self.curve.append((self.step, loss, rate))
                logs.add({"loss": loss, "learning_rate": rate}, self.step)
                progress(self.step, self.fitting.steps, loss)
                self._look_and_save(logs, last=self.step == self.fitting.steps)
        if self.ema is not None and self.step == self.fitting.steps:
            self.ema.copy_to(self.parameters)
        recent = [loss for _, loss, _ in self.curve[-100:]]
        return Fitted(
            step=self.step,
            loss=sum(recent) / max(1, len(recent)),
            seconds=time.monotonic() - began,
        )

    def _seed(self, step: int, micro: int, what: str) -> int:
        return derived(self.fitting.seed, what, step, micro, self.accelerator.process_index)

    def _batches(self, stop_at: int) -> Iterator[list[Batch]]:
        """The batches of each step; beside a GPU they are read while it computes.

        On a CPU a second thread would only take the cores from the first: with it, a step of the
        bundled model took a third longer.
        """

        def read(step: int) -> list[Batch]:
            return [
                self.task.batch(self.fitting.batch_size, self._seed(step, micro, "batch"))
                for micro in range(self.fitting.gradient_accumulation_steps)
            ]

        steps = range(self.step, stop_at)
        if self.accelerator.device.type == "cpu":
            yield from map(read, steps)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as reader:
            coming = deque(reader.submit(read, step) for step in steps[:1])
            for following in [*steps[1:], None]:
                if following is not None:
                    coming.append(reader.submit(read, following))
                if coming:
                    yield coming.popleft().result()

    def _one_step(self, batches: list[Batch]) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.fitting)
        total = torch.zeros((), device=self.accelerator.device)
        for micro, batch in enumerate(batches):
            torch.manual_seed(self._seed(self.step, micro, "noise"))
            with self.accelerator.accumulate(self.model):
                loss = self.model(_to(batch, self.accelerator.device))
                self.accelerator.backward(loss)
                total += loss.detach().float() / len(batches)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.parameters, self.fitting.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.step(self.parameters)
        value = float(self.accelerator.reduce(total, "mean"))
        if not math.isfinite(value):
            raise ModelError(
                f"The loss of step {self.step + 1} is {value}.",
                hint="Lower --learning-rate, or train in bf16 in place of fp16; the last"
                " checkpoint is whole and is gone on from.",
            )
        return value

    def _look_and_save(self, logs: _Logs, *, last: bool) -> None:
        saving = self.step % self.fitting.checkpoint_every == 0 or last
        every = self.fitting.validate_every or self.fitting.checkpoint_every
        if self.step % every == 0 or last:
            self._validate(logs)
        if saving:
            self._save()

    def _validate(self, logs: _Logs) -> None:
        if not self.accelerator.is_main_process:
            return
        if self.ema is not None:
            self.ema.store(self.parameters)
            self.ema.copy_to(self.parameters)
        self.task.model.eval()
        with torch.no_grad():
            logs.add(self.task.validate(self.step, self.folder), self.step)
        self.task.model.train()
        if self.ema is not None:
            self.ema.restore(self.parameters)

    # -- checkpoints --------------------------------------------------------------------------

    def _save(self) -> None:
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        kept = self.folder / CHECKPOINTS
        final = kept / f"step-{self.step:07d}"
        partial = kept / f".{final.name}"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            save_file(self._named(self.parameters), partial / "weights.safetensors")
            if self.ema is not None:
                save_file(self._named(self.ema.shadow_params), partial / "average.safetensors")
            state = {"optimizer": self.optimizer.state_dict()}
            if self.accelerator.scaler is not None:
                state["scaler"] = self.accelerator.scaler.state_dict()
            torch.save(state, partial / "optimizer.pt")
            facts = {
                "step": self.step,
                "options": json.loads(msgspec.json.encode(self.fitting)),
                "average_steps": self.ema.optimization_step if self.ema else 0,
            }
            write_atomic(partial / "state.json", json.dumps(facts, indent=1).encode())
            self._write_curve()
            # Renamed when it is whole: a checkpoint that can be seen can be gone on from.
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
        except OSError as error:
            raise OutputError(
                f"{final}: the checkpoint cannot be written: {error.strerror or error}",
                path=final,
                hint="Make room and give the same command again; the one before is whole.",
            ) from None
        for old in _checkpoints(self.folder)[: -self.fitting.keep_checkpoints]:
            shutil.rmtree(old, ignore_errors=True)

    def _named(self, tensors: list[Any]) -> dict[str, torch.Tensor]:
        return {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in zip(self.names, tensors, strict=True)
        }

    def _load_newest(self) -> None:
        found = _checkpoints(self.folder)
        if not found:
            return
        facts = json.loads((found[-1] / "state.json").read_text(encoding="utf-8"))
        _same_options(facts["options"], self.fitting, found[-1])
        weights = load_file(found[-1] / "weights.safetensors")
        with torch.no_grad():
            for name, parameter in zip(self.names, self.parameters, strict=True):
                parameter.copy_(weights[name])
            if self.ema is not None:
                average = load_file(found[-1] / "average.safetensors")
                self.ema.shadow_params = [
                    average[name].to(parameter.device)
                    for name, parameter in zip(self.names, self.parameters, strict=True)
                ]
                self.ema.optimization_step = facts["average_steps"]
        state = torch.load(found[-1] / "optimizer.pt", map_location="cpu", weights_only=True)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None and "scaler" in state:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step = facts["step"]
        self.curve = [row for row in _read_curve(self.folder / CURVE) if row[0] <= self.step]

    def _write_curve(self) -> None:
        with atomic_path(self.folder / CURVE) as path, path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["step", "loss", "learning_rate"])
            writer.writerows((s, f"{loss:.6g}", f"{rate:.6g}") for s, loss, rate in self.curve)
        draw_curve(self.curve, self.folder / PICTURE)


def _to(batch: Batch, device: torch.device) -> Batch:
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
    }


def _optimizer(parameters: list[nn.Parameter], fitting: Fitting) -> torch.optim.Optimizer:
    options: dict[str, Any] = {
        "lr": fitting.learning_rate,
        "betas": fitting.betas,
        "weight_decay": fitting.weight_decay,
    }
    if not fitting.use_8bit_adam:
        return torch.optim.AdamW(parameters, **options)
    try:
        import bitsandbytes
    except ImportError:
        raise RecipeError(
            "8-bit Adam needs bitsandbytes, which is not installed.",
            hint="pip install bitsandbytes, or leave --use-8bit-adam out.",
        ) from None
    optimizer: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(parameters, **options)
    return optimizer


def _checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / CHECKPOINTS).glob("step-*"))


def _same_options(then: dict[str, Any], now: Fitting, checkpoint: Path) -> None:
    free = {"checkpoint_every", "keep_checkpoints", "validate_every"}
    today = json.loads(msgspec.json.encode(now))
    changed = [key for key in today if key not in free and then.get(key) != today[key]]
    if changed:
        raise RecipeError(
            f"{checkpoint} was made with {changed[0]} = {then.get(changed[0])}, "
            f"not {today[changed[0]]}.",
            hint="Give the options of the first run, or another folder with -o.",
        )


def _read_curve(path: Path) -> list[tuple[int, float, float]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [
            (int(row["step"]), float(row["loss"]), float(row["learning_rate"]))
            for row in csv.DictReader(file)
        ]


def draw_curve(curve: list[tuple[int, float, float]], path: Path) -> None:
    """The loss of each step, and its running mean, as a PNG with a logarithmic axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps, losses = [row[0] for row in curve], [row[1] for row in curve]
    width = max(1, len(curve) // 50)
    means, total = [], 0.0
    for at, loss in enumerate(losses):
        total += loss - (losses[at - width] if at >= width else 0.0)
        means.append(total / min(at + 1, width))
    axes.plot(steps, losses, color="0.8", linewidth=0.6, label="each step")
    axes.plot(steps, means, color="C0", linewidth=1.6, label=f"mean of {width}")
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


class _Logs:
    """TensorBoard's event files, where its package is installed."""

    def __init__(self, folder: Path, wanted: bool, step: int) -> None:
        self.writer: Any = None
        if not wanted:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        # What an interrupted run wrote after its checkpoint is hidden, not shown twice.
        self.writer = SummaryWriter(str(folder), purge_step=step + 1)

    def __enter__(self) -> _Logs:
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()

    def add(self, figures: dict[str, float], step: int) -> None:
        if self.writer is not None:
            for name, value in figures.items():
                self.writer.add_scalar(name, value, step)
