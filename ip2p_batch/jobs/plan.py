"""Shots, chunks and waves: the work of a job, in the order in which it can be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import count
from typing import ClassVar, NamedTuple

import msgspec

from ..recipe import Recipe
from .codec import ChunkId, FrozenStruct
from .records import EditMethod, ItemResult, Receipt

#: Id that the assembly of a job has where chunks have theirs: in messages, attempts and failures.
ASSEMBLY = "assemble"


class Shot(FrozenStruct, frozen=True, kw_only=True):
    """Frames ``[start, stop)`` between two scene cuts."""

    start: int
    stop: int


class ChunkBase(FrozenStruct, frozen=True, kw_only=True, tag_field="kind"):
    """The unit of dispatch and retry.

    Attributes:
        id: unique in the job, also the name of its files (``2-000017``).
        wave: chunks of one wave can all run at once; waves run in order, from 1.
        noun: what messages call one of its frames or images.
    """

    id: ChunkId
    wave: int
    noun: ClassVar[str]

    @property
    def numbers(self) -> Sequence[int]:
        """Frame numbers, or lines of ``items.jsonl``, that its receipt vouches for; ascending."""
        raise NotImplementedError

    @property
    def edited(self) -> int:
        """Frames or images that are edited for it, including those beyond its ends."""
        return len(self)

    def __len__(self) -> int:
        return len(self.numbers)


class BorderChunk(ChunkBase, frozen=True, kw_only=True, tag="borders"):
    """Frames whose latents the spans on both sides use (wave 1).

    Attributes:
        frames: numbers of the frames to edit, ascending; they may belong to several shots.
        anchors: numbers of the frames that they attend to.
    """

    noun = "border frame"

    frames: tuple[int, ...]
    anchors: tuple[int, ...] = ()

    @property
    def numbers(self) -> Sequence[int]:
        return self.frames


class VideoChunk(ChunkBase, frozen=True, kw_only=True, tag="video"):
    """Frames ``[start, stop)`` of one shot, which become a segment.

    Attributes:
        shot: number of the shot, from 0.
        reach: frames of the shot, half-open, that have to be edited to make these: more than
            ``[start, stop)`` where a temporal filter reads neighbours.
        borders: frame numbers, ascending. Each frame uses the latents of the two that it lies
            between; empty where nothing is carried over.
        anchors: numbers of the frames that its frames attend to; where latents are carried over,
            these are borders, too.
    """

    noun = "frame"

    start: int
    stop: int
    shot: int
    reach: tuple[int, int]
    borders: tuple[int, ...] = ()
    anchors: tuple[int, ...] = ()

    @property
    def numbers(self) -> Sequence[int]:
        return range(self.start, self.stop)

    @property
    def edited(self) -> int:
        first, end = self.reach
        return end - first


class ImageChunk(ChunkBase, frozen=True, kw_only=True, tag="images"):
    """Images: lines ``[start, stop)`` of ``items.jsonl``, except for ``excluded``.

    Attributes:
        excluded: numbers of images in ``[start, stop)`` that belong to other chunks: they
            failed here, and were planned again.
        steps: the most denoising steps of any of its images; 0: the recipe's.
    """

    noun = "image"

    start: int
    stop: int
    excluded: tuple[int, ...] = ()
    steps: int = 0

    @property
    def numbers(self) -> Sequence[int]:
        every = range(self.start, self.stop)
        if not self.excluded:
            return every
        return tuple(n for n in every if n not in self.excluded)


#: A tagged union: the field ``kind`` of its JSON says which.
Chunk = BorderChunk | VideoChunk | ImageChunk


def chunk_id(wave: int, number: int) -> ChunkId:
    """The id of the ``number``-th chunk of a wave, from 0.

    >>> chunk_id(2, 17)
    '2-000017'
    """
    return f"{wave}-{number:06d}"


class BatchHistogram(NamedTuple):
    """How many frames or images editors get at a time, and how often.

    Attributes:
        frames: chunks that end up in the output: count by size.
        borders: chunks of border frames: count by size.
    """

    frames: Mapping[int, int]
    borders: Mapping[int, int]

    @property
    def total(self) -> int:
        """Frames that are edited to their last step, including those beyond their chunks' ends."""
        return sum(size * count for size, count in self.frames.items())


class ImageRun(NamedTuple):
    """Images ``[start, stop)``, whose edit size is ``size``: ``(width, height)`` in pixels.

    Attributes:
        steps: see :class:`ImageChunk`.
    """

    start: int
    stop: int
    size: tuple[int, int]
    steps: int = 0


def largest_size(sizes: Collection[tuple[int, int]]) -> tuple[tuple[int, int], bool]:
    """The largest width and the largest height of edit sizes, and whether all are equal.

    >>> largest_size([(256, 144), (144, 256), (192, 192)])
    ((256, 256), False)
    """
    width = max((width for width, _ in sizes), default=0)
    height = max((height for _, height in sizes), default=0)
    return (width, height), len(set(sizes)) <= 1


class Plan(FrozenStruct, frozen=True, kw_only=True, dict=True):
    """A pure function of source facts and recipe; the number of workers appears nowhere in it.

    Attributes:
        shots: in order, covering the edited range of a video without gaps.
        chunks: in order of wave, then of frames. A retry appends chunks and removes none.
        size: ``(width, height)`` at which frames are edited, in pixels; the largest width and the
            largest height where images have several edit sizes; ``(0, 0)`` without chunks.
        one_size: whether all frames or images have that edit size.
        warnings: one line each, for the user.
    """

    shots: tuple[Shot, ...] = ()
    chunks: tuple[Chunk, ...]
    size: tuple[int, int] = (0, 0)
    one_size: bool = True
    warnings: tuple[str, ...] = ()

    def edit_method(self, recipe: Recipe) -> EditMethod | None:
        """Edit size and method, for the user; None if nothing is to be edited."""
        width, height = self.size
        if not self.chunks:
            return None
        return EditMethod(
            width=width,
            height=height,
            one_size=self.one_size,
            auto=recipe.size == "auto",
            detail=recipe.detail,
        )

    def batch_histogram(self) -> BatchHistogram:
        """Count the chunks by the number of frames that are edited for them."""
        frames, borders = Counter[int](), Counter[int]()
        for chunk in self.chunks:
            sizes = borders if isinstance(chunk, BorderChunk) else frames
            sizes[chunk.edited] += 1
        return BatchHistogram(frames, borders)

    @property
    def waves(self) -> int:
        """The number of waves."""
        return max((c.wave for c in self.chunks), default=0)

    def wave(self, number: int) -> tuple[Chunk, ...]:
        """The chunks of a wave, from 1."""
        return tuple(c for c in self.chunks if c.wave == number)

    def valid_items(self, receipt: Receipt) -> Iterator[ItemResult]:
        """The results of a receipt that count.

        An image that failed in one chunk and was planned again belongs to another chunk since,
        and the first receipt's result for it is void.
        """
        excluded = self._excluded.get(receipt.chunk, ())
        return (item for item in receipt.items if item.index not in excluded)

    def with_retried(
        self,
        failed: Mapping[int, str],
        runs: Iterable[ImageRun],
        warnings: Iterable[str],
    ) -> Plan:
        """Move images into chunks of their own.

        Args:
            failed: the images that failed in a chunk, with its id.
            runs: the images of each new chunk.
            warnings: replace those of this plan.
        """
        runs = tuple(runs)
        by_chunk: dict[str, set[int]] = {}
        for number, name in failed.items():
            by_chunk.setdefault(name, set()).add(number)
        chunks = [_excluding(chunk, by_chunk.get(chunk.id, set())) for chunk in self.chunks]
        known = {chunk.id for chunk in chunks}
        unused = (name for n in count(len(chunks)) if (name := chunk_id(1, n)) not in known)
        chunks += [
            ImageChunk(id=name, wave=1, start=run.start, stop=run.stop, steps=run.steps)
            for run, name in zip(runs, unused, strict=False)
        ]
        earlier = [self.size] if self.chunks else []
        size, one_size = largest_size([*earlier, *(run.size for run in runs)])
        return msgspec.structs.replace(
            self,
            chunks=tuple(chunks),
            size=size,
            one_size=one_size and self.one_size,
            warnings=tuple(warnings),
        )

    @cached_property
    def _excluded(self) -> dict[str, tuple[int, ...]]:
        """By chunk: the images of its range that belong to other chunks."""
        return {c.id: c.excluded for c in self.chunks if isinstance(c, ImageChunk) and c.excluded}

    @property
    def frames_by_chunk(self) -> dict[str, int]:
        """By chunk: the frames or images that it adds to the output."""
        return {c.id: len(c) for c in self.chunks if not isinstance(c, BorderChunk)}

    @property
    def frames(self) -> int:
        """Frames or images that end up in the output."""
        return sum(self.frames_by_chunk.values())


def _excluding(chunk: Chunk, numbers: set[int]) -> Chunk:
    if not numbers or not isinstance(chunk, ImageChunk):
        return chunk
    return msgspec.structs.replace(chunk, excluded=tuple(sorted({*chunk.excluded, *numbers})))
