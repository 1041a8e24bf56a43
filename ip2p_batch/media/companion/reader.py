"""Read the images of a video's companion by the numbers of the source's frames."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ...errors import SourceError
from ...frame import Frame, Image
from ...jobs.companion import Companion
from ..alpha import on_black
from ..frames import FrameReader, index_frames, open_frames
from ..video.index import VideoIndex
from .files import changed, companion_stamp, listed_images, read_over_black


class CompanionReader(Protocol):
    """Reads images by the numbers of the source's frames.

    Images are uint8 RGB of the companion's own size, upright; what is transparent is black.
    Errors as :func:`open_companion`.
    """

    def images(self, start: int, stop: int) -> Iterator[Image]:
        """Those of frames ``[start, stop)``, in order."""
        ...

    def images_at(self, numbers: Sequence[int]) -> Iterator[Image]:
        """Those of single frames, in ascending order."""
        ...


@contextmanager
def open_companion(
    companion: Companion, allow: Callable[[Path | str], Path] = Path
) -> Iterator[CompanionReader]:
    """Open the companion of a video.

    Args:
        allow: resolves a path before it is opened; see :class:`~ip2p_batch.storage.roots.Roots`.

    Raises:
        SourceError: it cannot be read, or has changed since the job was planned.
        OutsideRoots: it may not be read here.
    """
    path = allow(companion.path)
    check_unchanged(companion, path)
    if companion.kind != "video":
        files = listed_images(path) if companion.kind == "folder" else [path]
        yield _Stills(companion, files, allow)
        return
    index = indexed(str(path), companion.stamp)
    if len(index.pts) != companion.count:
        raise changed(path)
    with open_frames(path, index.facts, index.pts, index.ids, allow=allow) as reader:
        yield _Video(companion, reader)


def check_unchanged(companion: Companion, path: Path | None = None) -> None:
    """Refuse a companion that is not the one of the plan.

    That of items is not checked here, but each image when it is read.

    Args:
        path: where it is read; None is its own path.

    Raises:
        SourceError: it changed or is missing; names it.
    """
    if companion.kind == "items":
        return
    path = Path(companion.path) if path is None else path
    try:
        stamp = companion_stamp(path)
    except SourceError:
        stamp = "missing"
    if stamp != companion.stamp:
        raise changed(path)


@functools.lru_cache(maxsize=8)
def indexed(path: str, stamp: str) -> VideoIndex:  # noqa: ARG001 - part of the cache's key
    """The index of the video or sequence that has this stamp; every chunk needs it.

    Raises:
        SourceError: it cannot be read.
    """
    return index_frames(Path(path), scenes=False)


class _Video:
    def __init__(self, companion: Companion, reader: FrameReader[Frame]) -> None:
        self._reader, self._first = reader, companion.first

    def images(self, start: int, stop: int) -> Iterator[Image]:
        for frame in self._reader.frames(start - self._first, stop - self._first):
            yield on_black(frame.image, frame.alpha)

    def images_at(self, numbers: Sequence[int]) -> Iterator[Image]:
        for frame in self._reader.frames_at([number - self._first for number in numbers]):
            yield on_black(frame.image, frame.alpha)


class _Stills:
    def __init__(
        self, companion: Companion, files: Sequence[Path], allow: Callable[[Path | str], Path]
    ) -> None:
        self._companion, self._files, self._allow = companion, files, allow
        self._shared: Image | None = None

    def images(self, start: int, stop: int) -> Iterator[Image]:
        return map(self._image, range(start, stop))

    def images_at(self, numbers: Sequence[int]) -> Iterator[Image]:
        return map(self._image, numbers)

    def _image(self, number: int) -> Image:
        if self._companion.kind == "folder":
            return self._read(self._files[number - self._companion.first])
        if self._shared is None:
            self._shared = self._read(self._files[0])
        return self._shared

    def _read(self, path: Path) -> Image:
        image = read_over_black(self._allow(path))
        if image.shape[1::-1] != (self._companion.width, self._companion.height):
            raise changed(path)
        return image
