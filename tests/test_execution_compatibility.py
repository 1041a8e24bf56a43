"""All chunks of a job are edited with one compute profile, unless the user allows others."""

import threading

import msgspec
import pytest
import torch

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.editing.pix2pix import Pix2PixEditor
from ip2p_batch.execution.chunk import process_chunk
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.records import ComputeProfile, WorkerInfo
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .jobs import image_job
from .tiny_pipelines import editor as full_editor
from .tiny_pipelines import pipeline

PROFILE = ComputeProfile(model="m", torch="t", diffusers="d", device="H100", dtype="float16")


def float32_executor():
    return LocalExecutor(lambda _: full_editor())


@pytest.fixture(scope="module")
def bfloat16_editor():
    return Pix2PixEditor(pipeline(), device="cpu", dtype=torch.bfloat16)


@pytest.fixture
def bfloat16_executor(bfloat16_editor):
    return LocalExecutor(lambda _: bfloat16_editor)


def started_job(tmp_path, chunks=2):
    """A job whose first chunk was edited in float32."""
    job = image_job(tmp_path, chunks)
    for event in scheduler.follow_job(job, float32_executor()):
        if event.kind == "chunk":
            break
    assert len(job.receipts.ids()) == 1
    return job


def test_an_incompatible_worker_is_refused_with_both_ways_to_continue(tmp_path, bfloat16_executor):
    job = started_job(tmp_path)
    event = list(scheduler.follow_job(job, bfloat16_executor))[-1]
    assert event.kind == "failed" and event.data["error"] == "IncompatibleWorker"
    assert "precision bfloat16 instead of float32" in event.message
    assert "ip2p-batch resume catalog --allow-mixed-hardware" in event.data["hint"]
    assert len(job.receipts.ids()) == 1
    # Workers like the first one may continue at any time.
    assert list(scheduler.follow_job(job, float32_executor()))[-1].kind == "done"
    assert {r.worker.compute_profile for r in job.receipts.all()} == {full_editor().compute_profile}
    assert scheduler.read_result(job).warnings == ()


def test_with_mixed_hardware_receipts_and_summary_name_the_differences(tmp_path, bfloat16_executor):
    job = started_job(tmp_path)
    job.permit_mixed_hardware()
    assert list(scheduler.follow_job(job, bfloat16_executor))[-1].kind == "done"
    first, second = job.receipts.all()
    assert first.mismatches == () and second.mismatches[0].startswith("precision bfloat16")
    assert second.worker.compute_profile.dtype == "bfloat16"
    assert second.worker.model == second.worker.compute_profile.model
    (line,) = scheduler.read_result(job).warnings
    assert line.startswith("1 image was edited on other hardware: precision bfloat16")
    status = scheduler.read_status(job)
    assert status.compute_profile == full_editor().compute_profile


def test_a_job_without_finished_chunks_takes_the_profile_of_any_worker(tmp_path, bfloat16_executor):
    job = image_job(tmp_path, 1)
    job.hardware.fix_profile(PROFILE)  # by a worker that died at its first chunk
    assert list(scheduler.follow_job(job, bfloat16_executor))[-1].kind == "done"
    assert job.hardware.profile().dtype == "bfloat16"


def test_a_chunk_gets_no_receipt_where_the_jobs_profile_changed_meanwhile(tmp_path):
    job = image_job(tmp_path, 1)
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32)

    def meanwhile(module, arguments):
        job.hardware.clear()
        job.hardware.fix_profile(PROFILE)

    owner.pipe.vae.decoder.register_forward_pre_hook(meanwhile)
    event = list(scheduler.follow_job(job, LocalExecutor(lambda _: owner)))[-1]
    assert event.data["error"] == "IncompatibleWorker"
    assert job.receipts.ids() == set()


def test_an_editor_without_a_model_is_compatible_with_every_job(tmp_path):
    job = image_job(tmp_path, 1)
    job.hardware.fix_profile(PROFILE)
    (chunk,) = job.plan().chunks
    worker = WorkerInfo(host="h", pid=1)
    receipt = process_chunk(job, chunk, editor_for=lambda _: IdentityEditor(), worker=worker)
    assert receipt.worker.compute_profile is None and receipt.mismatches == ()


def test_of_many_workers_that_start_at_once_one_fixes_the_profile(tmp_path):
    profiles, start = [], threading.Barrier(8)

    def begin(number):
        start.wait()
        profile = msgspec.structs.replace(PROFILE, threads=number)
        profiles.append(JobFolder(tmp_path / "job").hardware.fix_profile(profile))

    image_job(tmp_path, 1)
    threads = [threading.Thread(target=begin, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(profiles)) == 1 and len(profiles) == 8
    assert [p.name for p in (tmp_path / "job").glob("*profile*")] == ["compute-profile.json"]


def test_the_same_request_again_may_allow_mixed_hardware(tmp_path, settings):
    recipe = image_job(tmp_path, 2).job().recipe
    request = scheduler.EditRequest(source=tmp_path / "in", recipe=recipe, output=tmp_path / "o")
    first = scheduler.create_job(request, settings)
    assert not first.job().allow_mixed_hardware
    allowed = scheduler.create_job(
        msgspec.structs.replace(request, allow_mixed_hardware=True), settings
    )
    assert allowed.path == first.path and allowed.job().allow_mixed_hardware
    again = scheduler.create_job(request, settings)
    assert again.job().allow_mixed_hardware  # a later request does not take it back
    assert again.job().fingerprint() == first.job().fingerprint()
