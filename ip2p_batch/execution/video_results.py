"""Full-size results of a video's edited frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import cast

from ..frame import FullFrame, FullImage, Mask
from ..jobs.plan import VideoChunk
from ..masks.make import MaskMaker
from ..media.alpha import weigh_visible
from ..media.depth import Samples16
from ..media.resize import Resize
from ..media.video import hdr
from ..temporal.pipeline import Pair
from .chunk_run import ChunkRun
from .full_size import at_full_size, hdr_at_full_size, needs_source
from .masks import open_masks
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
    maker = MaskMaker.of(run.job.recipe)
    if not uses_source and not facts.has_alpha and not facts.keeps_hdr and maker is None:

        def enlarged(pair: Pair) -> FullFrame:
            return pair.edited.with_image(resize.restore(pair.edited.image))

        yield lambda pairs: run.cpu_pool.map(enlarged, pairs)
        return

    def transferred(pair: Pair, full: FullFrame, mask: Mask | None) -> FullImage:
        source, edited = pair.source.image, pair.edited.image
        if facts.keeps_hdr:
            toned, mapping = cast(Samples16, full.image), hdr.mapping(facts)
            return hdr_at_full_size(
                resize, source, edited, toned, mapping, detail=uses_source, mask=mask
            )
        if not uses_source:
            return resize.restore(edited)
        if full.alpha is not None and maker is not None and maker.fills_background:
            shown = weigh_visible(full.image, full.alpha)
            return at_full_size(resize, source, edited, shown, mask=mask)
        return at_full_size(resize, source, edited, full.image, full.alpha, mask)

    with (
        open_reader(run, "results") as reader,
        open_masks(run) as masks,
        closing(reader.frames(chunk.start, chunk.stop)) as sources,
    ):
        drawings = masks.drawn(chunk.start, chunk.stop)

        def finish(work: tuple[Pair, FullFrame, Mask | None]) -> FullFrame:
            pair, full, drawn = work
            mask = masks.of(full, drawn)
            if mask is not None and not mask.any():
                return full
            image = transferred(pair, full, mask)
            if tiles is not None:
                image = tiles.refine(full.image, image, pair.edited, mask=mask)
            if maker is None or mask is None:
                return dataclasses.replace(full, image=image)
            return dataclasses.replace(
                full,
                image=maker.pasted(full.image, image, mask),
                alpha=maker.opacity(full.alpha, mask),
            )

        if tiles is not None:  # in this thread, which uses the device
            yield lambda pairs: map(finish, zip(pairs, sources, drawings, strict=False))
        else:
            yield lambda pairs: run.cpu_pool.map(
                finish, zip(pairs, sources, drawings, strict=False)
            )
