"""Shots, chunks and waves: the work of a job, in the order in which it can be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Literal, NamedTuple

from ..recipe import Recipe
from .codec import ChunkId, FrozenStruct
from .records import ItemResult, Receipt


class Shot(FrozenStruct, frozen=True, kw_only=True):
    """Frames ``[start, stop)`` between two scene cuts."""

    start: int
    stop: int


class Chunk(FrozenStruct, frozen=True, kw_only=True):
    """The unit of dispatch and retry.

    Attributes:
        id: unique in the job, also the name of its files (``2-000017``).
        kind: ``borders`` (wave 1: border latents), ``frames`` (a segment of video) or
            ``stills`` (pictures).
        wave: chunks of one wave can all run at once; waves run in order, from 1.
        start, stop: frames of the video, or lines of ``items.jsonl``, half-open.
        shot: number of the shot, from 0.
        borders: frame numbers. For ``borders``: the frames to edit. For ``frames``: those that
            its frames are tied to, in order, each to the two that it lies between; empty when
            nothing is carried.
        reach: frames of the shot, half-open, that have to be edited to make these: more than
            ``[start, stop)`` where a temporal filter looks beyond.
        anchors: frame numbers that the chunk's frames look at; where latents are carried, these
            are borders, too.
        without: numbers of pictures in ``[start, stop)`` that other chunks do: those that failed
            here, and were planned again.
    """

    id: ChunkId
    kind: Literal["borders", "frames", "stills"]
    wave: int
    start: int
    stop: int
    shot: int = 0
    borders: tuple[int, ...] = ()
    anchors: tuple[int, ...] = ()
    reach: tuple[int, int] = (0, 0)
    without: tuple[int, ...] = ()

    def __len__(self) -> int:
        if self.kind == "borders":
            return len(self.borders)
        return self.stop - self.start - len(self.without)

    @property
    def edited(self) -> int:
        """Frames or pictures that are edited for it, with those beyond its ends."""
        return max(len(self), self.reach[1] - self.reach[0])


class BatchHistogram(NamedTuple):
    """How a job's frames or pictures come to its editors: so many at a time, so often.

    Attributes:
        frames: of chunks that end up in the output.
        borders: of wave 1.
    """

    frames: Mapping[int, int]
    borders: Mapping[int, int]

    @property
    def total(self) -> int:
        """Frames that are edited to their end, with those beyond their chunks' ends."""
        return sum(size * count for size, count in self.frames.items())


class Plan(FrozenStruct, frozen=True, kw_only=True, dict=True):
    """A pure function of source facts and recipe; the number of workers appears nowhere in it.

    Attributes:
        shots: in order, covering the edited range of a video without gaps.
        chunks: in order of wave, then of frames.
        size: ``(width, height)`` at which frames are edited; ``(0, 0)`` for mixed stills.
        warnings: one line each, for the user.
    """

    shots: tuple[Shot, ...] = ()
    chunks: tuple[Chunk, ...]
    size: tuple[int, int] = (0, 0)
    warnings: tuple[str, ...] = ()

    def max_edit_size(self, recipe: Recipe) -> tuple[int, int]:
        """``(width, height)`` at which frames are edited; of mixed stills, the most it may be."""
        return self.size if all(self.size) else (recipe.size, recipe.size)

    def batch_histogram(self) -> BatchHistogram:
        """How many frames are edited together, and how often."""
        frames, borders = Counter[int](), Counter[int]()
        for chunk in self.chunks:
            found = borders if chunk.kind == "borders" else frames
            found[chunk.edited] += 1
        return BatchHistogram(frames, borders)

    @property
    def waves(self) -> int:
        return max((c.wave for c in self.chunks), default=0)

    def wave(self, number: int) -> tuple[Chunk, ...]:
        return tuple(c for c in self.chunks if c.wave == number)

    def valid_items(self, receipt: Receipt) -> Iterator[ItemResult]:
        """The results of a receipt that count.

        A picture that failed in one chunk and was planned again belongs to another chunk since,
        and the first receipt's result for it is void.
        """
        excluded = self._excluded.get(receipt.chunk, ())
        return (item for item in receipt.items if item.index not in excluded)

    @cached_property
    def _excluded(self) -> dict[str, tuple[int, ...]]:
        """By chunk: the pictures of its range that other chunks do."""
        return {c.id: c.without for c in self.chunks if c.without}

    @property
    def frames_by_chunk(self) -> dict[str, int]:
        """By chunk: the frames or pictures that it brings into the output."""
        return {c.id: len(c) for c in self.chunks if c.kind != "borders"}

    @property
    def frames(self) -> int:
        """Frames or pictures that end up in the output."""
        return sum(self.frames_by_chunk.values())
