"""The log of real workers traces each chunk through its states."""

import re
import subprocess
import sys

import pytest

from ip2p_batch import scheduler
from ip2p_batch.jobs.plan import ASSEMBLY

from .jobs import image_job
from .waiting import wait_for
from .worker_processes import run_launcher, worker_env


def trace(log, job, chunk_id):
    """Facts of each line about a chunk, in order, with the logger's name."""
    facts = []
    for line in log.read_text().splitlines():
        if f"chunk={chunk_id} job={job.path.name} " in line:
            (logger,) = re.findall(r"((?:ip2p_batch|workers)\.[a-z_.]+)", line)[:1]
            pairs = dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', line))
            facts.append({"logger": logger, **pairs})
    return facts


def states(facts):
    return [line["state"] for line in facts]


@pytest.fixture
def run(tmp_path, redis, executor):
    """Run a job on a real worker until ``condition(job)``; returns the worker's log."""

    def run_until(job, condition, **env):
        log = tmp_path / "log"
        with run_launcher(redis.url, log, **env):
            scheduler.dispatch_next(job, executor)
            wait_for(lambda: condition(job), 90)
            wait_for(lambda: executor.queue_length() == 0)
        return log

    return run_until


def test_one_chunk_can_be_searched_in_the_log_from_message_to_receipt(tmp_path, run):
    job = image_job(tmp_path, 4, each=2)
    log = run(job, lambda job: job.result(), IP2P_LOG_LEVEL="DEBUG")
    for chunk_id in ("1-000000", "1-000002"):
        facts = trace(log, job, chunk_id)
        assert states(facts) == [
            "received", "leased", "batch-edited", "files-written", "receipt-written",
        ]  # fmt: skip
        assert [line["logger"] for line in facts] == [
            "workers.tasks",
            "ip2p_batch.execution.chunk_run",
            "ip2p_batch.execution.images",
            "ip2p_batch.execution.chunk",
            "ip2p_batch.execution.chunk",
        ]
        assert facts[1]["attempt"] == "1" and facts[2]["frames"] == "2"
    assert states(trace(log, job, ASSEMBLY))[-3:] == ["received", "leased", "assembled"]


def test_retries_and_the_failure_of_a_chunk_are_in_its_trace(tmp_path, run):
    job = image_job(tmp_path, 1)
    (job.path / "items.jsonl").unlink()
    log = run(job, lambda job: list(job.failures.all()), IP2P_LOG_LEVEL="debug")
    facts = trace(log, job, "1-000000")
    assert states(facts) == [
        "received", "leased", "retrying", "leased", "retrying", "leased", "failed",
    ]  # fmt: skip
    assert facts[2]["error"] == "FileNotFoundError"
    assert facts[-1]["attempts"] == "3" and "items.jsonl" in facts[-1]["message"]


def test_a_frame_that_crashes_its_worker_is_in_the_trace(tmp_path, run):
    job = image_job(tmp_path, 1, model="identity:crash=0")
    log = run(job, lambda job: job.result(), IP2P_LOG_LEVEL="DEBUG")
    facts = trace(log, job, "1-000000")
    assert [line["frame"] for line in facts if line["state"] == "poisoned"] == ["0"]
    attempts = [line["attempt"] for line in facts if line["state"] == "leased"]
    assert attempts == [str(n) for n in range(1, len(attempts) + 1)]
    assert states(facts)[-1] == "receipt-written"


def test_without_the_variable_no_state_change_is_logged(tmp_path, run):
    job = image_job(tmp_path, 1)
    log = run(job, lambda job: job.result())
    assert "state=" not in log.read_text()


def test_a_command_logs_the_chunks_that_it_dispatches(tmp_path, redis):
    job = image_job(tmp_path, 2)
    output, jobs = tmp_path / "results", tmp_path / "jobs"
    command = ["edit", job.job().source.path, "x", "-o", str(output), "--model", "identity"]
    env = {"IP2P_LOG_LEVEL": "DEBUG", "IP2P_JOBS_DIR": str(jobs), "XDG_STATE_HOME": str(jobs)}
    done = subprocess.run(
        [sys.executable, "-m", "ip2p_batch", *command, "--size", "64", "--detach"],
        env=worker_env(redis.url, **env),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "ip2p_batch.scheduler.inflight: chunk=1-000000 job=" in done.stderr
    assert "state=dispatched" in done.stderr


def test_a_command_refuses_an_unknown_level(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ip2p_batch", "jobs"],
        env={**worker_env(""), "IP2P_LOG_LEVEL": "loud", "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0 and "IP2P_LOG_LEVEL is 'loud'" in done.stderr
    assert "Traceback" not in done.stderr
