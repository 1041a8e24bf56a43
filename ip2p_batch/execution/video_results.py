"""Full-size results of a video's edited frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import cast

from ..frame import FullFrame, FullImage
from ..jobs.plan import VideoChunk
from ..media.depth import Samples16
from ..media.resize import Resize
from ..media.video import hdr
from ..temporal.pipeline import Pair
from .chunk_run import ChunkRun
from .full_size import at_full_size, hdr_at_full_size, needs_source
from .tile_pass import TilePass
from .video_source import facts_of, is_deep, open_reader


@contextmanager
def open_results(
    run: ChunkRun, chunk: VideoChunk, resize: Resize, tiles: TilePass | None
) -> Iterator[Callable[[Sequence[Pair]], Iterator[FullFrame]]]:
    """A function that makes full-size results of the chunk's own frames, which come in order."""
    facts = facts_of(run)
    uses_source = needs_source(
        run.job.recipe, resize, deep=is_deep(run), transparent=facts.has_alpha
    )
    if not uses_source and not facts.has_alpha and not facts.keeps_hdr:

        def enlarged(pair: Pair) -> FullFrame:
            return pair.edited.with_image(resize.restore(pair.edited.image))

        yield lambda pairs: run.cpu_pool.map(enlarged, pairs)
        return

    def transfer(work: tuple[Pair, FullFrame]) -> FullFrame:
        (source, edited), full = work
        if facts.keeps_hdr:
            toned = cast(Samples16, full.image)
            image: FullImage = hdr_at_full_size(
                resize, source.image, edited.image, toned, hdr.mapping(facts), detail=uses_source
            )
        elif uses_source:
            image = at_full_size(resize, source.image, edited.image, full.image, full.alpha)
        else:
            image = resize.restore(edited.image)
        return dataclasses.replace(full, image=image)

    def draw(work: tuple[Pair, FullFrame]) -> FullFrame:
        assert tiles is not None
        pair, full = work
        image = tiles.refine(full.image, transfer(work).image, pair.edited)
        return dataclasses.replace(full, image=image)

    with open_reader(run) as reader, closing(reader.frames(chunk.start, chunk.stop)) as sources:
        if tiles is not None:  # in this thread, which uses the device
            yield lambda pairs: map(draw, zip(pairs, sources, strict=False))
        else:
            yield lambda pairs: run.cpu_pool.map(transfer, zip(pairs, sources, strict=False))
