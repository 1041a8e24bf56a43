"""The folders that a worker may read and write for others: ``IP2P_ALLOWED_ROOTS``.

A job folder says where its source lies and where its result goes, and whoever can write into a job
folder or into the queue can say anything there. With roots, every such path is taken without its
links, at the moment it is used, and has to lie under one of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import OutsideRoots, RecipeError

VARIABLE = "IP2P_ALLOWED_ROOTS"


class Roots:
    """Folders outside of which nothing is read or written; none at all means any folder.

    Args:
        folders: absolute paths. Links in them are followed once, now.

    Raises:
        RecipeError: a path is not absolute.
    """

    __slots__ = ("folders",)

    def __init__(self, folders: Iterable[str | Path] = ()) -> None:
        found = []
        for folder in map(str, folders):
            if not os.path.isabs(folder) or "\0" in folder:  # noqa: PTH117 - of a text, not yet a path
                raise RecipeError(
                    f"{VARIABLE} names {folder!r}, which is not an absolute path.",
                    hint=f"Give absolute folders, with {os.pathsep!r} between them.",
                )
            found.append(Path(os.path.realpath(folder)))
        self.folders: tuple[Path, ...] = tuple(found)

    @classmethod
    def parse(cls, text: str) -> Roots:
        """Roots from a list as in ``PATH``; empty text means any folder.

        Raises:
            RecipeError: a path is not absolute, or there is nothing between the separators.
        """
        if not text:
            return cls()
        # An empty part is a variable that was not set where the list was put together. To take
        # it for nothing could leave no root at all, and that would open everything.
        return cls(text.split(os.pathsep))

    def __bool__(self) -> bool:
        return bool(self.folders)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Roots) and self.folders == other.folders

    def __hash__(self) -> int:
        return hash(self.folders)

    def __repr__(self) -> str:
        return f"Roots({[str(f) for f in self.folders]!r})"

    def allow(self, path: Path | str) -> Path:
        """``path`` without links, for use right now; where there are no roots, as it is.

        The result may not exist yet. Use it, not ``path``: what has no links when it is looked
        at can only be led astray by somebody who swaps a folder in that very moment.

        Raises:
            OutsideRoots: it does not lie under a root, is not absolute, or is no path at all.
        """
        if not self.folders:
            return Path(path)
        text = os.fspath(path)
        if not os.path.isabs(text):  # noqa: PTH117 - would be taken from wherever the worker runs
            raise self._refusal(text)
        try:
            real = Path(os.path.realpath(text))
        except (ValueError, OSError):  # a NUL, or what no file name can be written with
            raise self._refusal(text) from None
        if not any(real.is_relative_to(folder) for folder in self.folders):
            raise self._refusal(text)
        return real

    def _refusal(self, path: str) -> OutsideRoots:
        shown = path if path.isprintable() else repr(path)
        return OutsideRoots(
            f"{_shortened(shown)} is not in a folder that this worker may use ({VARIABLE}).",
            hint=f"Put it under one of {os.pathsep.join(map(str, self.folders))}, or add its"
            f" folder to {VARIABLE} of the worker.",
        )


def _shortened(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."


#: No limits: the command line's own jobs, and workers on which nothing is set.
ANYWHERE = Roots()
