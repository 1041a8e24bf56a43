"""Find the companion image of each image of a job, and read it."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from ...errors import RecipeError, SourceError
from ...frame import Image
from ...jobs.companion import Companion, ItemCompanion
from ...jobs.spec import Item
from ...storage.publish import content_stamp
from ..images.reader import still_size
from ..images.walk import FolderWalk
from ..source import SourceKind, classify_source, source_stamp
from .files import READABLE, changed, read_over_black
from .shape import same_shape, shape_error

_THREADS = 8


def match_items(
    use: str,
    path: Path,
    source: Path,
    kind: SourceKind,
    items: Sequence[Item],
    *,
    shared: bool,
) -> tuple[Companion, list[Item]]:
    """What a companion of images is, and the images with their own companion images.

    In a folder, that of ``cats/a.jpg`` is ``cats/a.*``; that of an image which is not below the
    source's folder has its name. An image without one gets an error, and the others remain.

    Args:
        use: as :attr:`Companion.use`.
        path: of the companion, absolute.
        source, kind: of the job.
        items: measured.
        shared: whether one image may be for all.

    Raises:
        SourceError: the companion cannot be read.
        RecipeError: it is a video or a list, or one image for several.
    """
    own = classify_source(path)
    if own == "still" and (shared or kind == "still"):
        stamp = source_stamp(path)
        only = Companion(use=use, path=str(path), kind="image", stamp=stamp, count=1)
        return _with_images(only, items, lambda _: path)
    if own != "folder":
        raise _unfit(path, own, is_single=kind == "still")
    names = _Names(path)
    base = source if kind == "folder" else source.parent
    folder = Companion(use=use, path=str(path), kind="items")
    return _with_images(folder, items, lambda item: names.find(Path(item.source), base))


def read_item_companion(
    companion: ItemCompanion, allow: Callable[[Path | str], Path] = Path
) -> Image:
    """Read the companion image of an item: uint8 RGB, upright, of its own size, over black.

    Args:
        allow: resolves the path before it is opened; see :class:`~ip2p_batch.storage.roots.Roots`.

    Raises:
        SourceError: it cannot be read, or has changed since the job was planned.
        OutsideRoots: it may not be read here.
    """
    path = allow(companion.path)
    if source_stamp(path) != companion.stamp:
        raise changed(path)
    return read_over_black(path)


class _Names:
    """The images of a folder by their paths without suffix."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Nothing is written into this folder, so no folder of results is left out.
        walk = FolderWalk(folder, folder / ".none", suffixes=READABLE, follow_links=False)
        self._by_stem: dict[str, list[Path]] = {}
        for found in walk:
            path = Path(*map(os.fsdecode, found.parts))
            if found.error is None:
                self._by_stem.setdefault(_stem(path), []).append(path)

    def find(self, source: Path, base: Path) -> Path | str:
        """The image for a source, or why there is none."""
        relative = source.relative_to(base) if source.is_relative_to(base) else Path(source.name)
        found = self._by_stem.get(_stem(relative), [])
        exact = [path for path in found if path == relative]
        match exact or found:
            case []:
                return f"{self._folder} has no image {relative.with_suffix('')}.*"
            case [only]:
                return self._folder / only
            case several:
                names = " and ".join(sorted(path.name for path in several))
                return f"{self._folder} has several images for it: {names}"


def _unfit(path: Path, kind: SourceKind, *, is_single: bool) -> RecipeError:
    found = {"still": "one image", "video": "a video", "manifest": "a list", "folder": ""}[kind]
    if is_single:
        return RecipeError(f"{path} is {found}, and the source one image.", hint="Name one image.")
    return RecipeError(
        f"{path} is {found}, and the source has several images.",
        hint="Name a folder with an image of the same name for each.",
    )


def _stem(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path.with_suffix("")))


def _with_images(
    companion: Companion, items: Sequence[Item], find: Callable[[Item], Path | str]
) -> tuple[Companion, list[Item]]:
    sizes: dict[Path, tuple[int, int]] = {}

    def matched(item: Item) -> Item:
        if item.error is not None:
            return item
        found = find(item)
        if isinstance(found, str):
            return msgspec.structs.replace(item, error=found)
        try:
            return _with_image(companion.use, item, found, sizes)
        except SourceError as error:
            return msgspec.structs.replace(item, error=error.message.rstrip("."))

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="companions") as pool:
        return companion, list(pool.map(matched, items))


def _with_image(use: str, item: Item, path: Path, sizes: dict[Path, tuple[int, int]]) -> Item:
    if path not in sizes:
        sizes[path] = still_size(path)
    size, source = sizes[path], (item.width, item.height)
    if not same_shape(size, source):
        return msgspec.structs.replace(item, error=f"{path}: {shape_error(size, source)}")
    own = ItemCompanion(use=use, path=str(path), stamp=content_stamp(path.stat()))
    others = (other for other in item.companions if other.use != use)
    return msgspec.structs.replace(item, companions=(*others, own))
