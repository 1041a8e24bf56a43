"""Assemble a job's output once every chunk has its receipt.

Segments of a video are joined by copying packets; nothing is encoded again, except for animated
images.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from ..errors import IncompleteJob, OutputTaken, OutsideRoots
from ..frame import FrameTable
from ..jobs.compatibility import mixed
from ..jobs.folder import JobFolder
from ..jobs.grouping import grouped
from ..jobs.items import job_table_path, read_items, write_table
from ..jobs.log import chunk_log
from ..jobs.plan import ASSEMBLY, Plan, VideoChunk
from ..jobs.publications import Publication
from ..jobs.records import ItemResult, Receipt, Result
from ..jobs.results import result_files, result_pattern
from ..jobs.spec import Job
from ..jobs.video_facts import VideoFacts
from ..media.video import animated_output, concat
from ..media.video.codecs import segment_suffix
from ..media.video.verify import verify_joined
from ..storage.atomic import atomic_path, digest, read_error, remove_temp_files, retry_transient
from .publication import Publisher, source_identity
from .sequence_output import publish_sequence

log = logging.getLogger(__name__)

#: Longer gaps between chunks count as a stop or a pause, in seconds.
_MAX_GAP_SECONDS = 15.0


def assemble(folder: JobFolder) -> Result:
    """Write the output of a job whose chunks are all finished, and ``result.json``.

    Safe to call twice, from two hosts: one assembles the job, the other finds it finished or
    locked.

    Raises:
        IncompleteJob: receipts are missing, or another process is assembling this job.
        OutputError: the output cannot be written; segments are kept.
        EditError: the joined file does not hold exactly the planned frames; segments are kept.
    """
    started = time.time()
    with folder.locked() as is_locked:
        if (result := folder.result()) is not None:
            if is_locked:
                folder.drop_media()  # the process that wrote the result may have died before that
            return result
        if not is_locked:
            raise IncompleteJob("Another process is assembling this job.", chunks=())
        job, plan = folder.job(), folder.plan()
        receipts = _receipts(folder, job, plan)
        warnings = [*plan.warnings]
        for receipt in receipts.values():
            warnings += receipt.warnings
        warnings += mixed(plan.chunks, receipts)
        if job.source.is_video:
            warnings += _join(folder, job, plan, receipts)
        results = _item_results(plan, receipts)
        failed, skipped, item_warnings = _outcomes(folder, results)
        warnings += _write_table(folder)
        now = time.time()
        result = Result(
            output=job.output,
            edit=plan.edit_method(job.recipe),
            frames=plan.frames - sum(bool(i.error) for i in results.values()),
            seconds=round(worked(receipts.values(), started, now), 3),
            failed=tuple(failed),
            skipped=skipped,
            warnings=tuple(dict.fromkeys([*warnings, *item_warnings])),
            finished=now,
        )
        # Before the result: a command that waits for it may end this process afterwards.
        outputs = (i.output for i in folder.items() if i.error is None)
        remove_temp_files(_within(folder, result_files(job) if job.source.is_video else outputs))
        folder.write_result(result)
        folder.drop_media()
        chunk_log(log, folder, ASSEMBLY, "assembled", frames=result.frames, seconds=result.seconds)
    return result


def _write_table(folder: JobFolder) -> list[str]:
    """Write the item table next to a folder of results; a warning if that fails."""
    path = job_table_path(folder)
    if path is None:
        return []
    try:
        folder.roots.allow(path)
        job = folder.job()
        source = Path(job.source.path)
        failure = write_table(read_items(folder), path, Path(job.output), [source])
    except OutsideRoots:
        failure = "it is outside of the folders that workers may write to"
    if not failure:
        return []
    name = folder.path.name
    return [f"{path} is not written: {failure}. `ip2p-batch status {name} --items` prints it."]


def _within(folder: JobFolder, paths: Iterable[str]) -> Iterator[Path]:
    """Yield the paths that this worker may write; it never wrote the others."""
    for path in paths:
        with suppress(OutsideRoots):
            yield folder.roots.allow(path)


def worked(receipts: Iterable[Receipt], started: float, now: float) -> float:
    """Return the seconds of work on a job, with its assembly from ``started`` to ``now``.

    Short gaps between chunks count; stops and pauses do not.
    """
    spans = [(r.finished - r.seconds.get("total", 0.0), r.finished) for r in receipts]
    seconds, last = 0.0, -math.inf
    for start, end in sorted([*spans, (started, now)]):
        if end > last:
            seconds += end - (last if start - last <= _MAX_GAP_SECONDS else start)
            last = end
    return seconds


def _item_results(plan: Plan, receipts: dict[str, Receipt]) -> dict[int, ItemResult]:
    """Return the result of each image, by its number."""
    return {item.index: item for receipt in receipts.values() for item in plan.valid_items(receipt)}


def _receipts(folder: JobFolder, job: Job, plan: Plan) -> dict[str, Receipt]:
    fingerprint = job.fingerprint()
    receipts = {r.chunk: r for r in folder.receipts.all() if r.fingerprint == fingerprint}
    missing = [c.id for c in plan.chunks if c.id not in receipts]
    if missing:
        for chunk_id in missing:
            folder.receipts.remove(chunk_id)  # a damaged one, or one of another job
        raise IncompleteJob(
            f"{len(missing)} of {len(plan.chunks)} chunks are not finished.",
            chunks=missing,
            hint=f"Continue with `ip2p-batch resume {job.id}`.",
        )
    return receipts


def _is_intact(segment: Path, receipt: Receipt) -> bool:
    """Return whether a segment has the digest of its receipt."""
    try:
        return retry_transient(lambda: digest(segment)) == receipt.digest
    except FileNotFoundError:
        return False
    except OSError as error:
        raise read_error(segment, error) from error


def _join(folder: JobFolder, job: Job, plan: Plan, receipts: dict[str, Receipt]) -> list[str]:
    """Write the result of a video; returns warnings."""
    suffix = segment_suffix(job.encoding)
    chunks = [c for c in plan.chunks if isinstance(c, VideoChunk)]
    segments = [folder.segment_path(c, suffix) for c in chunks]
    # Read in full: a disk can silently truncate a file or change a byte.
    pairs = zip(chunks, segments, strict=True)
    damaged = [c.id for c, segment in pairs if not _is_intact(segment, receipts[c.id])]
    if damaged:
        for chunk_id in damaged:
            folder.receipts.remove(chunk_id)
        raise IncompleteJob(
            f"{len(damaged)} of {len(chunks)} segments in {folder.path / 'segments'} are missing or"
            " damaged.",
            chunks=damaged,
            hint=f"Check that disk; `ip2p-batch resume {job.id}` edits their chunks again.",
        )
    if result_pattern(job.output) is not None:
        return publish_sequence(folder, job, segments)
    _join_file(folder, job, segments)
    return []


def _join_file(folder: JobFolder, job: Job, segments: list[Path]) -> None:
    source, facts = job.source, job.source.video
    assert facts is not None
    table = folder.frame_table()
    source_path = folder.roots.allow(source.path)
    reads = (source.path, *filter(None, (job.recipe.reference_image,)))
    publisher = Publisher(folder, ASSEMBLY, job.output, job.replaces, reads)

    def publish(temporary: Path, path: Path) -> None:
        stamp, source_digest = source_identity(source_path)
        made = Publication(
            output=job.output,
            stamp="",
            digest=digest(temporary),
            recipe=job.options,
            source=stamp,
            source_digest=source_digest,
        )
        try:
            publisher.publish(temporary, path, made)
        except OutputTaken as taken:
            taken.hint = f"Move it away, then run `ip2p-batch resume {job.id}`."
            taken.survives = "All chunks are kept."
            raise

    with atomic_path(publisher.place(), publish=publish) as temporary:
        _write_joined(job, facts, segments, source_path, temporary, table)


def _write_joined(
    job: Job,
    facts: VideoFacts,
    segments: list[Path],
    source: Path,
    temporary: Path,
    table: FrameTable,
) -> None:
    """Write the output from the segments, and check it."""
    output, part = Path(job.output), {"start": job.source.start, "stop": job.source.stop}
    if animated_output.animated_format(output) is not None:
        animated_output.write(segments, temporary, output, facts, job.encoding, table, **part)
        return
    suffix = output.suffix
    concat.join(segments, source, temporary, facts, job.encoding, table, suffix=suffix, **part)
    verify_joined(temporary, facts, table, **part)


def _outcomes(
    folder: JobFolder, results: dict[int, ItemResult]
) -> tuple[list[tuple[str, str]], int, list[str]]:
    """Return the failed images with their errors, the number of skipped ones, and warnings.

    Equal warnings of several images are one line; the item table has those of each image.
    """
    failed: list[tuple[str, str]] = []
    skipped = 0
    warnings: list[tuple[str, str]] = []
    for index, item in enumerate(folder.items()):
        if item.skipped:
            skipped += 1
        elif item.error is not None:
            failed.append((item.source, item.error))
        elif (result := results.get(index)) is not None:
            if result.error:
                failed.append((item.source, result.error))
            warnings += ((item.source, line) for line in result.warning.splitlines())
    return failed, skipped, grouped(warnings, "images")
