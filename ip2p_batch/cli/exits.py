"""From an error to one clear line and an exit code: the only place where they meet."""

from __future__ import annotations

import functools
import inspect
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import msgspec
import typer

from .. import errors
from ..jobs.events import Event
from ..queue import redis_url
from ..settings import Settings
from .help_format import REPORTS

DONE = 0
SOME_FAILED = 1
UNEXPECTED = 70  # sysexits.h EX_SOFTWARE
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

#: What each exit code means, for ``--help`` and the documentation.
MEANINGS: dict[int, str] = {
    DONE: "done",
    SOME_FAILED: "finished, but some pictures failed (each is listed with the reason)",
    2: "an option, the recipe or the instruction is wrong",
    3: "the source cannot be read",
    4: "the output cannot be written, or exists already",
    5: "the model cannot be found, downloaded or loaded",
    6: "Redis cannot be reached, or no worker answers",
    7: "the job is not complete, was cancelled, or is not there",
    UNEXPECTED: "an error in ip2p-batch itself",
    INTERRUPTED: "interrupted (143: terminated); `ip2p-batch resume` goes on",
}

#: Along the tree of errors: the first class that fits decides.
_CODES: tuple[tuple[type[errors.Ip2pError], int], ...] = (
    (errors.RecipeError, 2),
    (errors.SourceError, 3),
    (errors.OutputError, 4),
    (errors.ModelError, 5),
    (errors.BrokerError, 6),
    (errors.Ip2pError, 7),
)


_DEBUG = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=REPORTS),
]


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: everything is left as after Ctrl-C, under its own exit code."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


def code_of(error: type[errors.Ip2pError]) -> int:
    """The exit code for a class of errors."""
    return next(code for class_, code in _CODES if issubclass(error, class_))


def is_ours(name: str) -> bool:
    """Whether an error class of that name is one of this package's."""
    class_ = getattr(errors, name, None)
    return isinstance(class_, type) and issubclass(class_, errors.Ip2pError)


def code_named(name: str) -> int:
    """The exit code for an error class by name, as a failure on disk has it; 7 if unknown."""
    return code_of(getattr(errors, name) if is_ours(name) else errors.Ip2pError)


def print_error(message: str, hint: str = "", survives: str = "") -> None:
    """An error on stderr: what happened, what to do next, what is kept."""
    _line("error:", message, typer.colors.RED)
    if hint:
        _line(" hint:", hint, typer.colors.CYAN)
    if survives:
        _line(" kept:", survives, typer.colors.GREEN)


def warn(message: str) -> None:
    """A warning on stderr."""
    _line("warning:", message, typer.colors.YELLOW)


def _line(label: str, text: str, color: str) -> None:
    shown = label if os.environ.get("NO_COLOR") else typer.style(label, fg=color, bold=True)
    # Messages of other libraries may span lines; ours is to be one.
    typer.echo(f"{shown} {' '.join(text.split())}", err=True)


def with_error_handling(command: Callable[..., int]) -> Callable[..., None]:
    """``command`` with its errors told in one line and its return value as exit code.

    Adds ``--debug``, with which errors keep their traceback. A command whose ``--json`` is on
    tells its error on stdout, too, as an event.
    """

    @functools.wraps(command)
    def run(*, debug: bool, **values: object) -> None:
        try:
            with _termination():
                code = command(**values)
        except errors.Ip2pError as error:
            if debug:
                traceback.print_exc()
            code = code_of(type(error))
            print_error(error.message, error.hint, error.survives)
            if values.get("json"):
                _write_event(error, code)
        except KeyboardInterrupt as stop:
            typer.echo("stopped; nothing was begun.", err=True)
            code = interrupt_code(stop)
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
            raise
        except Exception as error:
            if debug:
                raise
            _unexpected(error)
            code = UNEXPECTED
        raise typer.Exit(code)

    signature = inspect.signature(command)
    own = inspect.Parameter(
        "debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_DEBUG
    )
    parameters = [*signature.parameters.values(), own]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _write_event(error: errors.Ip2pError, code: int) -> None:
    data = {"error": type(error).__name__, "hint": error.hint, "exit": code}
    event = Event(kind="failed", message=error.message, data=data)
    sys.stdout.write(msgspec.json.encode(event).decode() + "\n")
    sys.stdout.flush()


def interrupt_code(stop: KeyboardInterrupt) -> int:
    return stop.code if isinstance(stop, Terminated) else INTERRUPTED


def _unexpected(error: Exception) -> None:
    text = _without_passwords(str(error).strip())
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    log = _write_log()
    hint = "Give --debug to see where it comes from"
    print_error(f"unexpected {what}", f"{hint}; the traceback is in {log}." if log else f"{hint}.")


def _write_log() -> Path | None:
    """The current traceback in the state folder; None where even that is not possible."""
    with suppress(OSError, ValueError):
        log = Settings.from_env().state / "last-error.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        text = f"{' '.join(sys.argv)}\n{traceback.format_exc()}"
        log.write_text(_without_passwords(text), encoding="utf-8")
        return log
    return None


def _without_passwords(text: str) -> str:
    """``text`` without the passwords of whatever broker this command was told of."""
    for url in filter(None, (os.environ.get("IP2P_BROKER_URL"), *_urls(sys.argv))):
        text = redis_url.redact_text(text, url)
    return text


def _urls(arguments: list[str]) -> list[str]:
    """Whatever in a command line may be a broker's address."""
    return [a.removeprefix("--broker=").removeprefix("-b") for a in arguments if "://" in a]


@contextmanager
def _termination() -> Iterator[None]:
    """SIGTERM and SIGHUP raise :class:`Terminated`, so that everything is closed on the way."""

    def terminate(number: int, _frame: FrameType | None) -> None:
        raise Terminated(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, terminate) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
