"""Turn a plain function into a Typer command: option groups, ``--debug``, errors, exit code."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from . import exits
from .help_format import REPORTING

_DEBUG = inspect.Parameter(
    "debug",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=REPORTING),
    ],
)


class OptionGroup:
    """Base of classes whose constructor's parameters are Typer options.

    A command that takes an ``OptionGroup`` as a parameter has all options of the group, and
    receives them as one object.
    """


def typer_command(command: Callable[..., int]) -> Callable[..., None]:
    """Wrap ``command`` for Typer.

    The options of its option groups become options of the command, ``--debug`` is added, errors
    are reported by :mod:`ip2p_batch.cli.exits`, and the return value becomes the exit code.
    """
    groups: dict[str, tuple[type[OptionGroup], list[inspect.Parameter]]] = {}
    flat: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        group = parameter.annotation
        if inspect.isclass(group) and issubclass(group, OptionGroup):
            options = list(inspect.signature(group, eval_str=True).parameters.values())
            groups[name] = group, options
            flat += options
        else:
            flat.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def run(*, debug: bool, **values: Any) -> None:
        json = bool(values.get("json"))
        for name, (group, options) in groups.items():
            values[name] = group(**{option.name: values.pop(option.name) for option in options})
        raise typer.Exit(exits.report_errors(lambda: command(**values), debug=debug, json=json))

    run.__signature__ = inspect.Signature([*flat, _DEBUG])  # type: ignore[attr-defined]
    run.__annotations__ = {}  # Typer takes them from the signature
    return run
