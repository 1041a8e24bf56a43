"""The estimate of a job is that of a measured one with the same settings, or unknown."""

import time

import pytest

from ip2p_batch.cli.plan_text import describe
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.jobs.plan import ImageChunk, Plan
from ip2p_batch.jobs.records import Receipt, WorkerInfo
from ip2p_batch.planning import pace
from ip2p_batch.planning.prepare import prepare_job
from ip2p_batch.planning.request import EditRequest
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.create import create_job
from ip2p_batch.scheduler.local_run import run_in_process
from ip2p_batch.settings import Settings

from .pictures import save


@pytest.fixture
def source(tmp_path):
    for number in range(9):
        save(tmp_path / f"in/{number}.png")
    return tmp_path / "in"


def request(source, output="next", **values):
    recipe = Recipe(**{"instruction": "make it snow", "model": "identity", "size": 64, **values})
    return EditRequest(source=source, recipe=recipe, output=source.with_name(output))


@pytest.fixture
def measured(source, tmp_path):
    """The cache after one finished job."""
    started = time.time()
    folder = create_job(request(source, "out"), Settings.from_env())
    list(run_in_process(folder, IdentityEditor()))
    pace.record(folder, started, tmp_path / "cache")
    return tmp_path / "cache"


def estimate(prepared, cache):
    return pace.estimate(prepared.job, prepared.plan, prepared.items, cache)


def test_a_job_that_differs_only_in_its_instruction_and_seed_has_an_estimate(source, measured):
    prepared = prepare_job(request(source, instruction="make it night", seed=3))
    found = estimate(prepared, measured)
    assert found.seconds > 0
    written = sum(path.stat().st_size for path in source.with_name("out").iterdir())
    assert found.result_bytes == pytest.approx(written)
    assert found.work_bytes == found.result_bytes
    assert found.pace.workers == 1


@pytest.mark.parametrize("change", [{"num_inference_steps": 7}, {"size": 128}])
def test_a_job_with_other_work_has_no_estimate(source, measured, change):
    assert estimate(prepare_job(request(source, **change)), measured) is None


@pytest.mark.parametrize("content", [None, b"", b"[1]", b'{"x": {"fps": "fast"}}'])
def test_without_a_readable_record_there_is_no_estimate(source, tmp_path, content):
    if content is not None:
        (tmp_path / "paces.json").write_bytes(content)
    assert estimate(prepare_job(request(source)), tmp_path) is None


def test_the_plan_says_that_time_and_disk_are_unknown(source, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    lines = "\n".join(describe(prepare_job(request(source))))
    assert "unknown until a job with these settings has run on this machine" in lines


def test_the_plan_states_time_and_disk_with_their_measurement(source, measured, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(measured.parent))
    measured.rename(measured.with_name("ip2p-batch"))
    lines = "\n".join(describe(prepare_job(request(source))))
    assert "images/s with 1 worker" in lines


def receipt(number, *, begun, seconds, load):
    return Receipt(
        chunk=f"1-{number:06d}",
        fingerprint="f",
        frames=10,
        digest="",
        worker=WorkerInfo(host="h", pid=number),
        seconds={"total": seconds, "load": load},
        finished=begun + seconds,
    )


def test_loading_counts_as_start_and_workers_that_run_side_by_side_count_once():
    chunks = tuple(
        ImageChunk(id=f"1-{n:06d}", wave=1, start=10 * n, stop=10 * n + 10) for n in (0, 1)
    )
    receipts = [receipt(n, begun=103.0, seconds=9.0, load=4.0) for n in (0, 1)]
    found = pace.measure(Plan(chunks=chunks), receipts, started=100.0)
    assert (found.fps, found.start_seconds, found.workers) == (4.0, 7.0, 2)
    assert pace.measure(Plan(chunks=chunks[:0]), receipts, started=100.0) is None


def test_a_short_job_is_not_recorded(source, tmp_path):
    for path in sorted(source.iterdir())[pace.MIN_FRAMES - 1 :]:
        path.unlink()
    folder = create_job(request(source, "out"), Settings.from_env())
    list(run_in_process(folder, IdentityEditor()))
    pace.record(folder, time.time() - 10, tmp_path)
    assert not list(tmp_path.glob("*.json"))


def test_free_space_is_that_of_the_next_folder_that_exists(tmp_path):
    assert pace.free_bytes(tmp_path / "a/b/c.mp4") > 0
