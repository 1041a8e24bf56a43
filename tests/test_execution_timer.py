"""Time by stage, and the watchdog of a chunk."""

import pytest

from ip2p_batch.execution.timeout import HangDetector, Watchdog
from ip2p_batch.execution.timer import StageTimer
from ip2p_batch.jobs.plan import ImageRun
from ip2p_batch.jobs.records import Receipt, WorkerInfo
from ip2p_batch.planning.cost import cost, planned_seconds

from .jobs import image_job
from .waiting import Clock


def test_stages_add_up_and_idle_is_the_time_without_work_for_the_editor():
    clock = Clock()
    timer = StageTimer(clock)
    for _ in range(2):
        with timer.stage("edit"):
            clock.now += 3.0
        with timer.stage("encode"):
            clock.now += 0.5
    clock.now += 1.0
    assert timer.seconds() == {"edit": 6.0, "encode": 1.0, "idle": 2.0, "total": 8.0}


def test_a_stage_that_fails_is_counted():
    clock = Clock()
    timer = StageTimer(clock)
    with pytest.raises(ValueError), timer.stage("decode"):
        clock.now += 1.0
        raise ValueError
    assert timer.seconds()["decode"] == 1.0


def test_waiting_for_items_is_counted_and_using_them_is_not():
    clock = Clock()
    timer = StageTimer(clock)

    def items():
        for number in range(3):
            clock.now += 1.0
            yield number

    for _ in timer.iterate(items(), "decode"):
        clock.now += 10.0
    assert timer.seconds()["decode"] == 3.0


def test_a_watchdog_reports_a_chunk_without_progress():
    clock, hangs = Clock(), []
    watchdog = Watchdog(clock)
    clock.now += 1e6
    watchdog.poll()  # not started
    watchdog.start(10.0, lambda: hangs.append(clock.now))
    for _ in range(3):
        clock.now += 9.0
        watchdog.poll()
        watchdog.restart()
    assert hangs == []
    clock.now += 11.0
    watchdog.poll()
    assert hangs == [clock.now]


def receipt_of(folder, chunk, seconds, device="gpu"):
    return Receipt(
        chunk=chunk.id, fingerprint=folder.job().fingerprint(), frames=len(chunk), digest="d",
        seconds={"total": seconds + 5.0, "load": 5.0}, finished=1.0,
        worker=WorkerInfo(host="h", pid=1, device=device),
    )  # fmt: skip


def test_without_a_measurement_a_chunk_may_take_what_the_slowest_machine_needs(tmp_path):
    folder = image_job(tmp_path, 2, model="tiny")
    job, plan = folder.job(), folder.plan()
    detector = HangDetector(lambda line: None, device="cuda", minimum=7.0)
    expected = 7.0 + planned_seconds(job, plan, plan.chunks[1], "cuda")
    assert detector.limit(folder, job, plan.chunks[1], device="gpu") == expected
    # Chunks of another device say nothing.
    folder.receipts.write(receipt_of(folder, plan.chunks[0], 100.0, device="another"))
    assert detector.limit(folder, job, plan.chunks[1], device="gpu") == expected


def test_a_chunk_may_take_twenty_times_as_long_as_the_slowest_one_measured(tmp_path):
    folder = image_job(tmp_path, 4, model="tiny")
    job, plan = folder.job(), folder.plan()
    folder.receipts.write(receipt_of(folder, plan.chunks[0], 100.0))
    detector = HangDetector(lambda line: None, device="cuda", minimum=7.0)
    assert detector.limit(folder, job, plan.chunks[1], device="gpu") == pytest.approx(2000.0)
    detector.observe(folder, job, plan.chunks[2], receipt_of(folder, plan.chunks[2], 150.0))
    detector.observe(folder, job, plan.chunks[2], receipt_of(folder, plan.chunks[2], 50.0))
    assert detector.limit(folder, job, plan.chunks[1], device="gpu") == pytest.approx(3000.0)
    assert cost(job, plan, plan.chunks[0]) == cost(job, plan, plan.chunks[1])


def test_a_chunk_whose_images_were_all_planned_again_measures_no_pace(tmp_path):
    folder = image_job(tmp_path, 4, model="tiny", each=2)
    job, plan = folder.job(), folder.plan()
    failed = {0: plan.chunks[0].id, 1: plan.chunks[0].id}
    plan = plan.with_retried(failed, [ImageRun(0, 2, (64, 64))], ())
    folder.write_plan(plan, folder.items())
    empty, _, again = plan.chunks
    folder.receipts.write(receipt_of(folder, empty, 100.0))
    detector = HangDetector(lambda line: None, device="cuda", minimum=7.0)
    planned = planned_seconds(job, plan, again, "cuda")
    assert detector.limit(folder, job, again, device="gpu") == pytest.approx(7.0 + planned)


def test_the_minimum_holds_for_fast_chunks(tmp_path):
    folder = image_job(tmp_path, 2, model="tiny")
    job, plan = folder.job(), folder.plan()
    folder.receipts.write(receipt_of(folder, plan.chunks[0], 0.001))
    detector = HangDetector(lambda line: None, device="cuda", minimum=7.0)
    assert detector.limit(folder, job, plan.chunks[1], device="gpu") == 7.0


def test_the_report_of_a_hang_names_chunk_job_and_limit(tmp_path):
    folder, clock, lines = image_job(tmp_path, 1), Clock(), []
    job, (chunk,) = folder.job(), folder.plan().chunks
    detector = HangDetector(lines.append, device="cuda", minimum=7.0)
    watchdog = Watchdog(clock)
    detector.watch(watchdog, folder, job, chunk, device="gpu")
    limit = detector.limit(folder, job, chunk, device="gpu")
    clock.now += limit + 1.0
    watchdog.poll()
    assert lines == [f"chunk {chunk.id} of {job.id} has made no progress for {limit:.0f} s"]
