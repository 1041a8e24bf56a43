"""Record the paths that a block of code opens or lists, from Python's audit events."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_EVENTS = {"open", "os.listdir", "os.scandir"}
_recorded: list[Path] | None = None


def _record(event, arguments):
    if _recorded is None or event not in _EVENTS:
        return
    if isinstance(arguments[0], str | bytes | Path):
        _recorded.append(Path(os.fsdecode(arguments[0])))


sys.addaudithook(_record)  # A hook cannot be removed: one for the whole process, idle by default.


@contextmanager
def touched(folder: Path) -> Iterator[list[str]]:
    """Paths below ``folder`` that are opened or listed in the block, in order, relative to it."""
    global _recorded
    paths: list[str] = []
    recorded: list[Path] = []
    _recorded = recorded
    try:
        yield paths
    finally:
        _recorded = None
        paths += [p.relative_to(folder).as_posix() for p in recorded if p.is_relative_to(folder)]
