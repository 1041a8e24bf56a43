"""Options of workers, jobs and reports, which several commands share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args

import typer

from ..jobs.spec import Priority
from ..settings import Settings
from .command import OptionGroup
from .help_format import REPORTING, WORKERS
from .param_types import devices

PRIORITIES: tuple[str, ...] = get_args(Priority)


def option(
    *names: str, panel: str, help: str, values: Sequence[str] = (), default: str = "", **more: Any
) -> Any:
    """A Typer option whose help ends with its values and its default, if it has any.

    Args:
        values: all that the option takes.
        default: describes the default value.
    """
    facts = [", ".join(values)] if values else []
    facts += [f"default: {default}"] if default else []
    text = f"{help} [{'; '.join(facts)}]" if facts else help
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False, **more)


JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="Id of the job, a unique start of it, or its folder.",
        show_default=False,
    ),
]


def broker_option(default: str = "") -> Any:
    """``--broker``; ``default`` says what a command does without one."""
    return option(
        "--broker",
        "-b",
        envvar="IP2P_BROKER_URL",
        metavar="URL",
        help="URL of the workers' Redis, such as redis://host/0.",
        panel=WORKERS,
        default=default,
    )


DevicesOption = Annotated[
    str | None,
    option(
        "--devices",
        metavar="LIST",
        parser=devices,
        autocompletion=lambda: ["auto", "cpu", "0", "0,1"],
        help="auto (every GPU, or the CPU without one), GPU numbers such as 0,1, or cpu.",
        panel=WORKERS,
        default="IP2P_DEVICE, or auto",
    ),
]
WorkersOption = Annotated[
    int | None,
    option(
        "--workers",
        "-w",
        min=1,
        metavar="N",
        help="Worker processes on this machine.",
        panel=WORKERS,
        default="two per GPU with 40 GB or more, one per smaller GPU; on a CPU, one per core",
    ),
]


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(OptionGroup):
    """Which workers do the job: workers of this command, or those of a broker."""

    broker: Annotated[
        str | None, broker_option("a private Redis and workers for this command only")
    ] = None
    workers: WorkersOption = None
    devices: DevicesOption = None

    def settings(self) -> Settings:
        """The environment's settings with this broker."""
        return dataclasses.replace(Settings.from_env(), broker_url=self.broker or None)


@dataclass(frozen=True, kw_only=True)
class ReportOptions(OptionGroup):
    """How a command reports its progress and result."""

    json: Annotated[
        bool,
        option("--json", help="Write one JSON object per line to stdout.", panel=REPORTING),
    ] = False
    quiet: Annotated[bool, option("--quiet", "-q", help="Print errors only.", panel=REPORTING)] = (
        False
    )
