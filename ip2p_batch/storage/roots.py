"""Folders that a worker may read and write: ``IP2P_ALLOWED_ROOTS``.

A job folder contains the paths of source and output, and everyone who can write into it or into
the queue can set them. With roots, every such path is resolved when it is used and must lie below
one of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import OutsideRoots, RecipeError

VARIABLE = "IP2P_ALLOWED_ROOTS"


class Roots:
    """Folders outside of which nothing is read or written; empty allows any folder.

    Args:
        folders: absolute paths. Links in them are resolved once, now.

    Raises:
        RecipeError: a path is not absolute.
    """

    __slots__ = ("folders",)

    def __init__(self, folders: Iterable[str | Path] = ()) -> None:
        found = []
        for folder in map(str, folders):
            if not os.path.isabs(folder) or "\0" in folder:  # noqa: PTH117 - text, not yet a path
                raise RecipeError(
                    f"{VARIABLE} contains {folder!r}, which is not an absolute path.",
                    hint=f"Give absolute folders, separated by {os.pathsep!r}.",
                )
            found.append(Path(os.path.realpath(folder)))
        self.folders: tuple[Path, ...] = tuple(found)

    @classmethod
    def parse(cls, text: str) -> Roots:
        """Parse a list as in ``PATH``; empty text allows any folder.

        Raises:
            RecipeError: a path is not absolute, or there is nothing between the separators.
        """
        if not text:
            return cls()
        # An empty part is a variable that was unset when the list was built. Ignoring it could
        # leave no root at all, and that would allow every folder.
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
        """Resolve ``path``, for use right now; without roots, return it unchanged.

        The result may not exist yet. Use it instead of ``path``: a resolved path can only be
        redirected by swapping a folder in the instant before its use.

        Raises:
            OutsideRoots: it lies below no root, is not absolute, or is not a path.
        """
        if not self.folders:
            return Path(path)
        text = os.fspath(path)
        if not os.path.isabs(text):  # noqa: PTH117 - relative to the worker's folder otherwise
            raise self._refusal(text)
        try:
            real = Path(os.path.realpath(text))
        except (ValueError, OSError):  # NUL, or text that cannot be a file name
            raise self._refusal(text) from None
        if not any(real.is_relative_to(folder) for folder in self.folders):
            raise self._refusal(text)
        return real

    def allow_folder(self, path: Path | str, *, levels: int = 1) -> Path:
        """As :meth:`allow`, for a folder and what is in it, which may be links to other folders.

        Args:
            levels: 1 checks the files and folders in it, 2 those in its folders, too.

        Raises:
            OutsideRoots: as :meth:`allow`.
        """
        folder = self.allow(path)
        for pattern in ("*", "*/*")[:levels] if self.folders else ():
            for part in folder.glob(pattern):
                self.allow(part)
        return folder

    def _refusal(self, path: str) -> OutsideRoots:
        shown = path if path.isprintable() else repr(path)
        return OutsideRoots(
            f"{_shortened(shown)} is outside the folders that this worker may use ({VARIABLE}).",
            hint=f"Move it below one of {os.pathsep.join(map(str, self.folders))}, or add its"
            f" folder to {VARIABLE} of the worker.",
        )


def _shortened(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."


#: No limits: jobs of the command line itself, and workers without the variable.
ANYWHERE = Roots()
