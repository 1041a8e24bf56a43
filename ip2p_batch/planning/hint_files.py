"""Plan to write the hints of a source to files."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..errors import OutputError
from ..jobs.coding import Encoding
from ..jobs.history import History
from ..media.source import SourceKind, classify_source
from ..storage.sequence import is_sequence, pattern_of
from .prepare import prepare_job
from .request import EditRequest, PreparedJob, Report, absolute_path

#: Nothing but the pixels goes into a file.
_PLAIN = Encoding(audio="none", metadata="none", embed_recipe=False, mark_ai=False)
#: By the suffix of a video: lossless in Matroska; in MP4, for players, visually lossless.
_ENCODINGS = {
    ".mp4": msgspec.structs.replace(_PLAIN, codec="h264", crf=6),
    ".mkv": msgspec.structs.replace(_PLAIN, codec="ffv1"),
}
_STILLS = msgspec.structs.replace(_PLAIN, format="png")


def prepare_hints(request: EditRequest, report: Report = lambda _: None) -> PreparedJob:
    """Plan as for an edit by the request's recipe, whose first control net says which hints.

    Args:
        request: its output is for the hints; None is next to the source, named by their kind.

    Raises:
        OutputError: the output has another suffix than .mp4, .mkv or .png, or exists.
        SourceError, RecipeError: as :func:`~ip2p_batch.planning.prepare.prepare_job`.
    """
    source = absolute_path(request.source)
    kind = classify_source(source)
    output = request.output or _default_output(source, kind, request.recipe.control[0].kind)
    encoding = _encoding(output, kind)
    request = msgspec.structs.replace(request, output=output, encoding=encoding)
    return prepare_job(request, report, lambda _: History(), loads_nets=False)


def _default_output(source: Path, kind: SourceKind, name: str) -> Path:
    """``clip.mp4`` -> ``clip-canny.mp4``; ``catalog/`` -> ``catalog-canny/``."""
    if is_sequence(source):
        return source.parent.with_name(f"{source.parent.name}-{name}") / f"{source.stem}.png"
    suffix = {"video": ".mp4", "still": ".png"}.get(kind, "")
    return source.with_name(f"{source.stem if suffix else source.name}-{name}{suffix}")


def _encoding(output: Path, kind: SourceKind) -> Encoding:
    if kind != "video":
        return _STILLS
    if pattern_of(output) is not None and output.suffix.lower() == ".png":
        return _PLAIN
    encoding = _ENCODINGS.get(output.suffix.lower())
    if encoding is None:
        raise OutputError(
            f"{output.name}: hints of a video are written as .mp4, .mkv or an image sequence.",
            path=output,
            hint="Name it hints.mp4, hints.mkv (lossless) or hints/h_%05d.png.",
        )
    return encoding
