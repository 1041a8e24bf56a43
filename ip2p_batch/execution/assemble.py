"""Segments -> output, once every receipt is there. Packets are copied; nothing is encoded again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from ..errors import IncompleteJob, OutsideRoots
from ..jobs.compatibility import mixed
from ..jobs.folder import JobFolder
from ..jobs.plan import Plan, VideoChunk
from ..jobs.records import ItemResult, Receipt, Result
from ..jobs.spec import Job
from ..media.video import concat
from ..media.video.segment import segment_suffix
from ..storage.atomic import atomic_path, digest, read_error, retry_transient, sweep

#: Seconds without a chunk in work that are no stop.
_MOMENT_SECONDS = 15.0


def assemble(job_dir: JobFolder) -> Result:
    """Make the output of a job whose chunks are all done, and write ``result.json``.

    Safe to call twice, from two hosts: one does it, and the other finds it done or under way.

    Raises:
        IncompleteJob: receipts are missing, or another process is assembling this job now.
        OutputError: the output cannot be written; segments are kept.
        EditError: the joined file does not hold exactly the planned frames; segments are kept.
    """
    begun = time.time()
    with job_dir.locked() as mine:
        if (result := job_dir.result()) is not None:
            if mine:
                job_dir.drop_media()  # whoever wrote the result may have died before that
            return result
        if not mine:
            raise IncompleteJob("Another process is assembling this job.", chunks=())
        job, plan = job_dir.job(), job_dir.plan()
        receipts = _receipts(job_dir, job, plan)
        warnings = [*plan.warnings]
        for receipt in receipts.values():
            warnings += receipt.warnings
        warnings += mixed(plan.chunks, receipts)
        if job.source.is_video:
            _join(job_dir, job, plan, receipts)
        results = _item_results(plan, receipts)
        failed, skipped, item_warnings = _outcomes(job_dir, results)
        now = time.time()
        result = Result(
            output=job.output,
            frames=plan.frames - sum(bool(i.error) for i in results.values()),
            seconds=round(worked(receipts.values(), begun, now), 3),
            failed=tuple(failed),
            skipped=skipped,
            warnings=tuple(dict.fromkeys([*warnings, *item_warnings])),
            finished=now,
        )
        # Before the result: whoever waits for it may end this process once it is there.
        outputs = (i.output for i in job_dir.items() if i.error is None)
        sweep(_within(job_dir, [job.output] if job.source.is_video else outputs))
        job_dir.write_result(result)
        job_dir.drop_media()
    return result


def _within(job_dir: JobFolder, paths: Iterable[str]) -> Iterator[Path]:
    """Those of ``paths`` that this worker may touch; the others it never wrote."""
    for path in paths:
        with suppress(OutsideRoots):
            yield job_dir.roots.allow(path)


def worked(receipts: Iterable[Receipt], begun: float, now: float) -> float:
    """Seconds in which a job was worked at, its assembly from ``begun`` to ``now`` included.

    From one chunk to the next takes a moment, which counts. Stops and pauses do not.
    """
    spans = [(r.finished - r.seconds.get("total", 0.0), r.finished) for r in receipts]
    seconds, last = 0.0, -math.inf
    for start, end in sorted([*spans, (begun, now)]):
        if end > last:
            seconds += end - (last if start - last <= _MOMENT_SECONDS else start)
            last = end
    return seconds


def _item_results(plan: Plan, receipts: dict[str, Receipt]) -> dict[int, ItemResult]:
    """What became of each picture, by its number."""
    return {item.index: item for receipt in receipts.values() for item in plan.valid_items(receipt)}


def _receipts(job_dir: JobFolder, job: Job, plan: Plan) -> dict[str, Receipt]:
    fingerprint = job.fingerprint()
    receipts = {r.chunk: r for r in job_dir.receipts() if r.fingerprint == fingerprint}
    missing = [c.id for c in plan.chunks if c.id not in receipts]
    if missing:
        for chunk_id in missing:
            job_dir.drop_receipt(chunk_id)  # one that is damaged, or of another job
        raise IncompleteJob(
            f"{len(missing)} of {len(plan.chunks)} chunks are not finished.",
            chunks=missing,
            hint=f"Go on with `ip2p-batch resume {job.id}`.",
        )
    return receipts


def _is(segment: Path, receipt: Receipt) -> bool:
    """Whether a segment is the one that its receipt vouches for."""
    try:
        return retry_transient(lambda: digest(segment)) == receipt.digest
    except FileNotFoundError:
        return False
    except OSError as error:
        raise read_error(segment, error) from error


def _join(job_dir: JobFolder, job: Job, plan: Plan, receipts: dict[str, Receipt]) -> None:
    source, facts = job.source, job.source.video
    assert facts is not None
    suffix = segment_suffix(job.encoding)
    chunks = [c for c in plan.chunks if isinstance(c, VideoChunk)]
    segments = [job_dir.segment_path(c, suffix) for c in chunks]
    # Looked at in full: a disk can lose the end of a file, or change a byte, and say nothing.
    wrong = [c.id for c, s in zip(chunks, segments, strict=True) if not _is(s, receipts[c.id])]
    if wrong:
        for chunk_id in wrong:
            job_dir.drop_receipt(chunk_id)
        raise IncompleteJob(
            f"{len(wrong)} of {len(chunks)} segments in {job_dir.path / 'segments'} are gone, or"
            " not as they were written.",
            chunks=wrong,
            hint=f"`ip2p-batch resume {job.id}` makes them again; is that disk sound?",
        )
    table = job_dir.frame_table()
    source_path = job_dir.roots.allow(source.path)
    output = job_dir.roots.allow(job.output)
    with atomic_path(output) as temporary:
        concat.join(
            segments,
            source_path,
            temporary,
            facts,
            job.encoding,
            table,
            start=source.start,
            stop=source.stop,
            suffix=Path(job.output).suffix,
        )
        concat.verify(temporary, facts, table, start=source.start, stop=source.stop)


def _outcomes(
    job_dir: JobFolder, results: dict[int, ItemResult]
) -> tuple[list[tuple[str, str]], int, list[str]]:
    """What failed, by path, how much was skipped, and what was worth a warning."""
    failed: list[tuple[str, str]] = []
    skipped = 0
    warnings: list[str] = []
    for index, item in enumerate(job_dir.items()):
        if item.skipped:
            skipped += 1
        elif item.error is not None:
            failed.append((item.source, item.error))
        elif (result := results.get(index)) is not None:
            if result.error:
                failed.append((item.source, result.error))
            if result.warning:
                warnings.append(f"{item.source}: {result.warning}")
    return failed, skipped, warnings
