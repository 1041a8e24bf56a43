"""``python -m ip2p_batch.cli.docs``: write docs/cli.md from the commands themselves."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import typer

from . import exits
from .app import app
from .help_format import by_panel

TARGET = Path(__file__).parents[2] / "docs" / "cli.md"

HEAD = """<!-- Made by `python -m ip2p_batch.cli.docs`; do not edit by hand. -->
# Command line

`ip2p-batch --install-completion` sets up completion for bash, zsh, fish and PowerShell.

An option wins over the recipe file (`--recipe look.toml`), the recipe file over what the model's
folder says of itself, and that over the defaults given here. Every job folder holds the
`recipe.toml` that made it.

## Exit codes

| code | meaning |
|---|---|
"""


def page() -> str:
    """The whole page as Markdown."""
    group: Any = typer.main.get_command(app)
    codes = "".join(f"| {code} | {_cell(text)} |\n" for code, text in exits.MEANINGS.items())
    return HEAD + codes + "".join(_command(name, c) for name, c in group.commands.items())


def _command(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join(["ip2p-batch", name, "[OPTIONS]", *(_usage(a) for a in arguments)])
    lines = ["", f"## {name}", "", f"```\n{usage}\n```", "", *_prose(command.help), ""]
    if arguments:
        lines += ["| argument | |", "|---|---|"]
        lines += [f"| `{_metavar(a)}` | {_cell(a.help or '')} |" for a in arguments]
        lines += [""]
    shown = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    for panel, options in by_panel(shown).items():
        lines += [f"| {panel} | |", "|---|---|"]
        lines += [_option(o) for o in options]
        lines += [""]
    return "\n".join(lines)


def _option(option: Any) -> str:
    names = ", ".join(f"`{n}`" for n in [*option.opts, *option.secondary_opts])
    value = "" if option.is_flag else f" `{_metavar(option)}`"
    default = option.default if option.show_default and option.default else None
    shown = f" [default: {default}]" if default is not None else ""
    variable = f" (environment: `{option.envvar}`)" if option.envvar else ""
    return f"| {names}{value} | {_cell(option.help or '')}{shown}{variable} |"


def _usage(argument: Any) -> str:
    return _metavar(argument) if argument.required else f"[{_metavar(argument)}]"


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _prose(help: str) -> list[str]:
    """Paragraphs as they are, examples as one code block."""
    text, _, examples = help.replace("\b", "").partition("Examples:")
    lines = [re.sub(r"\n(?!\n)", " ", p).strip() for p in text.strip().split("\n\n")]
    out = "\n\n".join(lines).split("\n")
    commands = [line.strip() for line in examples.splitlines() if line.strip()]
    return [*out, "", "```", *commands, "```"] if commands else out


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write the page; with ``--check`` only say whether the one on disk is current."""
    text = page()
    if "--check" in arguments:
        current = TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text
        if not current:
            exits.print_error(f"{TARGET} is not current.", "Run `python -m ip2p_batch.cli.docs`.")
        return 0 if current else 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
