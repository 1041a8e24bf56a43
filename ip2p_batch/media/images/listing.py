"""Which pictures a folder holds, where each result goes, and how large they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from ...errors import SourceError
from ...jobs.spec import Item
from .formats import SUFFIXES, UNSUPPORTED, opened, suffix_format, too_large, upright_size
from .manifest import read_manifest
from .naming import is_text, printable, refuse_clashes, renamed

__all__ = ["find_items", "measure_items", "read_manifest"]

#: Called with a stage, and how much of how much is done.
Progress = Callable[[str, int, int], None]

_KNOWN = SUFFIXES.keys() | UNSUPPORTED.keys()
_THREADS = 8  # most of the wait is for the file system
_AT_ONCE = 512


def find_items(
    folder: Path,
    output: Path,
    *,
    format: str | None = None,
) -> list[Item]:
    """All pictures below ``folder``, by their suffixes, in the order of their paths.

    Results mirror the tree under ``output``. Hidden files and folders and the output folder
    itself are passed over. Links are followed to files inside ``folder`` only; other links to
    pictures or folders become items with an error, as do pictures of formats that cannot be
    edited, and the later of two whose results would get one name.

    Args:
        format: format of the results; None keeps each picture's own.

    Raises:
        SourceError: the folder itself cannot be listed.
    """
    folder, output = folder.absolute(), output.absolute()
    found = sorted(_walk(folder, output.resolve()), key=lambda entry: entry[0])
    items = []
    for parts, error in found:
        relative = Path(*(os.fsdecode(part) for part in parts))
        source = folder / relative
        if error is None and not is_text(str(source)):
            error = "its name is not UTF-8; rename the file"
        suffix = relative.suffix.lower()
        if error is None and suffix in UNSUPPORTED:
            error = f"{UNSUPPORTED[suffix]} pictures are not supported"
        target = output / (relative if error else renamed(relative, format))
        items.append(Item(source=printable(source), output=printable(target), error=error))
    return refuse_clashes(items)


def measure_items(
    items: Sequence[Item],
    *,
    progress: Progress | None = None,
    max_pixels: int | None = None,
) -> list[Item]:
    """Fill in each picture's upright size from its header, or why it cannot be edited.

    Pixels are not decoded, so a picture that is cut short passes here and fails when it is read.

    Args:
        max_pixels: pictures of more are refused as decompression bombs; None: ``limits.PIXELS``.
    """
    done: list[Item] = []
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="measure-items") as pool:
        # In slices: so an interrupt waits for one slice and not for 100 000 files.
        for start in range(0, len(items), _AT_ONCE):
            part = items[start : start + _AT_ONCE]
            done.extend(pool.map(lambda item: _measured(item, max_pixels), part))
            if progress is not None:
                progress("reading picture headers", len(done), len(items))
    return done


def _measured(item: Item, max_pixels: int | None) -> Item:
    if item.error is not None:
        return item
    path = Path(item.source)
    try:
        with opened(path, max_pixels=max_pixels) as (image, name):
            width, height = upright_size(image, name)
    except SourceError as error:
        # The item names the file already.
        reason = error.message.removeprefix(f"{path}: ")
        return msgspec.structs.replace(item, error=reason)
    reason = too_large(width, height, suffix_format(item.output))
    return msgspec.structs.replace(item, width=width, height=height, error=reason or None)


def _walk(folder: Path, output: Path) -> Iterator[tuple[tuple[bytes, ...], str | None]]:
    """``(parts of the relative path, error)`` of every picture; bytes sort alike everywhere."""
    root = folder.resolve()
    waiting: list[tuple[bytes, ...]] = [()]
    while waiting:
        parts = waiting.pop()
        here = Path(folder, *(os.fsdecode(part) for part in parts))
        try:
            with os.scandir(here) as entries:
                listed = list(entries)
        except OSError as error:
            if not parts:
                raise SourceError(
                    f"{folder}: cannot be listed: {error.strerror}",
                    path=folder,
                    hint="Check that the folder is there and readable.",
                ) from None
            yield parts, f"the folder cannot be listed: {error.strerror}"
            continue
        for entry in listed:
            if entry.name.startswith("."):
                continue
            below = (*parts, os.fsencode(entry.name))
            known = os.path.splitext(entry.name)[1].lower() in _KNOWN  # noqa: PTH122 - in a hot loop
            if entry.is_symlink():
                error_text = _refused_link(here / entry.name, root, known=known)
                if error_text is not None:
                    yield below, error_text or None
            elif entry.is_dir(follow_symlinks=False):
                if root.joinpath(*(os.fsdecode(part) for part in below)) != output:
                    waiting.append(below)
            elif known:
                regular = entry.is_file(follow_symlinks=False)
                yield below, None if regular else "not a regular file"


def _refused_link(link: Path, root: Path, *, known: bool) -> str | None:
    """Why a link is not followed; empty to follow it, None to pass over it in silence."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop, before Python 3.13
        return "a link to nowhere" if known else None
    inside = target.is_relative_to(root)
    if target.is_dir():
        # Inside, its pictures are found by their own path; following it could lead in circles.
        return None if inside else "a link to a folder elsewhere; such links are not followed"
    if not known:
        return None
    return "" if inside else "a link to a file elsewhere; such links are not followed"
