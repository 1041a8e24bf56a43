"""List the images of a folder, with the path of each result, and measure them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from ...errors import SourceError
from ...jobs.spec import Item
from .formats import SUFFIXES, UNSUPPORTED, open_image, size_error, suffix_format, upright_size
from .manifest import read_manifest
from .naming import is_text, printable, reject_conflicts, with_format_suffix

__all__ = ["find_items", "measure_items", "read_manifest"]

#: Called with a stage, items done and items in all.
Progress = Callable[[str, int, int], None]

_KNOWN = SUFFIXES.keys() | UNSUPPORTED.keys()
_THREADS = 8  # most of the time is spent waiting for the file system
_ITEMS_PER_SLICE = 512


def find_items(
    folder: Path,
    output: Path,
    *,
    format: str | None = None,
) -> list[Item]:
    """List all images below ``folder`` by their suffixes, sorted by path.

    Results mirror the tree under ``output``. Hidden files, hidden folders and the
    output folder are skipped. Links are followed only to files inside ``folder``. Other links to
    images or folders become items with an error; so do images in unsupported formats, and the
    later one of two images whose results would have the same name.

    Args:
        format: format of the results; None keeps each image's own.

    Raises:
        SourceError: the folder itself cannot be listed.
    """
    folder, output = folder.absolute(), output.absolute()
    entries = sorted(_walk(folder, output.resolve()), key=lambda entry: entry[0])
    items = []
    for parts, error in entries:
        relative = Path(*(os.fsdecode(part) for part in parts))
        source = folder / relative
        if error is None and not is_text(str(source)):
            error = "its name is not UTF-8; rename the file"
        suffix = relative.suffix.lower()
        if error is None and suffix in UNSUPPORTED:
            error = f"{UNSUPPORTED[suffix]} images are not supported"
        target = output / (relative if error else with_format_suffix(relative, format))
        items.append(Item(source=printable(source), output=printable(target), error=error))
    return reject_conflicts(items)


def measure_items(
    items: Sequence[Item],
    *,
    progress: Progress | None = None,
    max_pixels: int | None = None,
) -> list[Item]:
    """Read each image's upright size from its header, or the reason why it cannot be edited.

    Pixels are not decoded, so a truncated image passes here and fails when it is read.

    Args:
        max_pixels: larger images are refused as decompression bombs; None: ``limits.PIXELS``.
    """
    measured: list[Item] = []
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="measure-items") as pool:
        # In slices, so that an interrupt waits for one slice instead of 100 000 files.
        for start in range(0, len(items), _ITEMS_PER_SLICE):
            batch = items[start : start + _ITEMS_PER_SLICE]
            measured.extend(pool.map(lambda item: _measure(item, max_pixels), batch))
            if progress is not None:
                progress("reading image headers", len(measured), len(items))
    return measured


def _measure(item: Item, max_pixels: int | None) -> Item:
    if item.error is not None:
        return item
    path = Path(item.source)
    try:
        with open_image(path, max_pixels=max_pixels) as (image, name):
            width, height = upright_size(image, name)
    except SourceError as error:
        # The item already names the file.
        reason = error.message.removeprefix(f"{path}: ")
        return msgspec.structs.replace(item, error=reason)
    reason = size_error(width, height, suffix_format(item.output))
    return msgspec.structs.replace(item, width=width, height=height, error=reason or None)


def _walk(folder: Path, output: Path) -> Iterator[tuple[tuple[bytes, ...], str | None]]:
    """Yield ``(parts of the relative path, error)`` of every image, in any order.

    Parts are bytes, which sort the same on every machine.
    """
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
    """Why a link is not followed; empty to follow it, None to skip it silently."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop, before Python 3.13
        return "a broken link" if known else None
    inside = target.is_relative_to(root)
    if target.is_dir():
        # Images of a folder inside are found by their own path; following it could loop.
        return None if inside else "a link to a folder outside; such links are not followed"
    if not known:
        return None
    return "" if inside else "a link to a file outside; such links are not followed"
