"""Source facts and recipe -> shots, borders, chunks, waves.

A pure function: it reads no files and no clock, and does not know how many workers there are.

A shot is split into spans of nearly equal length. With carryover, the first frame of every span
and the last frame of the shot are *borders*: wave 1 edits them up to the carryover step, and every
frame of wave 2 uses the latents of the borders at both ends of its span. So no chunk waits for
another, and there is no seam between two. A chunk is one span, or several spans of a long video:
the frames beyond its ends, which it edits for the temporal filter, then cost less. No edited pixel
depends on the number of spans in a chunk.

All chunks of a shot attend to the same *anchors*: frames spread evenly over the shot, or over the
whole video. With carryover, anchors are the nearest borders, whose latents are on disk in wave 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from ..jobs.plan import BorderChunk, ImageChunk, Plan, Shot, VideoChunk, chunk_id, largest_size
from ..recipe import Recipe

#: Maximum number of border frames in a chunk of wave 1.
BORDERS_PER_CHUNK = 8
#: Minimum with anchors, since each such chunk edits the anchors as well.
_MIN_BORDERS_WITH_ANCHORS = 4
#: Wave 1 is spread over this many chunks before the chunks grow.
_BORDER_CHUNKS = 16
#: Maximum number of images in a chunk: minutes on a CPU, seconds on a GPU.
IMAGES_PER_CHUNK = 16
#: Jobs of few images have smaller chunks, down to this, so that several workers get some.
_MIN_IMAGES_PER_CHUNK = 4
_IMAGE_CHUNKS = 8
#: Maximum number of spans in a chunk.
SPANS_PER_CHUNK = 4
#: Chunks have more than one span only in videos with more chunks than this, so that many workers
#: stay busy to the end.
MIN_CHUNKS = 64
#: Below this many frames a shot's borders would cost more than they save.
_MIN_CARRIED_SHOT = 4


def shots(start: int, stop: int, cuts: Sequence[int]) -> tuple[Shot, ...]:
    """Split frames ``[start, stop)`` at ``cuts`` (numbers of the first frames of shots)."""
    inner = sorted({c for c in cuts if start < c < stop})
    edges = [start, *inner, stop]
    return tuple(Shot(start=a, stop=b) for a, b in pairwise(edges))


def parts(start: int, stop: int, longest: int) -> list[tuple[int, int]]:
    """Split ``[start, stop)`` into the fewest nearly equal ranges of at most ``longest``.

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
    """Number of spans in a chunk of a video with ``spans`` spans.

    >>> [spans_per_chunk(n) for n in (4, 127, 128, 250, 10_000)]
    [1, 1, 2, 3, 4]
    """
    return min(SPANS_PER_CHUNK, max(1, spans // MIN_CHUNKS))


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
        size: ``(width, height)`` at which frames are edited, in pixels.
        warnings: copied into the plan.
    """
    all_shots = shots(start, stop, cuts)
    frames: list[VideoChunk] = []
    border_sets: list[_Borders] = []
    split_shots = [_SplitShot.of(shot, recipe) for shot in all_shots]
    last_wave = 2 if any(part.has_borders for part in split_shots) else 1
    shared_anchors = _common_anchors(start, stop, split_shots, recipe)
    spans_each = spans_per_chunk(sum(len(part.spans) for part in split_shots))
    for number, (shot, spans, edges, has_borders) in enumerate(split_shots):
        candidates = edges if has_borders else range(shot.start, shot.stop)
        chosen = shared_anchors
        if chosen is None:
            chosen = anchors(shot, recipe.anchors, candidates)
        if has_borders:
            border_sets.append(_Borders(tuple(edges), chosen))
        for first, end in parts(0, len(spans), spans_each):
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
                    borders=_surrounding(edges, *reach) if has_borders else (),
                    anchors=chosen,
                    reach=reach,
                )
            )
    return Plan(
        shots=all_shots,
        chunks=(*_border_chunks(border_sets), *frames),
        size=size,
        warnings=tuple(warnings),
    )


class _SplitShot(NamedTuple):
    """A shot split into spans.

    Attributes:
        edges: first frames of its spans, and its last frame.
        has_borders: whether its frames use latents of borders.
    """

    shot: Shot
    spans: list[tuple[int, int]]
    edges: list[int]
    has_borders: bool

    @classmethod
    def of(cls, shot: Shot, recipe: Recipe) -> _SplitShot:
        spans = parts(shot.start, shot.stop, recipe.chunk_frames)
        edges = sorted({a for a, _ in spans} | {shot.stop - 1})
        return cls(shot, spans, edges, recipe.edits_borders and _is_carried(shot))


def _common_anchors(
    start: int, stop: int, split_shots: Sequence[_SplitShot], recipe: Recipe
) -> tuple[int, ...] | None:
    """The anchors that all shots share; None if each shot has its own."""
    if recipe.anchor_scope == "shot":
        return None
    edges = [edge for part in split_shots if part.has_borders for edge in part.edges]
    return anchors(Shot(start=start, stop=stop), recipe.anchors, edges or range(start, stop))


def _surrounding(edges: Sequence[int], start: int, stop: int) -> tuple[int, ...]:
    """The edges that enclose frames ``[start, stop)``, at least two.

    >>> _surrounding([0, 8, 16, 24, 31], 8, 16)
    (8, 16)
    >>> _surrounding([0, 8, 16, 24, 31], 6, 18)
    (0, 8, 16, 24)
    """
    first = max(n for n, edge in enumerate(edges) if edge <= start)
    first = min(first, len(edges) - 2)  # at least two
    last = min(n for n, edge in enumerate(edges) if edge >= stop - 1)
    if edges[last] == stop - 1 and last + 1 < len(edges):
        last += 1  # a border that is not the shot's last belongs to the chunk on its right
    return tuple(edges[first : last + 1])


def anchors(shot: Shot, count: int, candidates: Sequence[int]) -> tuple[int, ...]:
    """The candidates nearest to the centres of ``count`` equal parts of a shot.

    Uniform, since Fairy (arXiv:2312.13834) found no other choice to be consistently better.

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
    """The chunks of wave 1. Shots share a chunk unless they have their own anchors."""
    count = sum(len(shot.frames) for shot in shots)
    size = min(BORDERS_PER_CHUNK, max(1, -(-count // _BORDER_CHUNKS)))
    if any(shot.anchors for shot in shots):
        size = max(size, _MIN_BORDERS_WITH_ANCHORS)
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


def images_per_chunk(images: int) -> int:
    """Maximum number of images in a chunk of a job with ``images`` images.

    >>> [images_per_chunk(n) for n in (1, 24, 64, 128, 100_000)]
    [4, 4, 8, 16, 16]
    """
    return min(IMAGES_PER_CHUNK, max(_MIN_IMAGES_PER_CHUNK, -(-images // _IMAGE_CHUNKS)))


def plan_images(
    buckets: Sequence[tuple[int, int]],
    warnings: Sequence[str] = (),
    recipes: Sequence[Recipe] = (),
) -> tuple[Plan, list[int]]:
    """Plan images whose edit sizes are ``buckets[i]``: ``(width, height)`` in pixels.

    Args:
        recipes: of each image's session; empty: all have the job's.

    Returns:
        The plan, and the order in which the items have to be stored: images of one edit size
        and session are consecutive, so that each chunk can be edited in batches of one shape.
    """
    steps = [recipe.num_inference_steps for recipe in recipes] or [0] * len(buckets)
    scales = [(r.guidance_scale, r.image_guidance_scale) for r in recipes] or [(0.0, 0.0)] * len(
        buckets
    )
    keys = list(zip(buckets, steps, scales, strict=True))
    order = sorted(range(len(buckets)), key=lambda i: (keys[i], i))
    longest = images_per_chunk(len(buckets))
    chunks: list[ImageChunk] = []
    at = 0
    for key, bucket in groupby(order, key=lambda i: keys[i]):
        end = at + sum(1 for _ in bucket)
        for a, b in parts(at, end, longest):
            name = chunk_id(1, len(chunks))
            chunks.append(ImageChunk(id=name, wave=1, start=a, stop=b, steps=key[1]))
        at = end
    size, one_size = largest_size(buckets)
    plan = Plan(chunks=tuple(chunks), size=size, one_size=one_size, warnings=tuple(warnings))
    return plan, order
