"""Bad and unusual inputs, each made by a small pure function, with the expected outcome.

A case is a name, a function that writes the input into an empty folder and gives its path, and the
expected outcome as data. The cases are in ``odd_stills``, ``odd_videos`` and
``odd_folders``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ip2p_batch.jobs.coding import Encoding

Make = Callable[[Path], Path]


@dataclass(frozen=True, slots=True)
class Edited:
    """The input is edited.

    Attributes:
        frames: how many frames or images; None: at least one.
        size: ``(width, height)`` of all of them; None where they differ.
        warns: what some warning says; empty: there is none. None: either.
        failed: images that fail, by name: what the reason says.
    """

    frames: int | None = 1
    size: tuple[int, int] | None = None
    warns: str | None = ""
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """The input is refused with an error.

    Attributes:
        says: what its message says.
        error: its class.
    """

    says: str
    error: str = "SourceError"


@dataclass(frozen=True, slots=True)
class Case:
    """One input.

    Attributes:
        suffix: of the output's name, where it is a file.
        root_can: whether root would not be stopped, so that the case means nothing to it.
    """

    name: str
    make: Make
    expected: Edited | Refused
    encoding: Encoding = field(default_factory=Encoding)
    suffix: str = ""
    root_can: bool = False
