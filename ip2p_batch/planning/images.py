"""List the images of a source, check them, and check them again for a retry."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..errors import OutputError, RecipeError, SourceError
from ..jobs.coding import Decoding, Encoding
from ..jobs.grouping import counted, grouped
from ..jobs.history import History
from ..jobs.spec import Item, Job
from ..media.images import listing
from ..media.images.formats import (
    FORMAT_NAMES,
    READ_ONLY,
    SUFFIXES,
    WRITTEN_AS,
    format_suffix,
    suffix_format,
)
from ..media.images.naming import Listing
from ..media.images.writer import output_suffix
from ..media.sequence.frame import FILM
from ..media.source import SourceKind, classify_source
from ..recipe import Recipe
from . import companions
from .guard import SourceGuard
from .repeat import settle_outputs

#: A warning lists at most this many reasons for which images cannot be edited.
_REASONS = 6
#: An error names at most this many images.
_LISTED = 5


def list_images(
    path: Path, output: Path, kind: SourceKind, encoding: Encoding, decoding: Decoding
) -> Listing:
    """The images of a folder, of a manifest, or the one image, each with its output path.

    Raises:
        SourceError: there is no image, or the folder or manifest cannot be read.
        OutputError: the output has the suffix of no image format.
    """
    listed = list_source(path, output, kind, encoding, decoding)
    if not listed.items:
        videos = " It contains videos: ip2p_batch.edit_many() edits them." if listed.videos else ""
        raise no_images(path, listed, videos)
    if listed.videos:
        note = (
            f"Left out: {counted(len(listed.videos), 'video')}; ip2p_batch.edit_many() edits"
            " videos, too."
        )
        return msgspec.structs.replace(listed, notes=(note, *listed.notes))
    return listed


def no_images(path: Path, listed: Listing, more: str = "") -> SourceError:
    """The error for a folder or list without images; it has what was left out."""
    notes = "".join(f" {note}" for note in listed.notes)
    in_folder = "Files are found by their suffixes, in all subfolders."
    if any(suffix in notes for suffix in FILM):
        in_folder = f"Numbered frames are edited as a video: name them as {path}/f_%05d.exr."
    return SourceError(
        f"{path} contains no images{'' if more else ' or videos'}.{more}{notes}",
        path=path,
        hint=in_folder if path.is_dir() else "Add a row for each image, with its path.",
    )


def nothing_to_edit(path: Path, failed: Sequence[Item]) -> SourceError:
    """The error for a source without editable images; it has the first reasons."""
    first = failed[0]
    if len(failed) == 1 and first.source == str(path):
        return SourceError(f"{path}: {first.error}.", path=path, hint="Check the file.")
    reasons = "; ".join(f"{item.source}: {item.error}" for item in failed[:_LISTED])
    more = f" ({len(failed)} images have errors)" if len(failed) > _LISTED else ""
    return SourceError(
        f"Nothing in {path} can be edited: {reasons}{more}.",
        path=path,
        hint="Check the files named.",
    )


def without_instruction(items: Sequence[Item], recipe: Recipe) -> list[Item]:
    """Note an error for each image that has an instruction neither of its own nor by the recipe."""
    if recipe.instruction.strip():
        return list(items)
    return [
        item
        if item.instruction or item.error
        else msgspec.structs.replace(item, error="it has no instruction")
        for item in items
    ]


def without_session(items: Sequence[Item], recipe: Recipe) -> list[Item]:
    """Note an error for each image whose own steps or scales do not go with the recipe.

    For example more steps than the recipe's scheduler has.
    """
    checked = []
    for item in items:
        try:
            item.session_recipe(recipe)
        except RecipeError as error:
            item = msgspec.structs.replace(item, error=item.error or error.message)
        checked.append(item)
    return checked


def image_warnings(items: Sequence[Item], notes: Sequence[str] = ()) -> list[str]:
    """Warnings about images that are not edited, one line each, after the ``notes`` of their
    listing.
    """
    failed = [(i.source, i.error) for i in items if i.error is not None and not i.skipped]
    warnings = [*notes, *_other_formats(items)]
    if failed:
        kinds = grouped(failed, "images")
        others = len(kinds) - _REASONS
        more = f"; and {counted(others, 'other reason')}" if others > 0 else ""
        warnings.append(
            f"{len(failed)} of {counted(len(items), 'image')} cannot be edited: "
            f"{'; '.join(kinds[:_REASONS])}{more}."
        )
    return warnings


def _other_formats(items: Sequence[Item]) -> list[str]:
    """Notes on images whose format is not written."""
    names = Counter(
        source
        for item in items
        if item.error is None
        and (source := READ_ONLY.get(Path(item.source).suffix.lower()))
        and suffix_format(item.output) == WRITTEN_AS[source]
    )
    return [
        f"{count} {FORMAT_NAMES[name]} image{'s' if count > 1 else ''}: the format is only read;"
        f" results are {FORMAT_NAMES[WRITTEN_AS[name]]} (--format selects another)."
        for name, count in sorted(names.items())
    ]


def rescan(job: Job, items: Sequence[Item]) -> list[Item]:
    """Check images of a job again, in the same order.

    An image that is missing from its folder or manifest now is returned unchanged.

    Raises:
        SourceError: the folder or the manifest cannot be read.
    """
    path, output = Path(job.source.path), Path(job.output)
    kind = classify_source(path)
    if kind == "still":
        listed = [msgspec.structs.replace(item, error=None) for item in items]
    else:
        listed = list_source(path, output, kind, job.encoding, job.decoding).items
    by_paths = {(os.path.normpath(i.source), i.output): i for i in listed}
    by_source = {os.path.normpath(i.source): i for i in listed}
    current = []
    for item in items:
        source = os.path.normpath(item.source)
        match = by_paths.get((source, item.output))
        if match is None and item.error is not None:
            match = by_source.get(source)  # a row with an error may have had no output path
        current.append(item if match is None else match)
    current = without_session(without_instruction(current, job.recipe), job.recipe)
    guard = SourceGuard(path, output, (item.source for item in items))
    current = companions.of_items_again(job, listing.measure_items(current))
    checked = [
        msgspec.structs.replace(guard.check_item(new), replaces=old.replaces)
        for old, new in zip(items, current, strict=True)
    ]
    if job.overwrite:
        return checked
    return settle_outputs(checked, job, History(), overwrite=False).items


def list_source(
    path: Path,
    output: Path,
    kind: SourceKind,
    encoding: Encoding,
    decoding: Decoding,
    results: Path | None = None,
) -> Listing:
    """All images and videos of a folder or of a list, or the one image; perhaps none.

    Args:
        results: folder of the results of all sources, which is no source; None is ``output``.

    Raises:
        SourceError: the folder or manifest cannot be read.
        OutputError: the output has the suffix of no image format.
    """
    if kind == "folder":
        follow = decoding.follow_links
        return listing.list_folder(
            path, output, format=encoding.format, follow_links=follow, results=results
        )
    if kind == "manifest":
        return listing.read_manifest(path, output, format=encoding.format)
    return Listing([Item(source=str(path), output=str(_single_output(path, output, encoding)))])


def _single_output(path: Path, output: Path, encoding: Encoding) -> Path:
    """The output file of a single image; a folder as output keeps the name of the image."""
    if output.is_dir() or not output.suffix:
        return output / (path.stem + output_suffix(path, encoding))
    if suffix_format(output) is None:
        raise OutputError(
            f"{output.name}: {output.suffix!r} is not the suffix of a supported format.",
            path=output,
            hint=f"Use one of: {', '.join(map(format_suffix, dict.fromkeys(SUFFIXES.values())))}.",
        )
    if encoding.format not in (None, suffix_format(output)):
        raise OutputError(
            f"{output.name}: --format {encoding.format} does not fit the suffix {output.suffix!r}.",
            path=output,
            hint="Leave out --format, or name a folder with -o.",
        )
    return output


def digest(items: Sequence[Item]) -> str:
    """SHA-256 over the images with their facts and the stamps of their files.

    It does not depend on outputs: a job that is half done must stay the same job.
    """
    facts = hashlib.sha256()
    for item in items:
        facts.update(msgspec.json.encode(item))
        try:
            stat = Path(item.source).stat()
        except OSError:
            continue
        facts.update(f"{stat.st_size}:{stat.st_mtime_ns}".encode())
    return facts.hexdigest()
