"""Count the files and folders that a listing leaves out, by kind."""

from __future__ import annotations

#: Names that are listed of each kind; the rest is counted.
_NAMED = 2


class LeftOut:
    """What is left out, by kind, with the first names of each kind."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}
        self._plurals: dict[str, str] = {}

    def add(self, name: str, kind: str, plural: str | None = None) -> None:
        """Count one file or folder.

        Args:
            name: of the file.
            kind: a suffix such as ``.txt``, or a noun in singular.
            plural: of the noun; None is the same as the singular.
        """
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._plurals[kind] = plural or kind
        names = self._names.setdefault(kind, [])
        # The first ones by name: the order of a folder's entries differs between machines.
        if len(names) < _NAMED or name < names[-1]:
            names.append(name)
            names.sort()
            del names[_NAMED:]

    def add_file(self, name: str) -> None:
        """Count a file by the suffix of its name."""
        stem, dot, suffix = name.rpartition(".")
        if stem and dot:
            self.add(name, f".{suffix.lower()}")
        else:
            self.add(name, "file without a suffix", "files without a suffix")

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of files by kind, the most frequent kind first."""
        return dict(sorted(self._counts.items(), key=lambda pair: (-pair[1], pair[0])))

    def line(self) -> str:
        """One line for the user; empty if nothing was left out.

        >>> left_out = LeftOut()
        >>> for name in ("b.exr", "a.exr", "notes.txt", "c.exr"):
        ...     left_out.add_file(name)
        >>> left_out.line()
        'Left out: 3 .exr (a.exr, b.exr, ...), 1 .txt (notes.txt).'
        """
        parts = []
        for kind, count in self.counts.items():
            noun = kind if count == 1 else self._plurals[kind]
            more = ", ..." if count > len(self._names[kind]) else ""
            parts.append(f"{count} {noun} ({', '.join(self._names[kind])}{more})")
        return f"Left out: {', '.join(parts)}." if parts else ""
