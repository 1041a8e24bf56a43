"""``train --control``: train a control net instead of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

from ..errors import RecipeError
from ..hints.kinds import KINDS
from ..models.control_nets import NET_TYPES, NetType
from .command import OptionGroup
from .help_format import TRAINING
from .options import option
from .param_types import choice

if TYPE_CHECKING:
    from ..training.control import ControlTrainingConfig, ControlTrainingResult


@dataclass(frozen=True, kw_only=True)
class ControlNetOptions(OptionGroup):
    """A control net to train."""

    control: Annotated[
        str | None,
        option(
            "--control",
            metavar="KIND",
            help="Train a control net instead of the model, for hints of this kind:"
            f" {', '.join(KINDS)}.",
            panel=TRAINING,
        ),
    ] = None
    control_type: Annotated[
        str,
        option(
            "--control-type",
            metavar="TYPE",
            help="Type of the control net.",
            panel=TRAINING,
            values=NET_TYPES,
            default="controlnet",
            **choice(NET_TYPES),
        ),
    ] = "controlnet"
    control_guidance: Annotated[
        float,
        option(
            "--control-guidance",
            metavar="X",
            help="Train the control net at text scales from 1 to X, at twice the time; 1: without"
            " guidance.",
            panel=TRAINING,
            default="1",
        ),
    ] = 1.0


def check_options(options: ControlNetOptions, lora_rank: int | None) -> None:
    """Refuse options that would have no effect.

    Raises:
        RecipeError: names the option.
    """
    if options.control is None:
        for name, value in (
            ("--control-type", options.control_type != "controlnet"),
            ("--control-guidance", options.control_guidance != 1.0),
        ):
            if value:
                raise RecipeError(f"{name} needs --control.", hint="Add --control canny.")
    elif lora_rank is not None:
        raise RecipeError(
            "--lora-rank has no effect with --control: the model is not trained.",
            hint="Omit one of the two.",
        )


def control_config(
    kind: str, options: ControlNetOptions, *, objective: Mapping[str, Any], **values: Any
) -> ControlTrainingConfig:
    """The configuration of the training.

    Args:
        kind: of the hints.
        options: the net.
        objective: other fields of the objective.
        values: other fields of the configuration.

    Raises:
        RecipeError: a value is out of range.
    """
    from ..training.control import ControlTrainingConfig
    from ..training.control_loss import ControlObjective

    return ControlTrainingConfig(
        kind=kind,
        net_type=cast("NetType", options.control_type),
        objective=ControlObjective(max_guidance_scale=options.control_guidance, **objective),
        **values,
    )


def net_lines(result: ControlTrainingResult, base: str) -> list[str]:
    """What was made, and the command that uses it."""
    return [
        f"{result.net}: {result.net_type} for {result.kind}, {result.pairs} pairs,"
        f" loss {result.training.loss:.4f}",
        f'Try it: ip2p-batch edit photo.jpg "..." --model {base}'
        f" --control {result.kind}:{result.net}",
    ]
