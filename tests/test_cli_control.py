"""watch, pause, resume, retry and jobs, as a user types them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import msgspec
import numpy as np
import pytest
from PIL import Image as Pil
from typer.testing import CliRunner

from ip2p_batch import scheduler
from ip2p_batch.cli.app import app
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.records import Heartbeat, WorkerInfo
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.dispatch import lift_pause
from ip2p_batch.scheduler.local_executor import LocalExecutor
from ip2p_batch.storage.locks import Lock

from .waiting import wait_for


def run_cli(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def create(tmp_path, settings, name="catalog", pictures=3):
    source = tmp_path / name
    source.mkdir(exist_ok=True)
    for number in range(pictures):
        Pil.fromarray(np.full((64, 96, 3), number, np.uint8)).save(source / f"{number}.png")
    (source / "broken.jpg").write_bytes(b"not an image")
    recipe = Recipe(instruction="invert", model="identity", size=64)
    request = scheduler.EditRequest(source=source, output=tmp_path / f"{name}-out", recipe=recipe)
    return scheduler.create_job(request, settings)


@pytest.fixture
def folder(tmp_path, settings):
    """A job of three images and a broken one, that has not started."""
    return create(tmp_path, settings)


def finish(folder):
    executor = LocalExecutor(lambda _: IdentityEditor(lambda image: 255 - image))
    assert list(scheduler.follow_job(folder, executor))[-1].kind == "done"


def start(folder):
    """Make the job look as if a worker ran it."""
    worker = WorkerInfo(host="h", pid=1, device="cpu")
    folder.heartbeats.write(Heartbeat(chunk="1-000000", worker=worker, done=1, at=time.time()))


# -- watch ----------------------------------------------------------------------------------


def watch(*arguments):
    """Start `ip2p-batch watch` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "ip2p_batch", "watch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(stream, text):
    """Read lines from ``stream`` until one contains ``text``."""
    lines = []
    for line in stream:
        lines.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} is not in {lines}")


def test_watch_follows_a_job_of_other_workers_and_ends_like_edit(folder):
    process = watch(folder.path.name, "--json")
    first = process.stdout.readline()
    finish(folder)
    rest, _ = process.communicate(timeout=60)
    events = [json.loads(line) for line in (first + rest).splitlines()]
    kinds = [e["kind"] for e in events]
    # The first look may already find the chunk finished, so "progress" need not come second.
    assert kinds[0] == "started" and kinds[-1] == "done"
    assert {"progress", "chunk"} <= set(kinds)
    assert events[-1]["data"]["frames"] == 3
    assert process.returncode == 1, "one image failed"


def test_watch_needs_no_broker_and_does_not_change_the_job(folder):
    before = sorted(p.name for p in folder.path.iterdir())
    process = watch(folder.path.name, "--json")
    assert json.loads(process.stdout.readline())["kind"] == "started"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the job continues" in errors
    assert sorted(p.name for p in folder.path.iterdir()) == before
    assert scheduler.read_status(folder).state == "waiting"


def test_watch_reports_that_a_job_was_cancelled(folder):
    folder.cancel()
    done = run_cli("watch", folder.path.name)
    assert done.exit_code == 7 and "was cancelled" in done.stderr
    assert f"resume {folder.path.name}" in done.stderr


def test_watch_reports_a_pause_and_its_end(folder):
    folder.pause()
    process = watch(folder.path.name)
    read_until(process.stderr, "paused; continue with `ip2p-batch resume")
    lift_pause(folder)
    read_until(process.stderr, "resumed")
    finish(folder)
    process.communicate(timeout=60)
    assert process.returncode == 1, "one image failed"


def test_watch_without_a_job_follows_the_running_one(tmp_path, settings, folder):
    other = create(tmp_path, settings, "other")
    done = run_cli("watch")
    assert done.exit_code == 7
    assert folder.path.name in done.stderr and other.path.name in done.stderr
    start(other)
    process = watch("--json")
    assert json.loads(process.stdout.readline())["job"] == other.path.name
    finish(other)
    process.communicate(timeout=60)
    assert process.returncode == 1, "one image failed"


def test_watch_without_any_job_is_an_error_and_a_finished_job_is_reported_at_once(folder):
    finish(folder)
    done = run_cli("watch")
    assert done.exit_code == 7 and "No job is running" in done.stderr
    done = run_cli("watch", folder.path.name)
    assert done.exit_code == 1 and "is finished." in done.stderr


def test_watch_warns_if_the_broker_cannot_be_reached_and_continues(folder):
    folder.cancel()
    done = run_cli("watch", folder.path.name, "--broker", "redis+socket:///no/such.socket")
    assert done.exit_code == 7
    assert "warning:" in done.stderr and "was cancelled" in done.stderr


def test_a_job_without_workers_is_reported_once(folder, monkeypatch):
    monkeypatch.setenv("IP2P_HEARTBEAT_TIMEOUT", "0.5")
    thread = threading.Timer(4.0, folder.cancel)
    thread.start()
    done = run_cli("watch", folder.path.name)
    thread.join()
    assert done.stderr.count("no worker is processing this job") == 1


# -- pause and resume -----------------------------------------------------------------------


def test_pause_names_resume_as_the_command_that_continues(folder, executor, redis):
    name = folder.path.name
    assert f"`ip2p-batch resume {name}`" in run_cli("pause", name).stdout
    assert folder.paused
    assert "paused" in run_cli("jobs").stdout
    assert f"ip2p-batch resume {name}" in run_cli("status", name).stdout
    done = run_cli("resume", name, "--broker", redis.url, "--detach")
    assert done.exit_code == 0 and f"watch {name}" in done.stderr
    assert not folder.paused and executor.queue_length() == 1


def test_resume_of_a_paused_job_that_a_command_follows_lifts_the_pause_and_watches(folder):
    """As in two terminals: only the command that follows the job has workers."""
    folder.pause()
    executor = LocalExecutor(lambda _: IdentityEditor())
    kinds, resumed = [], []
    for event in scheduler.watch_job(folder, executor):
        kinds.append(event.kind)
        if event.kind == "paused":
            thread = threading.Thread(
                target=lambda: resumed.append(run_cli("resume", folder.path.name, "--json"))
            )
            thread.start()
    thread.join()
    assert kinds.index("paused") < kinds.index("resumed") < kinds.index("chunk")
    assert kinds[-1] == "done"
    assert resumed[0].exit_code == 1, "one image failed"
    assert json.loads(resumed[0].stdout.splitlines()[-1])["kind"] == "done"
    assert not (folder.path / "workers.log").exists(), "resume started no workers"


def test_a_pause_is_lifted_only_where_a_leader_continues_the_job(folder):
    folder.pause()
    assert not scheduler.continue_paused(folder)
    assert folder.paused
    with folder.locked("leader.lock"):
        assert scheduler.continue_paused(folder)
    assert not folder.paused


def test_on_a_share_without_locks_a_leader_shows_by_dispatching(folder, monkeypatch):
    monkeypatch.setattr(JobFolder, "lock_state", lambda *_: Lock.UNSUPPORTED)
    folder.pause()
    assert not scheduler.continue_paused(folder, wait_seconds=0.0)
    folder.pause()
    leader = threading.Thread(target=_dispatch_when_resumed, args=[folder])
    leader.start()
    assert scheduler.continue_paused(folder, wait_seconds=60.0)
    leader.join()


def _dispatch_when_resumed(folder):
    wait_for(lambda: not folder.paused)
    folder.mark_once("inflight/wave.json")


def test_a_job_that_is_resumed_is_no_longer_paused(folder):
    folder.pause()
    finish(folder)  # as resume does
    assert scheduler.read_status(folder).state == "finished with failures"
    assert "nothing to pause" in run_cli("pause", folder.path).stdout
    assert not folder.paused


def test_a_broker_that_cannot_be_reached_leaves_the_job_paused(folder):
    folder.pause()
    done = run_cli("resume", folder.path.name, "--broker", "redis+socket:///no/such.socket")
    assert done.exit_code == 6
    assert folder.paused


# -- retry ----------------------------------------------------------------------------------


def test_retry_edits_what_failed_again_with_local_workers(tmp_path, folder, settings):
    finish(folder)
    name = folder.path.name
    assert f"ip2p-batch retry {name}" in run_cli("status", name).stdout
    assert "with `ip2p-batch retry`" in run_cli("resume", name).stderr
    done = run_cli("retry", name)
    assert done.exit_code == 1 and "no failed images can be retried" in done.stderr
    Pil.new("RGB", (96, 64)).save(tmp_path / "catalog" / "broken.jpg")
    done = run_cli("retry", name, "--workers", "1", "--json")
    assert done.exit_code == 0, done.output
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["kind"], last["data"]["frames"]) == ("done", 4)


# -- priority -------------------------------------------------------------------------------


def test_a_priority_is_stored_in_the_job_and_changes_no_pixel(folder):
    before = folder.job()
    folder.set_priority("high")
    assert folder.job().priority == "high"
    assert folder.job().fingerprint() == before.fingerprint()
    assert " high " in run_cli("jobs").stdout
    assert json.loads(run_cli("jobs", "--json").stdout)["priority"] == "high"


def test_edit_and_resume_take_a_priority(tmp_path, settings, redis, executor):
    source = tmp_path / "a.png"
    Pil.new("RGB", (64, 64)).save(source)
    options = ["--model", "identity", "--broker", redis.url, "--detach"]
    done = run_cli("edit", source, "x", "-o", tmp_path / "b.png", "--priority", "LOW", *options)
    assert done.exit_code == 0, done.output
    (folder,) = scheduler.list_jobs(settings)
    created = folder.created
    assert folder.job().priority == "low"
    done = run_cli("resume", folder.path.name, "--priority", "high", *options[2:])
    assert done.exit_code == 0, done.output
    assert folder.job().priority == "high" and folder.created == created
    done = run_cli("edit", source, "x", "-o", tmp_path / "b.png", "--priority", "urgent", *options)
    assert done.exit_code == 2 and "high, normal, low" in done.output


# -- jobs -----------------------------------------------------------------------------------


def test_jobs_lists_what_status_lists(folder):
    assert run_cli("jobs").stdout.splitlines()[0] == run_cli("status").stdout.splitlines()[0]
    assert run_cli("jobs", "--json").stdout == run_cli("status", "--json").stdout


def test_clean_deletes_the_folders_of_jobs_that_finished_long_ago_and_no_others(
    tmp_path, folder, settings
):
    old, fresh = (create(tmp_path, settings, name) for name in ("old", "fresh"))
    for job in (old, fresh):
        finish(job)
    result = old.result()
    old.write_result(msgspec.structs.replace(result, finished=result.finished - 40 * 86400))
    done = run_cli("jobs", "--clean", "30")
    assert done.exit_code == 0 and "1 job folder deleted." in done.stderr
    assert not old.path.exists() and fresh.exists() and folder.exists()
    assert (tmp_path / "old-out" / "0.png").exists()
    assert [job.path for job in scheduler.list_jobs(settings)] == [folder.path, fresh.path]


def test_clean_removes_the_link_to_a_job_in_another_folder(tmp_path, settings):
    settings = settings.__class__.from_env(os.environ | {"IP2P_JOBS_DIR": str(tmp_path / "jobs")})
    folder = create(tmp_path, settings)
    finish(folder)
    link = settings.state / "jobs" / folder.path.name
    assert link.is_symlink()
    wait_for(lambda: run_cli("jobs", "--clean", "0").exit_code == 0 and not folder.path.exists())
    assert not link.is_symlink()
