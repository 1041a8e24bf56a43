"""List the images and videos of a folder, with the path of each result, and measure them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from ...errors import SourceError
from ...jobs.spec import Item
from ..animation.files import is_animation
from ..video.suffixes import VIDEO_SUFFIXES, is_transport_stream, may_be_text
from .formats import READ_ONLY, SUFFIXES, UNSUPPORTED, size_error, suffix_format
from .manifest import read_manifest
from .naming import (
    Listing,
    alike_names,
    is_text,
    printable,
    reject_conflicts,
    with_format_suffix,
)
from .opening import open_image, upright_size
from .walk import FolderWalk, Found

__all__ = ["Listing", "find_items", "list_folder", "measure_items", "read_manifest"]

#: Called with a stage, items done and items in all.
Progress = Callable[[str, int, int], None]

_KNOWN = SUFFIXES.keys() | READ_ONLY.keys() | UNSUPPORTED.keys() | VIDEO_SUFFIXES
_THREADS = 8  # most of the time is spent waiting for the file system
_ITEMS_PER_SLICE = 512


def list_folder(
    folder: Path,
    output: Path,
    *,
    format: str | None = None,
    follow_links: bool = False,
    results: Path | None = None,
) -> Listing:
    """List all images and videos below ``folder`` by their suffixes, sorted by path.

    Results mirror the tree under ``output``. Hidden files, hidden folders, folders of thumbnails
    and the output folder are left out, and so are files with other suffixes; the notes count them.
    Links are followed to files inside ``folder``. Other links to images, videos or folders become
    items with an error, unless ``follow_links``; so do images in unsupported formats, and the
    later one of two images whose results would have the same name.

    Args:
        format: format of the results; None keeps each image's own.
        follow_links: follow links to files and folders outside ``folder``, too; each folder is
            read once.
        results: the folder that is left out, as the results of all sources; None is ``output``.

    Raises:
        SourceError: the folder itself cannot be listed.
    """
    folder, output = folder.absolute(), output.absolute()
    walk = FolderWalk(folder, results or output, suffixes=_KNOWN, follow_links=follow_links)
    found = sorted(walk, key=lambda entry: entry.parts)
    images, videos = [], []
    for entry in found:
        item = _item(entry, folder, output, format)
        suffix = _suffix(entry)
        if suffix not in VIDEO_SUFFIXES and (item.error or not is_animation(Path(item.source))):
            images.append(item)
        elif item.error is None and may_be_text(suffix) and not _begins_as_video(item.source):
            walk.left_out.add_file(Path(item.source).name)
        else:
            own_name = printable(output / os.path.relpath(item.source, folder))
            videos.append(msgspec.structs.replace(item, output=own_name))
    items = reject_conflicts(images)
    left_out = walk.left_out.line()
    notes = (*([left_out] if left_out else []), *alike_names(items))
    return Listing(items, notes, tuple(videos))


def find_items(folder: Path, output: Path, *, format: str | None = None) -> list[Item]:
    """The items of :func:`list_folder`, with the default options."""
    return list_folder(folder, output, format=format).items


def _suffix(found: Found) -> str:
    return os.path.splitext(os.fsdecode(found.parts[-1]))[1].lower()  # noqa: PTH122 - in a hot loop


def _begins_as_video(path: str) -> bool:
    """Whether a file may be an MPEG transport stream; so may one that cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return is_transport_stream(file.read(5))
    except OSError:
        return True


def _item(found: Found, folder: Path, output: Path, format: str | None) -> Item:
    relative = Path(*(os.fsdecode(part) for part in found.parts))
    source, error = folder / relative, found.error
    if error is None and not is_text(str(source)):
        error = "its name is not UTF-8; rename the file"
    suffix = relative.suffix.lower()
    if error is None and suffix in UNSUPPORTED:
        error = f"{UNSUPPORTED[suffix]} images are not supported"
    target = output / (relative if error else with_format_suffix(relative, format))
    return Item(source=printable(source), output=printable(target), error=error)


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
