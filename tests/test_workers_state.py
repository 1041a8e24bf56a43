"""The state of a worker process, without a worker process."""

import os
import platform

import pytest

from ip2p_batch.errors import IncompatibleWorker, JobError, OutsideRoots
from ip2p_batch.jobs.records import ComputeProfile, Receipt, WorkerInfo
from ip2p_batch.storage.roots import Roots
from workers.compatibility import RefusedJobs
from workers.job_folders import JobFolders

from .jobs import image_job


class Clock:
    """A clock that sleeping advances; calls ``on_sleep`` with the time."""

    def __init__(self, on_sleep=lambda now: None):
        self.now = 0.0
        self.on_sleep = on_sleep

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.on_sleep(self.now)


def job_folders(clock, roots=""):
    return JobFolders(Roots.parse(roots), clock=clock, sleep=clock.sleep)


def test_a_job_folder_that_appears_late_is_opened(tmp_path):
    job = image_job(tmp_path, 1)
    fingerprint, aside = job.job().fingerprint(), tmp_path / "aside"
    job.path.rename(aside)

    def appear(now):
        if now > 2.0 and aside.exists():
            aside.rename(job.path)

    clock = Clock(appear)
    folder = job_folders(clock).open(str(job.path), fingerprint)
    assert folder is not None and folder.path == job.path
    assert 2.0 < clock.now < 5.0


def test_a_missing_job_folder_is_waited_for_once_a_minute(tmp_path):
    clock = Clock()
    folders = job_folders(clock)

    def waited():
        start = clock.now
        assert folders.open(str(tmp_path / "missing"), "f") is None
        return clock.now - start

    assert waited() == pytest.approx(5.0)
    assert waited() == 0.0
    clock.now += 50.0
    assert waited() == 0.0
    clock.now += 20.0
    assert waited() == pytest.approx(5.0)


def test_a_folder_with_another_job_is_refused(tmp_path):
    with pytest.raises(JobError, match="another job"):
        job_folders(Clock()).open(str(image_job(tmp_path, 1).path), "0" * 64)


def test_a_folder_outside_the_roots_is_refused_without_a_look_at_the_disk(tmp_path):
    clock = Clock()
    with pytest.raises(OutsideRoots):
        job_folders(clock, str(tmp_path / "a")).open(str(tmp_path / "b" / "job"), "f")
    assert clock.now == 0.0


# -- incompatible jobs ----------------------------------------------------------------------


class Workers:
    """The workers that answer a ping."""

    def __init__(self, *names):
        self.names = names

    def workers(self, timeout):
        return list(self.names)


def profile(device):
    return ComputeProfile(model="m", torch="t", diffusers="d", device=device, dtype="float16")


ERROR = IncompatibleWorker("differs", mismatches=("device A instead of B",))


@pytest.fixture
def refused(tmp_path, worker):
    """A job of three chunks, begun elsewhere, and a call that refuses one of its chunks."""
    job = image_job(tmp_path, 3)
    job.hardware.fix_profile(profile("B"))
    clock = Clock()
    jobs = RefusedJobs(sleep=clock.sleep)
    fingerprint = job.job().fingerprint()

    def pass_on(number, workers):
        chunk = job.plan().chunks[number]
        return jobs.pass_on(
            job, fingerprint, chunk, ERROR, node="me", worker=worker, executor=workers
        )

    return job, jobs, clock, pass_on


@pytest.fixture
def worker():
    return WorkerInfo(host=platform.node(), pid=os.getpid())


def test_a_refused_job_is_refused_again_until_its_profile_changes(refused):
    job, jobs, _, pass_on = refused
    fingerprint = job.job().fingerprint()
    jobs.check(job, fingerprint)
    assert pass_on(0, Workers("me", "other"))
    with pytest.raises(IncompatibleWorker):
        jobs.check(job, fingerprint)
    job.hardware.clear()
    job.hardware.fix_profile(profile("C"))
    jobs.check(job, fingerprint)


def test_a_refused_job_is_not_refused_once_mixed_hardware_is_allowed(refused):
    job, jobs, _, pass_on = refused
    assert pass_on(0, Workers("me", "other"))
    job.permit_mixed_hardware()
    jobs.check(job, job.job().fingerprint())


def test_the_delay_grows_with_each_round_through_the_messages(refused):
    _, _, clock, pass_on = refused
    delays = []
    for _ in range(4):
        for number in range(3):
            before = clock.now
            assert pass_on(number, Workers("me", "other"))
            delays.append(clock.now - before)
    assert [d for d in delays if d] == sorted(d for d in delays if d)
    assert delays[:3] == [1.0, 0.0, 0.0] and delays[3] > 1.0


def test_a_job_that_every_worker_refused_fails(refused, worker):
    job, _, _, pass_on = refused
    done = job.plan().chunks[2].id
    fingerprint = job.job().fingerprint()
    job.receipts.write(
        Receipt(
            chunk=done, fingerprint=fingerprint, frames=1, digest="d", worker=worker, finished=1.0
        )
    )
    assert pass_on(0, Workers("me"))
    assert pass_on(0, Workers("me"))
    assert not pass_on(0, Workers("me"))
    assert sorted(f.chunk for f in job.failures.all()) == ["1-000000", "1-000001"]


def test_a_job_without_finished_chunks_starts_again_with_any_worker(refused):
    job, _, _, pass_on = refused
    for _ in range(3):
        assert pass_on(0, Workers("me"))
    assert job.hardware.profile() is None and not list(job.failures.all())
