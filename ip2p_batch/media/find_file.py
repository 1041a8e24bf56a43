"""Find the file that a table names, also if the table was written on another system.

Windows separates folders by backslashes. macOS may store and list names with letters and accents
as separate characters (Unicode normal form D), where Linux and Windows keep them as one (form C),
so two names that look equal can differ.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class FileFinder:
    """Finds files by name; keeps the folders that it has listed."""

    def __init__(self) -> None:
        self._listed: dict[str, dict[str, str]] = {}

    def find(self, folder: Path, name: str) -> Path:
        """The path of the file that ``name`` means, relative to ``folder``.

        A file of exactly this name comes first. Otherwise backslashes separate folders, and names
        are compared in normal form C.

        Returns:
            ``folder / name`` if there is no such file.

        Raises:
            ValueError: no file has this name, and it is that of another system's drive.
        """
        exact = folder / name
        if os.path.lexists(exact):
            return exact
        if _DRIVE.match(name) and os.name != "nt":
            raise ValueError(
                f"{name} is on a drive of Windows; write a path relative to the table's folder"
            )
        for text in dict.fromkeys((name, name.replace("\\", "/"))):
            found = self._walk(folder, text)
            if found is not None:
                return found
        return exact

    def _walk(self, folder: Path, name: str) -> Path | None:
        path = Path("/") if name.startswith("/") else folder
        for part in Path(name).parts:
            if part in ("/", "."):
                continue
            step = path / part
            if part != ".." and not os.path.lexists(step):
                own = self._names(path).get(unicodedata.normalize("NFC", part))
                if own is None:
                    return None
                step = path / own
            path = step
        return path if os.path.lexists(path) else None

    def _names(self, folder: Path) -> dict[str, str]:
        """The names in a folder by their normal form."""
        key = str(folder)
        if key not in self._listed:
            try:
                names = sorted(path.name for path in folder.iterdir())
            except (OSError, ValueError):
                names = []
            self._listed[key] = {unicodedata.normalize("NFC", name): name for name in names}
        return self._listed[key]
