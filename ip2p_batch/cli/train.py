"""``train``: teach a model, from pairs of pictures or, by a recipe file, from nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..errors import RecipeError
from ..jobs.events import Event
from ..models import catalog
from ..settings import Settings
from . import exits
from .help_format import LEARNING, MODEL, RESULT
from .options import ReportOptions
from .report import Reporter, reporter

if TYPE_CHECKING:
    from ..training.finetune import Tuning

#: Bad rows told one by one; the rest is counted.
_TOLD = 20

DatasetArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="DATASET",
        help="Pairs to learn from: a folder, a CSV or a JSONL.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="DIR",
        help="Where the model goes, with checkpoints, loss.png and logs.",
        rich_help_panel=RESULT, show_default=False,
    ),
]  # fmt: skip
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE.toml",
        help="Build a small model from nothing by this recipe, in place of DATASET.",
        rich_help_panel=MODEL, show_default=False,
    ),
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Base:
    """What is trained."""

    base: Annotated[
        str,
        typer.Option(
            "--base", metavar="MODEL",
            help="Hub id, diffusers folder or SD 1.5 checkpoint to start from.",
            rich_help_panel=MODEL,
        ),
    ] = "timbrooks/instruct-pix2pix"  # fmt: skip
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision", metavar="NAME", help="Of a hub id.", rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None  # fmt: skip
    lora_rank: Annotated[
        int | None,
        typer.Option(
            "--lora-rank", metavar="N",
            help="Rank of the adapters; 0 trains the whole UNet. [default: 16 for fewer than"
            " 5000 pairs, else 0]",
            rich_help_panel=MODEL, show_default=False,
        ),
    ] = None  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How it is trained."""

    steps: Annotated[
        int, typer.Option(metavar="N", help="Optimiser steps in all.", rich_help_panel=LEARNING)
    ] = 2000
    batch_size: Annotated[
        int,
        typer.Option(
            metavar="N", help="Pairs in one pass of one device.", rich_help_panel=LEARNING
        ),
    ] = 4
    gradient_accumulation_steps: Annotated[
        int, typer.Option(metavar="N", help="Passes to one step.", rich_help_panel=LEARNING)
    ] = 1
    learning_rate: Annotated[
        float, typer.Option(metavar="X", help="The highest.", rich_help_panel=LEARNING)
    ] = 1e-4
    size: Annotated[
        int,
        typer.Option(
            metavar="PIXELS", help="Side of the squares cut out of pairs.", rich_help_panel=LEARNING
        ),
    ] = 256
    drop: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Examples without text, as many without source, as many without both.",
            rich_help_panel=LEARNING,
        ),
    ] = 0.05
    snr_gamma: Annotated[
        float,
        typer.Option(metavar="X", help="Min-SNR weighting; 0: none.", rich_help_panel=LEARNING),
    ] = 0.0
    ema_decay: Annotated[
        float,
        typer.Option(
            metavar="X", help="Moving average of the weights; 0: none.", rich_help_panel=LEARNING
        ),
    ] = 0.999
    mixed_precision: Annotated[
        str, typer.Option(metavar="KIND", help="no, bf16 or fp16.", rich_help_panel=LEARNING)
    ] = "no"
    gradient_checkpointing: Annotated[
        bool,
        typer.Option(
            "--gradient-checkpointing", help="Slower, in half the memory.", rich_help_panel=LEARNING
        ),
    ] = False
    use_8bit_adam: Annotated[
        bool,
        typer.Option("--use-8bit-adam", help="bitsandbytes' optimiser.", rich_help_panel=LEARNING),
    ] = False
    checkpoint_every: Annotated[
        int,
        typer.Option(metavar="N", help="Steps between checkpoints.", rich_help_panel=LEARNING),
    ] = 500
    validate_every: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Steps between validation sheets; 0: at checkpoints.",
            rich_help_panel=LEARNING,
        ),
    ] = 0
    validation_pairs: Annotated[
        int,
        typer.Option(metavar="N", help="Held out and drawn there.", rich_help_panel=LEARNING),
    ] = 4
    seed: Annotated[
        int, typer.Option(metavar="N", help="Decides all chance.", rich_help_panel=LEARNING)
    ] = 0


def train(
    output: OutputOption,
    start: Base,
    learning: Learning,
    reports: ReportOptions,
    dataset: DatasetArgument = None,
    config: ConfigOption = None,
) -> int:
    """Fine-tune InstructPix2Pix on pairs, or build a small model from photographs.

    Pairs are rows of input picture, instruction and edited picture, see `ip2p-batch dataset`.
    An interrupted run goes on when the same command is given again, to the same bits.

    Examples:
      ip2p-batch train pairs/ -o model/ --mixed-precision fp16 --size 512
      ip2p-batch train pairs/ -o model/ --base tiny --steps 200
      accelerate launch -m ip2p_batch train pairs/ -o model/ --lora-rank 0
      ip2p-batch train --config training/tiny.toml -o model/
    """
    if (dataset is None) == (config is None):
        raise RecipeError(
            "Either a DATASET or a --config is needed, and not both.",
            hint="ip2p-batch train pairs/ -o model/",
        )
    from ..editing.loading import quiet_libraries

    quiet_libraries()
    say = reporter(json=reports.json, quiet=reports.quiet)
    try:
        if config is not None:
            return _from_nothing(config, output, say)
        assert dataset is not None
        return _fine_tune(dataset, _tuning(start, learning), output, say, json=reports.json)
    finally:
        say.close()


def _tuning(start: Base, learning: Learning) -> Tuning:
    from ..training.denoising import Objective
    from ..training.finetune import Tuning
    from ..training.fit import Fitting

    catalog.check_allowed(start.base, start.revision, Settings.from_env().allowed_models)
    return Tuning(
        base=start.base,
        revision=start.revision,
        lora_rank=start.lora_rank,
        size=learning.size,
        gradient_checkpointing=learning.gradient_checkpointing,
        validation_pairs=learning.validation_pairs,
        objective=Objective(drop=learning.drop, snr_gamma=learning.snr_gamma),
        fitting=Fitting(
            **{
                name: getattr(learning, name)
                for name in Fitting.__struct_fields__
                if hasattr(learning, name)
            }
        ),
    )


def _fine_tune(dataset: Path, tuning: Tuning, output: Path, say: Reporter, *, json: bool) -> int:
    from ..training.finetune import fine_tune
    from ..training.fit import new_accelerator
    from ..training.pairs import read_pairs

    accelerator = new_accelerator(tuning.fitting)
    if not accelerator.is_main_process:
        say = Reporter()
    found = read_pairs(dataset)
    for row in found.bad[:_TOLD] if accelerator.is_main_process else ():
        exits.warn(f"{row.where}: {row.why}")
    if len(found.bad) > _TOLD and accelerator.is_main_process:
        exits.warn(f"and {len(found.bad) - _TOLD} others")
    tuned = fine_tune(
        found.good, tuning, output.expanduser().absolute(),
        accelerator=accelerator, progress=_steps(say, "training"),
    )  # fmt: skip
    say.close()
    if accelerator.is_main_process:
        if json:
            typer.echo(msgspec.json.encode({"kind": "done", "data": msgspec.to_builtins(tuned)}))
        else:
            way = f"adapters of rank {tuned.lora_rank}" if tuned.lora_rank else "the whole UNet"
            typer.echo(f"{tuned.model}: {way}, {tuned.pairs} pairs, loss {tuned.fitted.loss:.4f}")
            typer.echo(f'Try it: ip2p-batch edit photo.jpg "..." --model {tuned.model}')
    return exits.SOME_FAILED if found.bad else exits.DONE


def _from_nothing(config: Path, output: Path, say: Reporter) -> int:
    from training.tiny.build import build_model, load_recipe
    from training.tiny.photos import collect, read_list

    recipe = load_recipe(config)
    output = output.expanduser().absolute()
    work = output / "work"
    photos = read_list(config.parent / recipe.photos)
    folders = collect(photos, work / "photos", progress=_counted(say, "photographs"))

    def progress(stage: str, done: int, total: int, words: str) -> None:
        say(Event(kind="training", stage=stage, done=done, total=total, message=words))

    build_model(recipe, folders["train"], folders["held-out"], work, output, progress=progress)
    say.close()
    typer.echo(f'{output}: done. Try it: ip2p-batch edit photo.jpg "..." --model {output}')
    return exits.DONE


def _steps(say: Reporter, stage: str) -> Callable[[int, int, float], None]:
    def progress(step: int, steps: int, loss: float) -> None:
        message = f"loss {loss:.4f}"
        say(Event(kind="training", stage=stage, done=step, total=steps, message=message))

    return progress


def _counted(say: Reporter, stage: str) -> Callable[[int, int], None]:
    return lambda done, of: say(Event(kind="training", stage=stage, done=done, total=of))
