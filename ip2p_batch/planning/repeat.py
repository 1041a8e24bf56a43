"""Repeated runs: which results are made anew, and which files are left alone.

A result is up to date where its record has the same options and the same source. Existence alone
says nothing. A file that no known job wrote, or that was changed since, is never replaced without
``overwrite``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

import msgspec

from ..jobs.grouping import counted
from ..jobs.history import FindHistory, History, is_same_source
from ..jobs.publications import Publication
from ..jobs.spec import Item, Job
from ..storage.atomic import digest
from ..storage.publish import path_stamp
from ..storage.sequence import Pattern, pattern_of, sequence_files

#: A warning names at most this many files.
_NAMED = 20
_THREADS = 8  # most of the time is spent waiting for the file system


class Finding(StrEnum):
    """What stands under the name of a result; the reason in :attr:`Item.error`."""

    FOREIGN = "exists already (--overwrite replaces it)"
    CHANGED = "was changed after ip2p-batch wrote it (--overwrite replaces it)"
    UP_TO_DATE = "is up to date: same recipe, same source"
    STALE = "was made by another recipe or from another source"


class Settled(msgspec.Struct, frozen=True):
    """The items of a job after a look at their outputs.

    Attributes:
        items: with ``skipped`` or ``replaces`` set.
        records: of the outputs that exist.
        notes: one line for the user for each kind of output that exists.
    """

    items: list[Item]
    records: tuple[Publication, ...] = ()
    notes: tuple[str, ...] = ()


def settle_outputs(
    items: Sequence[Item], job: Job, history: History, *, overwrite: bool
) -> Settled:
    """Decide on each image whose output exists: make it anew, or leave it alone.

    Args:
        items: an output that has the stamp ``replaces`` counts as missing.
    """
    if overwrite:
        return Settled([msgspec.structs.replace(i, replaces=path_stamp(i.output)) for i in items])
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="settle-outputs") as pool:
        found = list(pool.map(lambda item: _look(item, job, history), items))
    settled = [
        _settled(item, finding, stamp)
        for item, (finding, _, stamp) in zip(items, found, strict=True)
    ]
    records = tuple(record for _, record, _ in found if record is not None)
    by_kind: dict[Finding, list[str]] = {}
    for item, (finding, _, _) in zip(items, found, strict=True):
        if finding is not None:
            by_kind.setdefault(finding, []).append(item.output)
    return Settled(settled, records, notes_on(by_kind, "image"))


def notes_on(outputs: Mapping[Finding, Sequence[str]], noun: str) -> tuple[str, ...]:
    """One line for the user for each kind of output that exists.

    Args:
        outputs: paths by kind.
        noun: what they are, in the singular.
    """
    return tuple(_note(kind, outputs[kind], noun) for kind in Finding if outputs.get(kind))


def _look(item: Item, job: Job, history: History) -> tuple[Finding | None, Publication | None, str]:
    """What stands under the name of an item's result, its record, and its stamp."""
    if item.error is not None or (stamp := path_stamp(item.output)) in ("", item.replaces):
        return None, None, item.replaces
    finding, record = _judge(item.output, lambda: job.item_fingerprint(item), item.source, history)
    return finding, record, stamp


def _judge(
    output: str, recipe: Callable[[], str], source: Path | str, history: History
) -> tuple[Finding, Publication | None]:
    """What the file is that has the name of a result, and its record.

    Args:
        recipe: makes the fingerprint of the options; called where the file has a record.
    """
    record = history.record_of(output)
    if record is None:
        return (Finding.CHANGED if history.knows(output) else Finding.FOREIGN), None
    record = msgspec.structs.replace(record, output=output)
    if record.recipe == recipe() and is_same_source(record, source):
        return Finding.UP_TO_DATE, record
    # Times can be set back: what is replaced is compared in full.
    return (Finding.STALE if _is_intact(record) else Finding.CHANGED), record


def _is_intact(record: Publication) -> bool:
    try:
        return not record.digest or digest(Path(record.output)) == record.digest
    except OSError:
        return False


def _settled(item: Item, finding: Finding | None, stamp: str) -> Item:
    if finding is None:
        return item
    if finding is Finding.STALE:
        return msgspec.structs.replace(item, replaces=stamp)
    return msgspec.structs.replace(item, error=f"{item.output} {finding}", skipped=True)


def _note(finding: Finding, outputs: Sequence[str], noun: str) -> str:
    count = len(outputs)
    what = counted(count, noun)
    it = "it" if count == 1 else "them"
    names = [os.path.basename(output) for output in outputs[:_NAMED]]  # noqa: PTH119
    listed = ", ".join(names) + (f" and {count - _NAMED} more" if count > _NAMED else "")
    if finding is Finding.UP_TO_DATE:
        return f"{what} left alone: same recipe, same source (--overwrite edits again)."
    if finding is Finding.STALE:
        return f"{what} made anew: the recipe or the source changed since."
    if finding is Finding.CHANGED:
        return f"{what} left alone: changed by hand since (--overwrite replaces {it}): {listed}."
    return (
        f"{what} skipped: the output exists, and no known job wrote it (--overwrite replaces"
        f" {it}): {listed}."
    )


def options_digest(options: object, reference_image: str | None) -> str:
    """Fingerprint of the options that a video is edited with.

    Args:
        options: recipe, how it is read and encoded, and so on; anything that JSON can hold.
        reference_image: path of a file that counts by its bytes.
    """
    bytes_of_reference = ""
    if reference_image is not None:
        try:
            bytes_of_reference = digest(Path(reference_image))
        except OSError:
            bytes_of_reference = "unreadable"  # planning reports it
    data = msgspec.json.encode((options, bytes_of_reference), order="sorted")
    return hashlib.sha256(data).hexdigest()


def look_at_video(
    output: Path, options: str, source: Path, find_history: FindHistory
) -> Finding | None:
    """What stands under the name of a video's result; None if nothing does.

    Args:
        options: of :func:`options_digest`.
    """
    if (pattern := pattern_of(output)) is not None:
        return _look_at_sequence(pattern, options, source, find_history)
    if not os.path.lexists(output):
        return None
    finding, _ = _judge(str(output), lambda: options, source, find_history(output.parent))
    return finding


def _look_at_sequence(
    pattern: Pattern, options: str, source: Path, find_history: FindHistory
) -> Finding | None:
    """What stands under the names of a sequence's results: the worst of its files."""
    try:
        outputs = [str(pattern.path(number)) for number in pattern.numbers()]
    except OSError:  # there is no such folder
        return None
    if not outputs:
        return None
    history = find_history(pattern.folder)
    records = [(output, history.record_of(output)) for output in outputs]
    if any(record is None for _, record in records):
        known = all(history.knows(output) for output in outputs)
        return Finding.CHANGED if known else Finding.FOREIGN
    found = [record for _, record in records if record is not None]
    is_complete = len(found) == sum(1 for _ in sequence_files(source))
    same_options = all(record.recipe == options for record in found)
    if is_complete and same_options and is_same_source(found[0], source):
        return Finding.UP_TO_DATE
    return Finding.STALE
