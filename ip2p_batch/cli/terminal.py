"""Write to stdout and stderr: no control characters of file names, no error for a closed pipe.

A file name may contain escape sequences that write the clipboard or hide text. Commands print
through this module, which shows such characters as escapes.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

import msgspec
import typer

#: Characters that a terminal acts on or hides: C0 and C1 controls, bidirectional controls (UAX #9),
#: line and paragraph separators, zero-width characters and surrogates.
_HIDDEN = (
    r"\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff"
    r"\U000e0000-\U000e007f"
)
_CONTROL = re.compile(f"[{_HIDDEN}]")
#: The same without what this program itself writes: newlines, the carriage return and the cursor
#: movement of a progress bar, and colors.
_FOREIGN = re.compile(f"\x1b\\[[0-9;]*m|\x1b\\[A|[\n\r\t]|([{_HIDDEN}])")


def visible(text: str) -> str:
    r"""Replace every character that a terminal acts on or hides by its escape.

    >>> print(visible("a\x1b[2Jb\u202ec"), visible("bytes \udcff"))
    a\x1b[2Jb\u202ec bytes \xff
    """
    return _CONTROL.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # PEP 383: a byte of a name that is not UTF-8
        code -= 0xDC00
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def json_line(value: Any) -> str:
    r"""Encode a value as JSON in one line; hidden characters in texts are ``\u`` escapes.

    >>> print(json_line(["\x9b2J", "\u202e"]))
    ["\u009b2J","\u202e"]
    """
    return _CONTROL.sub(_json_escape, msgspec.json.encode(value).decode())


def _json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def say(line: str, *, label: str = "", color: str = "") -> None:
    """Write one line of a result to stdout; ``label`` and ``color`` as for :func:`note`."""
    typer.echo(_labelled(line, label, color))


def note(line: str, *, label: str = "", color: str = "") -> None:
    """Write one line about the work to stderr.

    Args:
        label: first word, in ``color`` on a terminal, unless ``NO_COLOR`` is set.
        color: a name of Click's.
    """
    typer.echo(_labelled(line, label, color), err=True)


def _labelled(line: str, label: str, color: str) -> str:
    if label and not os.environ.get("NO_COLOR"):
        label = typer.style(label, fg=color, bold=True)
    return f"{label} {visible(line)}" if label else visible(line)


def say_json(value: Any) -> None:
    """Write a value as one line of JSON to stdout, at once."""
    sys.stdout.write(json_line(value) + "\n")
    sys.stdout.flush()


class OutputStream:
    """A text stream whose reader may leave and whose disk may be full.

    After the first error everything more is dropped, so that the work itself continues.

    Attributes:
        error: the first error of writing; None without one.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text. Control characters that this program does not use become escapes."""
        with self._dropping():
            self._stream.write(_FOREIGN.sub(lambda m: _escape(m) if m[1] else m[0], text))
        return len(text)

    def flush(self) -> None:
        """Pass on what was written."""
        with self._dropping():
            self._stream.flush()

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            # What is still buffered would fail again when Python exits.
            with suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)


def install() -> None:
    """Make stdout and stderr of this process safe to write to, also where they are closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The next file to be opened would get this number, and the output of libraries.
            os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name) or os.fdopen(number, "w", encoding="utf-8")
        # A name may have characters that this locale cannot write.
        stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, cast("TextIO", OutputStream(stream)))
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8")


def exit_code(code: int, output_failed: int) -> int:
    """The exit code of a command that ends with ``code``.

    Args:
        output_failed: the code for a command whose result could not be written to stdout. A reader
            that leaves (``| head``) is no failure.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    error = getattr(sys.stdout, "error", None)
    if error is None or error.errno == errno.EPIPE or code:
        return code
    note(f"stdout cannot be written: {error.strerror}.", label="error:", color=typer.colors.RED)
    note("Finished work is kept.", label=" kept:", color=typer.colors.GREEN)
    return output_failed
