"""The command ``ip2p-batch``. Heavy libraries are imported by the commands that need them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from .. import __version__
from ..errors import OutputError
from . import exits, terminal
from .command import typer_command
from .control import cancel, pause, watch
from .dataset import dataset
from .demo import demo
from .doctor import doctor
from .edit import edit, resume, retry
from .help_format import Command, Group, help_text
from .hints import control
from .jobs import jobs, status
from .plan import plan
from .score import score
from .train import train
from .worker import worker

EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {c:<4} {text}" for c, text in exits.MEANINGS.items())

app = typer.Typer(
    name="ip2p-batch",
    no_args_is_help=True,
    cls=Group,
    rich_markup_mode=None,  # help_format.py says why
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 90},
    epilog=EPILOG,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ip2p-batch {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Edit whole videos and folders of images with a one-sentence instruction.

    Start with: ip2p-batch demo
    """


_PANELS: dict[str, tuple[Callable[..., int], ...]] = {
    "Edit": (edit, plan, control, score, demo),
    "Jobs": (jobs, status, watch, resume, retry, pause, cancel),
    "Machines": (worker, doctor),
    "Training": (dataset, train),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(cls=Command, help=help_text(_command.__doc__), rich_help_panel=_panel)(
            typer_command(_command)
        )


def main() -> None:
    """Entry point of the console script."""
    terminal.install()
    try:
        app(prog_name="ip2p-batch")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        raise SystemExit(terminal.exit_code(code, exits.code_of(OutputError))) from None
