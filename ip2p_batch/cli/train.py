"""``train``: fine-tune a model, or train a control net, on pairs of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from ..jobs.events import Event
from ..models import catalog
from ..recipe import DEFAULT_MODEL
from ..settings import Settings
from . import exits, terminal
from .command import OptionGroup
from .help_format import MODEL, OUTPUT, TRAINING
from .options import ReportOptions, option
from .param_types import choice
from .report import Reporter, reporter_for
from .train_control import ControlNetOptions, check_options, control_config, net_lines

if TYPE_CHECKING:
    from ..training.control import ControlTrainingConfig, ControlTrainingResult
    from ..training.finetune import FineTuneConfig, FineTuneResult

#: Bad rows that are listed one by one; the rest is counted.
_LISTED_ROWS = 20
MIXED_PRECISION = ("no", "bf16", "fp16")

DatasetArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATASET",
        readable=False,
        help="Pairs to train on: a folder, or a CSV or JSONL table.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Path,
    option(
        "--output",
        "-o",
        metavar="DIR",
        help="Folder for the model, its checkpoints, loss.png and logs.",
        panel=OUTPUT,
    ),
]


@dataclass(frozen=True, kw_only=True)
class BaseModelOptions(OptionGroup):
    """The model that training starts from, and which of its weights are trained."""

    base: Annotated[
        str,
        option(
            "--base",
            metavar="MODEL",
            help="Model to start from: a hub id, a diffusers folder, or a checkpoint file of Stable"
            " Diffusion 1.5.",
            panel=MODEL,
            default=DEFAULT_MODEL,
        ),
    ] = DEFAULT_MODEL
    revision: Annotated[
        str | None,
        option(
            "--revision",
            metavar="REV",
            help="Branch, tag or commit of a model on the hub.",
            panel=MODEL,
        ),
    ] = None
    lora_rank: Annotated[
        int | None,
        option(
            "--lora-rank",
            metavar="N",
            help="Rank of the LoRA adapters; 0 trains the whole UNet.",
            panel=MODEL,
            default="16 for fewer than 5000 pairs, else 0",
        ),
    ] = None


def _training_option(metavar: str, help: str, default: str = "", **more: Any) -> Any:
    return typer.Option(
        metavar=metavar,
        help=f"{help} [default: {default}]" if default else help,
        rich_help_panel=TRAINING,
        show_default=not default,
        **more,
    )


def _training_flag(name: str, help: str) -> Any:
    return option(name, help=help, panel=TRAINING)


@dataclass(frozen=True, kw_only=True)
class TrainOptions(OptionGroup):
    """The training loop and its loss."""

    steps: Annotated[int, _training_option("N", "Optimizer steps.")] = 2000
    batch_size: Annotated[int, _training_option("N", "Pairs per device in one pass.")] = 4
    gradient_accumulation_steps: Annotated[
        int, _training_option("N", "Passes per optimizer step.")
    ] = 1
    learning_rate: Annotated[float, _training_option("X", "Peak learning rate.")] = 1e-4
    size: Annotated[int, _training_option("PX", "Side of the square crops of the pairs.")] = 256
    conditioning_dropout: Annotated[
        float | None,
        _training_option(
            "X",
            "Fraction of examples without the text, the same fraction without the source, and the"
            " same without both.",
            "0.05; with --control 0.25",
        ),
    ] = None
    snr_gamma: Annotated[
        float, _training_option("X", "Gamma of Min-SNR loss weighting; 0 turns it off.")
    ] = 0.0
    ema_decay: Annotated[
        float,
        _training_option("X", "Decay of the moving average of the weights; 0 turns it off."),
    ] = 0.999
    mixed_precision: Annotated[
        str,
        _training_option(
            "NAME",
            f"Precision of the computation: {', '.join(MIXED_PRECISION)}; no is float32.",
            **choice(MIXED_PRECISION),
        ),
    ] = "no"
    gradient_checkpointing: Annotated[
        bool,
        _training_flag("--gradient-checkpointing", "Use about half the memory; slower."),
    ] = False
    use_8bit_adam: Annotated[
        bool, _training_flag("--use-8bit-adam", "Use the 8-bit Adam of bitsandbytes.")
    ] = False
    checkpoint_every: Annotated[int, _training_option("N", "Steps between checkpoints.")] = 500
    validate_every: Annotated[
        int,
        _training_option("N", "Steps between validation sheets.", "at each checkpoint"),
    ] = 0
    validation_pairs: Annotated[
        int, _training_option("N", "Pairs held out from training for validation.")
    ] = 4
    seed: Annotated[int, _training_option("N", "Random seed.")] = 0


def train(
    dataset: DatasetArgument,
    output: OutputOption,
    base_options: BaseModelOptions,
    train_options: TrainOptions,
    control_options: ControlNetOptions,
    report_options: ReportOptions,
) -> int:
    """Fine-tune InstructPix2Pix on pairs of images, or train a control net for it.

    Each pair is a source image, an instruction and the edited image; `ip2p-batch dataset`
    makes and checks them. If training is interrupted, run the same command again: it continues
    from the last checkpoint, with the same result.

    Examples:
      ip2p-batch train pairs/ -o model/ --mixed-precision fp16 --size 512
      ip2p-batch train pairs/ -o model/ --base tiny --steps 200
      ip2p-batch train pairs/ -o net/ --base tiny --control canny
      accelerate launch -m ip2p_batch train pairs/ -o model/ --lora-rank 0
    """
    from ..editing.loading import quiet_libraries

    quiet_libraries()
    reporter = reporter_for(report_options)
    try:
        check_options(control_options, base_options.lora_rank)
        config = _config(base_options, train_options, control_options)
        return _train(dataset, config, output, reporter, json=report_options.json)
    finally:
        reporter.close()


def _config(
    base_options: BaseModelOptions, train_options: TrainOptions, control_options: ControlNetOptions
) -> FineTuneConfig | ControlTrainingConfig:
    from ..training.config import TrainingConfig
    from ..training.denoising import Objective
    from ..training.finetune import FineTuneConfig

    catalog.check_allowed(
        base_options.base, base_options.revision, Settings.from_env().allowed_models
    )
    dropout = train_options.conditioning_dropout
    objective: dict[str, Any] = {"snr_gamma": train_options.snr_gamma}
    objective |= {} if dropout is None else {"conditioning_dropout": dropout}
    values: dict[str, Any] = {
        "base": base_options.base,
        "revision": base_options.revision,
        "size": train_options.size,
        "gradient_checkpointing": train_options.gradient_checkpointing,
        "validation_pairs": train_options.validation_pairs,
        "training": TrainingConfig(
            **{
                name: getattr(train_options, name)
                for name in TrainingConfig.__struct_fields__
                if hasattr(train_options, name)
            }
        ),
    }
    if control_options.control is not None:
        return control_config(
            control_options.control, control_options, objective=objective, **values
        )
    return FineTuneConfig(
        lora_rank=base_options.lora_rank, objective=Objective(**objective), **values
    )


def _train(
    dataset: Path,
    config: FineTuneConfig | ControlTrainingConfig,
    output: Path,
    reporter: Reporter,
    *,
    json: bool,
) -> int:
    from ..training.control import train_control
    from ..training.finetune import FineTuneConfig, fine_tune
    from ..training.pairs import read_pairs
    from ..training.trainer import new_accelerator

    accelerator = new_accelerator(config.training)
    if not accelerator.is_main_process:
        reporter = Reporter()
    pairs = read_pairs(dataset)
    for row in pairs.bad[:_LISTED_ROWS] if accelerator.is_main_process else ():
        exits.warn(f"{row.location}: {row.reason}")
    if len(pairs.bad) > _LISTED_ROWS and accelerator.is_main_process:
        exits.warn(f"{len(pairs.bad) - _LISTED_ROWS} more rows cannot be used")
    output = output.expanduser().absolute()
    progress = _steps(reporter, "training")
    result: FineTuneResult | ControlTrainingResult
    if isinstance(config, FineTuneConfig):
        result = fine_tune(pairs.good, config, output, accelerator=accelerator, progress=progress)
        lines = _model_lines(result)
    else:
        result = train_control(
            pairs.good, config, output, accelerator=accelerator, progress=progress
        )
        lines = net_lines(result, config.base)
    reporter.close()
    if accelerator.is_main_process:
        if json:
            terminal.say_json({"kind": "done", "data": msgspec.to_builtins(result)})
        for line in () if json else lines:
            terminal.say(line)
    return exits.SOME_FAILED if pairs.bad else exits.DONE


def _model_lines(result: FineTuneResult) -> list[str]:
    """What was made, and the command that uses it."""
    trained = f"LoRA rank {result.lora_rank}" if result.lora_rank else "the whole UNet"
    return [
        f"{result.model}: {trained}, {result.pairs} pairs, loss {result.training.loss:.4f}",
        f'Try it: ip2p-batch edit photo.jpg "..." --model {result.model}',
    ]


def _steps(reporter: Reporter, stage: str) -> Callable[[int, int, float], None]:
    def progress(step: int, steps: int, loss: float) -> None:
        message = f"loss {loss:.4f}"
        reporter(Event(kind="training", stage=stage, done=step, total=steps, message=message))

    return progress
