"""Layout of ``--help``: plain text in titled groups, for 80 columns and for copying.

Typer's framed tables leave 24 columns for the text next to the longest option. These commands lay
out their options as Click does, under one heading per group.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

RECIPE = "Recipe"
SOURCE = "Source"
OUTPUT = "Output"
COMPARISON = "Comparison"
PAIRS = "Pairs"
MODEL = "Model"
TRAINING = "Training"
WORKERS = "Workers"
REPORTING = "Reporting"
HELP = "Help"
#: Headings of commands, then of options, in the order in which they are printed.
_ORDER = (
    "Edit",
    "Jobs",
    "Machines",
    "Checks",
    RECIPE,
    SOURCE,
    OUTPUT,
    COMPARISON,
    PAIRS,
    MODEL,
    TRAINING,
    WORKERS,
    REPORTING,
    HELP,
)

#: Click's class of wrong usage.
_UsageError: Any = typer.BadParameter.__base__

#: Widest column of option names; it leaves about 46 of 80 columns for the text.
_NAMES_WIDTH = 30


class Command(TyperCommand):
    """A command whose options are printed under the headings that they name as panels."""

    # Typer keeps Click's classes private, hence Any.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        before = args[: args.index("--")] if "--" in args else args
        dashed = next((a for a in before if a.startswith("-") and " " in a and "=" not in a), None)
        try:
            parsed: list[str] = super().parse_args(ctx, args)
        except _UsageError as error:
            if dashed is not None:
                error.message = (
                    f'{error.message.removesuffix(".")}. If "{dashed}" is the instruction, write'
                    " the options first, then --, the inputs and the instruction."
                )
            raise
        return parsed

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        # An argument of several words, "{A... [B]}...", is its own description of them.
        return [re.sub(r"^\{(.*)\}\.\.\.$", r"\1", p) for p in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        parameters: list[Any] = self.get_params(ctx)
        arguments = [p for p in parameters if p.param_type_name == "argument"]
        options = [p for p in parameters if p.param_type_name == "option"]
        _section(formatter, "Arguments", [(p.metavar, p.help) for p in arguments])
        for heading, members in by_panel(options).items():
            _section(formatter, heading, [p.get_help_record(ctx) for p in members])


class Group(TyperGroup):
    """The main command, whose subcommands are printed under their headings."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        commands = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        for heading, members in by_panel(commands).items():
            rows = [(c.name, c.get_short_help_str(100)) for c in members]
            _section(formatter, heading, rows)
        records = [p.get_help_record(ctx) for p in self.get_params(ctx)]
        _section(formatter, "Options", records)


def by_panel(members: Iterable[Any]) -> dict[str, list[Any]]:
    """Group options or commands by ``rich_help_panel``, in the order of this module."""
    panels: dict[str, list[Any]] = {name: [] for name in _ORDER}
    for member in members:
        name = getattr(member, "rich_help_panel", None)
        panels.setdefault(name if isinstance(name, str) else HELP, []).append(member)
    return {name: listed for name, listed in panels.items() if listed}


def help_text(docstring: str | None) -> str:
    """Make help of a docstring: paragraphs are filled, lines under ``Examples:`` are kept."""
    text, mark, examples = inspect.cleandoc(docstring or "").partition("Examples:\n")
    lines = [f"  {line.strip()}" for line in examples.splitlines() if line.strip()]
    # A line with only a backspace character keeps Click from filling the paragraph after it.
    return text + ("\b\nExamples:\n" + "\n".join(lines) if mark else "")


def _section(formatter: Any, heading: str, rows: list[Any]) -> None:
    shown = [row for row in rows if row is not None]
    if shown:
        with formatter.section(heading):
            formatter.write_dl(shown, col_max=_NAMES_WIDTH)
