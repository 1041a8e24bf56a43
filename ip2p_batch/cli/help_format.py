"""How ``--help`` looks: plain text in groups, made for 80 columns and for pasting.

Typer's framed tables leave a column of 24 characters for the text beside our longest option, so
commands here lay out their options as Click does, under one heading a group.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

LOOK = "Look: what decides the pixels (also in a recipe file)"
RESULT = "Result"
COMPARISON = "Comparison"
PAIRS = "Pairs"
MODEL = "Model"
LEARNING = "Learning"
CREW = "Who does the work"
REPORTS = "Reports"
HELP = "Help"
_ORDER = (
    "Edit",
    "Jobs",
    "Machines",
    "Training",
    "Checks",
    LOOK,
    RESULT,
    COMPARISON,
    PAIRS,
    MODEL,
    LEARNING,
    CREW,
    REPORTS,
    HELP,
)

#: Widest column of names, so that the text beside it has about 46 of 80 columns.
_NAMES = 30


class Command(TyperCommand):
    """A command whose options stand under the headings that they name as panels."""

    # Click's own classes are private to Typer, hence Any.
    def format_options(self, ctx: Any, formatter: Any) -> None:
        parameters: list[Any] = self.get_params(ctx)
        arguments = [p for p in parameters if p.param_type_name == "argument"]
        options = [p for p in parameters if p.param_type_name == "option"]
        _section(formatter, "Arguments", [(p.metavar, p.help) for p in arguments])
        for heading, members in by_panel(options).items():
            _section(formatter, heading, [p.get_help_record(ctx) for p in members])


class Group(TyperGroup):
    """The command itself, with its subcommands under their headings."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        commands = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        for heading, members in by_panel(commands).items():
            rows = [(c.name, c.get_short_help_str(100)) for c in members]
            _section(formatter, heading, rows)
        records = [p.get_help_record(ctx) for p in self.get_params(ctx)]
        _section(formatter, "Options", records)


def by_panel(members: Iterable[Any]) -> dict[str, list[Any]]:
    """Options or commands by ``rich_help_panel``, headings in the order of this module."""
    panels: dict[str, list[Any]] = {name: [] for name in _ORDER}
    for member in members:
        name = getattr(member, "rich_help_panel", None)
        panels.setdefault(name if isinstance(name, str) else HELP, []).append(member)
    return {name: held for name, held in panels.items() if held}


def help_text(docstring: str | None) -> str:
    """A docstring as help: paragraphs are filled, the lines under ``Examples:`` stay lines."""
    text, mark, examples = inspect.cleandoc(docstring or "").partition("Examples:\n")
    lines = [f"  {line.strip()}" for line in examples.splitlines() if line.strip()]
    # A line with only a backspace character keeps Click from filling the paragraph after it.
    return text + ("\b\nExamples:\n" + "\n".join(lines) if mark else "")


def _section(formatter: Any, heading: str, rows: list[Any]) -> None:
    shown = [row for row in rows if row is not None]
    if shown:
        with formatter.section(heading):
            formatter.write_dl(shown, col_max=_NAMES)
