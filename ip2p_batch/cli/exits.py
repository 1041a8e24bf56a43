"""Exit codes, and the only place that turns an error into text and an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import typer

from .. import errors
from ..jobs.events import Event
from ..queue import redis_url
from ..settings import Settings
from . import terminal

DONE = 0
SOME_FAILED = 1
UNEXPECTED = 70  # sysexits.h EX_SOFTWARE
INTERRUPTED = 130  # 128 + SIGINT, the convention of shells

#: What each exit code means, for ``--help`` and the documentation.
MEANINGS: dict[int, str] = {
    DONE: "done",
    SOME_FAILED: "finished, but some images failed (each is listed with the reason)",
    2: "an option, the recipe or the instruction is wrong",
    3: "the source cannot be read",
    4: "the output cannot be written, or exists already",
    5: "the model cannot be found, downloaded or loaded",
    6: "Redis cannot be reached, or no worker answers",
    7: "the job failed, was cancelled, or does not exist",
    UNEXPECTED: "an error in ip2p-batch itself",
    INTERRUPTED: "interrupted (143: terminated); continue with `ip2p-batch resume`",
}

#: The first class that matches gives the exit code.
_CODES: tuple[tuple[type[errors.Ip2pError], int], ...] = (
    (errors.RecipeError, 2),
    (errors.SourceError, 3),
    (errors.OutputError, 4),
    (errors.ModelError, 5),
    (errors.BrokerError, 6),
    (errors.Ip2pError, 7),
)


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP was received: handled like Ctrl-C, with an exit code of its own."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


def code_of(error: type[errors.Ip2pError]) -> int:
    """The exit code of a class of errors."""
    return next(code for class_, code in _CODES if issubclass(error, class_))


def is_own_error(name: str) -> bool:
    """Whether ``name`` is an error class of this package."""
    class_ = getattr(errors, name, None)
    return isinstance(class_, type) and issubclass(class_, errors.Ip2pError)


def code_named(name: str) -> int:
    """The exit code of an error class by name, as failures on disk record it; 7 if unknown."""
    return code_of(getattr(errors, name) if is_own_error(name) else errors.Ip2pError)


def print_error(message: str, hint: str = "", survives: str = "") -> None:
    """Print an error to stderr: what happened, what to do next, what is kept."""
    _line("error:", message, typer.colors.RED)
    if hint:
        _line(" hint:", hint, typer.colors.CYAN)
    if survives:
        _line(" kept:", survives, typer.colors.GREEN)


def warn(message: str) -> None:
    """Print a warning to stderr."""
    _line("warning:", message, typer.colors.YELLOW)


def _line(label: str, text: str, color: str) -> None:
    # Messages of other libraries may span several lines; an error takes one.
    terminal.note(" ".join(text.split()), label=label, color=color)


def report_errors(command: Callable[[], int], *, debug: bool = False, json: bool = False) -> int:
    """Call ``command`` and report its errors, each in one line on stderr.

    Args:
        command: returns its exit code.
        debug: whether to show the traceback of an error.
        json: whether to write an error to stdout as an event, too.

    Returns:
        The exit code: that of ``command``, or the one that stands for its error.
    """
    try:
        _set_up_logging()
        _check_current_folder()
        with _termination():
            return command()
    except errors.Ip2pError as error:
        if debug:
            traceback.print_exc()
        code = code_of(type(error))
        print_error(error.message, error.hint, error.survives)
        if json:
            _write_event(error, code)
        return code
    except KeyboardInterrupt as stop:
        terminal.note("stopped; no work was started.")
        return interrupt_code(stop)
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as error:
        if debug:
            raise
        _report_unexpected(error)
        return UNEXPECTED


def _set_up_logging() -> None:
    """Log to stderr where ``IP2P_LOG_LEVEL`` is set.

    Raises:
        RecipeError: the variable does not name a level.
    """
    level = os.environ.get("IP2P_LOG_LEVEL")
    if level:
        from ..jobs.log import set_log_level

        logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
        set_log_level(Settings.from_env({"IP2P_LOG_LEVEL": level}).log_level)


def _check_current_folder() -> None:
    """Check that relative paths mean something.

    Raises:
        SourceError: the current folder was deleted, or may not be searched.
    """
    try:
        Path.cwd().stat()
    except OSError as error:
        raise errors.SourceError(
            f"The current folder cannot be used: {error.strerror}.",
            hint="Change to another folder with `cd`.",
        ) from None


def _write_event(error: errors.Ip2pError, code: int) -> None:
    data = {"error": type(error).__name__, "hint": error.hint, "exit": code}
    event = Event(kind="failed", message=error.message, data=data)
    terminal.say_json(event)


def interrupt_code(stop: KeyboardInterrupt) -> int:
    """The exit code after Ctrl-C, SIGTERM or SIGHUP."""
    return stop.code if isinstance(stop, Terminated) else INTERRUPTED


def _report_unexpected(error: Exception) -> None:
    text = _without_passwords(str(error).strip())
    summary = f"{type(error).__name__}: {text}" if text else type(error).__name__
    log = _write_log()
    kept = f"The traceback is in {log}. " if log else ""
    print_error(f"unexpected {summary}", f"{kept}--debug prints the traceback.")


def _write_log() -> Path | None:
    """Write the current traceback to the state folder; None if that fails, too."""
    with suppress(OSError, ValueError, errors.RecipeError):
        log = Settings.from_env().state_folder() / "last-error.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        text = f"{' '.join(sys.argv)}\n{traceback.format_exc()}"
        log.write_text(_without_passwords(text), encoding="utf-8")
        return log
    return None


def _without_passwords(text: str) -> str:
    """``text`` without the password of any broker URL of this command."""
    for url in filter(None, (os.environ.get("IP2P_BROKER_URL"), *_urls(sys.argv))):
        text = redis_url.redact_text(text, url)
    return text


def _urls(arguments: list[str]) -> list[str]:
    """Arguments of a command line that may be a broker URL."""
    return [a.removeprefix("--broker=").removeprefix("-b") for a in arguments if "://" in a]


@contextmanager
def _termination() -> Iterator[None]:
    """Raise :class:`Terminated` on SIGTERM and SIGHUP, so that context managers close."""

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
