"""Source + recipe -> shots, borders, chunks, waves.

A pure function: it sees no files and no clock, and does not know how many workers there are.

A shot is cut into spans of nearly equal length. Where latents are carried over, the first frame
of every span and the last frame of the shot are *borders*: wave 1 runs them to the step at which
they are handed over, and every frame of wave 2 is tied to the borders at both ends of its span, so
no chunk waits for another and no seam is left between two. A chunk is one span; of a long video,
several: what each chunk edits beyond its ends for the temporal filter, a sixth of a span, then
weighs less, and no edited pixel depends on it.

All chunks of a shot look at the same *anchors*, frames spread evenly over it, or over the whole
video; where latents are carried over, the nearest borders, whose states wave 2 then finds on disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from ..jobs.plan import BorderChunk, ImageChunk, Plan, Shot, VideoChunk, chunk_id
from ..recipe import Recipe

#: Border frames in one chunk of wave 1, at the most.
BORDERS_PER_CHUNK = 8
#: ... and at the least, where there are so many, if anchors have to be run beside them each time.
_BORDERS_BESIDE_ANCHORS = 4
#: Wave 1 is spread over this many chunks before the chunks grow.
_BORDER_CHUNKS = 16
#: Pictures in one chunk: minutes on a CPU, seconds on a GPU; never one message per picture.
STILLS_PER_CHUNK = 16
#: Of few pictures fewer, down to this, so that there are some chunks for several workers.
_FEW_STILLS = 4
_STILLS_CHUNKS = 8
#: Spans in one chunk, at the most ...
SPANS_PER_CHUNK = 4
#: ... as long as there are so many chunks: enough for as many workers, and for an even end.
ENOUGH_CHUNKS = 64
#: Below this many frames a shot's borders would cost more than they save.
_MIN_CARRIED_SHOT = 4


def shots(start: int, stop: int, cuts: Sequence[int]) -> tuple[Shot, ...]:
    """Frames ``[start, stop)`` parted at ``cuts`` (numbers of first frames of new shots)."""
    inner = sorted({c for c in cuts if start < c < stop})
    edges = [start, *inner, stop]
    return tuple(Shot(start=a, stop=b) for a, b in pairwise(edges))


def parts(start: int, stop: int, longest: int) -> list[tuple[int, int]]:
    """``[start, stop)`` in as few ranges of at most ``longest`` as will do, of nearly equal length.

    >>> parts(0, 10, 4)
    [(0, 4), (4, 7), (7, 10)]
    """
    length = stop - start
    count = -(-length // longest)
    size, longer = divmod(length, count)
    ranges = []
    at = start
    for number in range(count):
        end = at + size + (number < longer)
        ranges.append((at, end))
        at = end
    return ranges


def spans_per_chunk(spans: int) -> int:
    """How many of a video's spans go into a chunk.

    >>> [spans_per_chunk(n) for n in (4, 127, 128, 250, 10_000)]
    [1, 1, 2, 3, 4]
    """
    return min(SPANS_PER_CHUNK, max(1, spans // ENOUGH_CHUNKS))


def plan_video(
    start: int,
    stop: int,
    cuts: Sequence[int],
    recipe: Recipe,
    size: tuple[int, int],
    warnings: Sequence[str] = (),
) -> Plan:
    """Plan frames ``[start, stop)`` of a video.

    Args:
        cuts: frame numbers at which a new shot starts.
        size: ``(width, height)`` at which frames are edited.
    """
    all_shots = shots(start, stop, cuts)
    frames: list[VideoChunk] = []
    edited_first: list[_Borders] = []
    cut_up = [_Parts.of(shot, recipe) for shot in all_shots]
    last_wave = 2 if any(part.tied for part in cut_up) else 1
    common = _common_anchors(start, stop, cut_up, recipe)
    together = spans_per_chunk(sum(len(part.spans) for part in cut_up))
    for number, (shot, spans, edges, tied) in enumerate(cut_up):
        every = edges if tied else range(shot.start, shot.stop)
        chosen = anchors(shot, recipe.anchors, every) if common is None else common
        if tied:
            edited_first.append(_Borders(tuple(edges), chosen))
        for first, end in parts(0, len(spans), together):
            a, b = spans[first][0], spans[end - 1][1]
            reach = (
                max(shot.start, a - recipe.temporal_radius),
                min(shot.stop, b + recipe.temporal_radius),
            )
            frames.append(
                VideoChunk(
                    id=chunk_id(last_wave, len(frames)),
                    wave=last_wave,
                    start=a,
                    stop=b,
                    shot=number,
                    borders=_surrounding(edges, *reach) if tied else (),
                    anchors=chosen,
                    reach=reach,
                )
            )
    return Plan(
        shots=all_shots,
        chunks=(*_border_chunks(edited_first), *frames),
        size=size,
        warnings=tuple(warnings),
    )


class _Parts(NamedTuple):
    """A shot cut up into spans.

    Attributes:
        edges: first frames of its spans, and its last frame.
        tied: whether its chunks have borders.
    """

    shot: Shot
    spans: list[tuple[int, int]]
    edges: list[int]
    tied: bool

    @classmethod
    def of(cls, shot: Shot, recipe: Recipe) -> _Parts:
        spans = parts(shot.start, shot.stop, recipe.chunk_frames)
        edges = sorted({a for a, _ in spans} | {shot.stop - 1})
        return cls(shot, spans, edges, recipe.edits_borders and _is_carried(shot))


def _common_anchors(
    start: int, stop: int, cut_up: Sequence[_Parts], recipe: Recipe
) -> tuple[int, ...] | None:
    """The anchors that all shots share; None where each has its own."""
    if recipe.anchor_scope == "shot":
        return None
    edges = [edge for part in cut_up if part.tied for edge in part.edges]
    return anchors(Shot(start=start, stop=stop), recipe.anchors, edges or range(start, stop))


def _surrounding(edges: Sequence[int], start: int, stop: int) -> tuple[int, ...]:
    """The edges between which frames ``[start, stop)`` lie.

    >>> _surrounding([0, 8, 16, 24, 31], 8, 16)
    (8, 16)
    >>> _surrounding([0, 8, 16, 24, 31], 6, 18)
    (0, 8, 16, 24)
    """
    first = max(n for n, edge in enumerate(edges) if edge <= start)
    first = min(first, len(edges) - 2)  # two at least
    last = min(n for n, edge in enumerate(edges) if edge >= stop - 1)
    if edges[last] == stop - 1 and last + 1 < len(edges):
        last += 1  # a border that is not the shot's last belongs to the chunk on its right
    return tuple(edges[first : last + 1])


def anchors(shot: Shot, count: int, candidates: Sequence[int]) -> tuple[int, ...]:
    """The candidates nearest to the middles of ``count`` equal parts of a shot.

    Fairy found no other choice of frames to do consistently better than a uniform one.

    >>> anchors(Shot(start=0, stop=96), 3, range(96))
    (16, 48, 80)
    >>> anchors(Shot(start=0, stop=96), 3, [0, 32, 64, 95])
    (0, 32, 95)
    """
    length = shot.stop - shot.start
    wanted = [shot.start + (2 * i + 1) * length // (2 * count) for i in range(count)]
    return tuple(sorted({_nearest(candidates, frame) for frame in wanted}))


def _nearest(candidates: Sequence[int], frame: int) -> int:
    return min(candidates, key=lambda candidate: (abs(candidate - frame), candidate))


class _Borders(NamedTuple):
    """The borders of one shot."""

    frames: tuple[int, ...]
    anchors: tuple[int, ...]


def _is_carried(shot: Shot) -> bool:
    return shot.stop - shot.start >= _MIN_CARRIED_SHOT


def _border_chunks(shots: Sequence[_Borders]) -> Iterator[BorderChunk]:
    """Wave 1. Shots share a chunk unless they have anchors of their own."""
    count = sum(len(shot.frames) for shot in shots)
    size = min(BORDERS_PER_CHUNK, max(1, -(-count // _BORDER_CHUNKS)))
    if any(shot.anchors for shot in shots):
        size = max(size, _BORDERS_BESIDE_ANCHORS)
        groups = [
            (shot, shot.frames[a:b]) for shot in shots for a, b in parts(0, len(shot.frames), size)
        ]
    else:
        every = [frame for shot in shots for frame in shot.frames]
        groups = [
            (_Borders((), ()), tuple(every[at : at + size])) for at in range(0, len(every), size)
        ]
    for number, (shot, group) in enumerate(groups):
        yield BorderChunk(id=chunk_id(1, number), wave=1, frames=group, anchors=shot.anchors)


def stills_per_chunk(pictures: int) -> int:
    """Most pictures in one chunk.

    >>> [stills_per_chunk(n) for n in (1, 24, 64, 128, 100_000)]
    [4, 4, 8, 16, 16]
    """
    return min(STILLS_PER_CHUNK, max(_FEW_STILLS, -(-pictures // _STILLS_CHUNKS)))


def plan_stills(
    buckets: Sequence[tuple[int, int]], warnings: Sequence[str] = ()
) -> tuple[Plan, list[int]]:
    """Plan pictures whose edit sizes are ``buckets[i]``.

    Returns:
        The plan, and the order in which the items have to be stored: pictures of one edit size
        stand together, so that each chunk is one bucket and can be edited in batches.
    """
    order = sorted(range(len(buckets)), key=lambda i: (buckets[i], i))
    longest = stills_per_chunk(len(buckets))
    chunks: list[ImageChunk] = []
    at = 0
    for _, alike in groupby(order, key=lambda i: buckets[i]):
        end = at + sum(1 for _ in alike)
        for a, b in parts(at, end, longest):
            name = chunk_id(1, len(chunks))
            chunks.append(ImageChunk(id=name, wave=1, start=a, stop=b))
        at = end
    sizes = set(buckets)
    size = next(iter(sizes)) if len(sizes) == 1 else (0, 0)
    return Plan(chunks=tuple(chunks), size=size, warnings=tuple(warnings)), order
