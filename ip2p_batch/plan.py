"""Source + recipe -> shots, borders, chunks, waves.

A pure function: it sees no files and no clock, and does not know how many workers there are.

A shot is cut into chunks of nearly equal length. Where latents are carried over, the first frame
of every chunk and the last frame of the shot are *borders*: wave 1 runs them to the step at which
they are handed over, and every chunk of wave 2 is tied to the border at its start and the border
at its end, so no chunk waits for another and no seam is left between two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from .job import Chunk, Plan, Shot
from .recipe import Recipe

#: Border frames in one chunk of wave 1, at the most.
BORDERS_PER_CHUNK = 8
#: Wave 1 is spread over this many chunks before the chunks grow.
_BORDER_CHUNKS = 16
#: Pictures in one chunk: minutes on a CPU, seconds on a GPU; never one message per picture.
STILLS_PER_CHUNK = 16
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
    carry = recipe.carried_steps() > 0
    all_shots = shots(start, stop, cuts)
    last_wave = 2 if carry and any(_is_carried(s) for s in all_shots) else 1
    frames: list[Chunk] = []
    borders: list[int] = []
    for number, shot in enumerate(all_shots):
        ranges = parts(shot.start, shot.stop, recipe.chunk_frames)
        tied = carry and _is_carried(shot)
        edges = [a for a, _ in ranges] + [shot.stop - 1]
        if tied:
            borders.extend(edges)
        for (a, b), left, right in zip(ranges, edges, edges[1:], strict=False):
            frames.append(
                Chunk(
                    id=f"{last_wave}-{len(frames):06d}",
                    kind="frames",
                    wave=last_wave,
                    start=a,
                    stop=b,
                    shot=number,
                    borders=(left, right) if tied else (),
                )
            )
    return Plan(
        shots=all_shots,
        chunks=(*_border_chunks(borders), *frames),
        size=size,
        warnings=tuple(warnings),
    )


def _is_carried(shot: Shot) -> bool:
    return shot.stop - shot.start >= _MIN_CARRIED_SHOT


def _border_chunks(borders: Sequence[int]) -> Iterator[Chunk]:
    size = min(BORDERS_PER_CHUNK, max(1, -(-len(borders) // _BORDER_CHUNKS)))
    for number, at in enumerate(range(0, len(borders), size)):
        group = tuple(borders[at : at + size])
        yield Chunk(
            id=f"1-{number:06d}",
            kind="borders",
            wave=1,
            start=group[0],
            stop=group[-1] + 1,
            borders=group,
        )


def plan_stills(
    buckets: Sequence[tuple[int, int]], warnings: Sequence[str] = ()
) -> tuple[Plan, list[int]]:
    """Plan pictures whose edit sizes are ``buckets[i]``.

    Returns:
        The plan, and the order in which the items have to be stored: pictures of one edit size
        stand together, so that each chunk is one bucket and can be edited in batches.
    """
    order = sorted(range(len(buckets)), key=lambda i: (buckets[i], i))
    chunks: list[Chunk] = []
    at = 0
    while at < len(order):
        stop = at + 1
        while (
            stop < len(order)
            and stop - at < STILLS_PER_CHUNK
            and buckets[order[stop]] == buckets[order[at]]
        ):
            stop += 1
        chunks.append(Chunk(id=f"1-{len(chunks):06d}", kind="stills", wave=1, start=at, stop=stop))
        at = stop
    sizes = set(buckets)
    size = next(iter(sizes)) if len(sizes) == 1 else (0, 0)
    return Plan(chunks=tuple(chunks), size=size, warnings=tuple(warnings)), order
