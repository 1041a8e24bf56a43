"""The retry loop that local runs and Celery workers share."""

import pytest

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import (
    ChunkTaken,
    EditError,
    IncompatibleWorker,
    IncompleteJob,
    JobCancelled,
    JobError,
)
from ip2p_batch.execution.attempt import MAX_ATTEMPTS, run_attempts
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .jobs import image_job


class Loop:
    """A run of the loop over work that raises the given errors in turn and then succeeds."""

    def __init__(self, *errors):
        self.left = list(errors)
        self.retries, self.failures, self.delays = [], [], []

    def work(self):
        if self.left:
            raise self.left.pop(0)

    def __call__(self):
        return run_attempts(
            self.work,
            on_failure=lambda error, attempt: self.failures.append((error, attempt)),
            on_retry=lambda error, attempt: self.retries.append((error, attempt)),
            sleep=self.delays.append,
        )


@pytest.mark.parametrize("error", [EditError("busy"), RuntimeError("unforeseen"), MemoryError()])
def test_a_transient_or_unforeseen_error_is_retried(error):
    loop = Loop(error)
    assert loop() is True
    assert loop.retries == [(error, 1)] and loop.failures == []
    assert len(loop.delays) == 1


def test_after_the_last_attempt_the_failure_is_recorded_once():
    errors = [RuntimeError(str(n)) for n in range(MAX_ATTEMPTS + 1)]
    loop = Loop(*errors)
    assert loop() is True
    assert loop.failures == [(errors[MAX_ATTEMPTS - 1], MAX_ATTEMPTS)]
    assert loop.retries == [(errors[n - 1], n) for n in range(1, MAX_ATTEMPTS)]
    assert loop.delays == sorted(loop.delays) and len(loop.delays) == MAX_ATTEMPTS - 1


def test_an_error_that_no_retry_can_fix_fails_at_once():
    error = JobError("damaged")
    loop = Loop(error)
    assert loop() is True
    assert loop.failures == [(error, 1)] and loop.delays == []


@pytest.mark.parametrize(
    "error",
    [
        ChunkTaken("x"),
        IncompleteJob("x", chunks=["1"]),
        IncompatibleWorker("x", mismatches=["device"]),
    ],
)
def test_an_error_for_the_caller_is_raised_and_is_no_failure(error):
    loop = Loop(error)
    with pytest.raises(type(error)):
        loop()
    assert loop.failures == loop.retries == loop.delays == []


def test_a_cancelled_job_ends_the_attempts_without_a_failure():
    loop = Loop(RuntimeError("first"), JobCancelled("stop"))
    assert loop() is False
    assert loop.failures == []


@pytest.mark.parametrize("raises", [ZeroDivisionError("division by zero\nat 3"), KeyError("x")])
def test_a_local_run_records_an_unforeseen_error_as_the_failure_of_its_chunk(tmp_path, raises):
    job = image_job(tmp_path, 1)
    calls = []

    def fail(image):
        calls.append(1)
        raise raises

    events = list(scheduler.follow_job(job, LocalExecutor(lambda _: IdentityEditor(fail))))
    (failure,) = job.failures.all()
    assert events[-1].kind == "failed"
    assert (failure.error, failure.attempts) == (type(raises).__name__, MAX_ATTEMPTS)
    assert failure.message.startswith(type(raises).__name__) and "\n" not in failure.message
    assert len(calls) == MAX_ATTEMPTS


def test_a_local_run_retries_an_unforeseen_error(tmp_path):
    job = image_job(tmp_path, 1)
    calls = []

    def fail_once(image):
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError
        return image

    events = list(scheduler.follow_job(job, LocalExecutor(lambda _: IdentityEditor(fail_once))))
    assert events[-1].kind == "done" and list(job.failures.all()) == []
