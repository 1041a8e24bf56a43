"""Chunks of a video: latents of borders that are damaged or missing are computed again."""

import pytest

from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.execution.chunk import process_chunk
from ip2p_batch.execution.worker_cache import WorkerCache
from ip2p_batch.jobs.plan import BorderChunk, VideoChunk
from ip2p_batch.jobs.records import WorkerInfo
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler import EditRequest, create_job

from .clips import DEMO

WORKER = WorkerInfo(host="here", pid=1)


@pytest.fixture
def job(tmp_path, settings):
    recipe = Recipe(instruction="x", model="identity", size=64, chunk_frames=10, carryover=0.5)
    request = EditRequest(source=DEMO, output=tmp_path / "out.mp4", recipe=recipe, end=1.0)
    return create_job(request, settings)


def edit(job, chunk, cache=None):
    return process_chunk(
        job, chunk, editor_for=lambda _: IdentityEditor(), worker=WORKER, worker_cache=cache
    )


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_damaged_latents_are_computed_again_with_a_warning(job, damage):
    chunks = job.plan().chunks
    for chunk in chunks:
        if isinstance(chunk, BorderChunk):
            edit(job, chunk)
    first, second = [chunk for chunk in chunks if isinstance(chunk, VideoChunk)][:2]
    assert edit(job, first).warnings == ()
    border = second.borders[-1]
    path = job.border_path(border)
    intact = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(intact[:-1])
    (warning,) = edit(job, second).warnings
    assert f"border frame {border} " in warning and "computed again" in warning
    assert path.read_bytes() == intact


def test_a_chunk_opens_the_video_only_for_what_it_reads(job):
    borders, *_ = [chunk for chunk in job.plan().chunks if isinstance(chunk, BorderChunk)]
    first, *_ = [chunk for chunk in job.plan().chunks if isinstance(chunk, VideoChunk)]
    cache = WorkerCache()
    edit(job, borders, cache)
    assert purposes(cache) == {"single"}
    edit(job, first, cache)
    assert purposes(cache) == {"single", "frames", "results"}
    cache.readers.close()
    job.receipts.remove(first.id)
    edit(job, first, cache)  # its borders are cached
    assert purposes(cache) == {"frames", "results"}
    cache.readers.close()


def purposes(cache):
    return {purpose for purpose, *_ in cache.readers._kept}
