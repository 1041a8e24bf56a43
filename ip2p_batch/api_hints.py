"""The Python API for hints: what the control nets of an edit will see."""

from __future__ import annotations

import msgspec

from .api import Progress, SourcePath, edit_request
from .execution.hint_files import HintFiles, write_hints
from .jobs.coding import Decoding
from .jobs.events import Event
from .planning.hint_files import prepare_hints
from .planning.recipes import resolve_recipe
from .recipe import Recipe
from .recipe_parts import Control


def make_hints(
    source: SourcePath,
    kind: str,
    *,
    output: SourcePath | None = None,
    recipe: Recipe | None = None,
    preprocessor: str | None = None,
    progress: Progress | None = None,
    decoding: Decoding | None = None,
    start: float | None = None,
    end: float | None = None,
    overwrite: bool = False,
) -> HintFiles:
    """Write the hints of a video, an image, a folder or a list of images.

    The pixels are those that an edit of the same source with the same recipe gives to a control net
    of this kind, at the edit size, filtered along the motion. No model is loaded, except for
    ``depth`` its estimator.

    Args:
        source: as for :func:`~ip2p_batch.api.edit`.
        kind: ``canny``, ``lineart``, ``tile``, ``blur``, ``luminance``, ``color`` or ``depth``.
        output: file or folder; a video is written as ``.mp4`` (near lossless), ``.mkv`` (lossless)
            or an image sequence of ``.png``, images as PNG. None is next to the source, with the
            kind in the name.
        recipe: decides the edit size and the radius of the filter; None is the default recipe.
        preprocessor: folder or hub id of the estimator of ``depth``; None: Depth Anything V2 Small.
        progress: called with ``planning`` events.
        decoding: how the source is read.
        start, end: seconds from the first frame of a video.
        overwrite: replace files that exist.

    Returns:
        What was written; ``failed`` lists images without hints.

    Raises:
        SourceError, OutputError, RecipeError, ModelError: the hints cannot be made as asked.
    """
    recipe = resolve_recipe({}) if recipe is None else recipe
    recipe = msgspec.structs.replace(
        recipe,
        instruction=f"hints: {kind}",
        control=(Control(kind=kind, preprocessor=preprocessor),),
        detail="source",
        mask=None,
    )
    request = edit_request(
        source,
        None,
        output=output,
        recipe=recipe,
        decoding=decoding,
        encoding=None,
        start=start,
        end=end,
        overwrite=overwrite,
    )
    report = progress or _ignore
    prepared = prepare_hints(request, report)

    def count(done: int, total: int) -> None:
        report(Event(kind="planning", stage="making hints", done=done, total=total))

    return write_hints(prepared, count)


def _ignore(event: Event) -> None:
    pass
