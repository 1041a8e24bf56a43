"""watch, pause, unpause, retry and jobs, as a user types them."""

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
from ip2p_batch.cli import control, run
from ip2p_batch.cli.app import app
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.jobs.records import Heartbeat, WorkerInfo
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .worker_processes import wait_for


def say(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def create(tmp_path, settings, name="catalog", pictures=3):
    source = tmp_path / name
    source.mkdir(exist_ok=True)
    for number in range(pictures):
        Pil.fromarray(np.full((64, 96, 3), number, np.uint8)).save(source / f"{number}.png")
    (source / "broken.jpg").write_bytes(b"not a picture")
    recipe = Recipe(instruction="invert", model="identity", size=64)
    request = scheduler.EditRequest(source=source, output=tmp_path / f"{name}-out", recipe=recipe)
    return scheduler.create_job(request, settings)


@pytest.fixture
def folder(tmp_path, settings):
    """A job of three pictures and a broken one, not begun."""
    return create(tmp_path, settings)


def finish(folder):
    executor = LocalExecutor(lambda _: IdentityEditor(lambda image: 255 - image))
    assert list(scheduler.follow_job(folder, executor))[-1].kind == "done"


def begin(folder):
    """As if a worker were at it."""
    worker = WorkerInfo(host="h", pid=1, device="cpu")
    folder.write_heartbeat(Heartbeat(chunk="1-000000", worker=worker, done=1, at=time.time()))


# -- watch ----------------------------------------------------------------------------------


def test_watch_follows_a_job_that_others_do_and_ends_as_edit_would(folder):
    thread = threading.Timer(1.0, finish, [folder])
    thread.start()
    done = say("watch", folder.path.name, "--json")
    thread.join()
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [e["kind"] for e in events]
    assert kinds[:2] == ["started", "progress"] and kinds[-1] == "done"
    assert "chunk" in kinds
    assert events[-1]["data"]["frames"] == 3
    assert done.exit_code == 1, "one picture failed"


def test_watch_needs_no_broker_and_does_nothing_to_the_job(folder):
    before = sorted(p.name for p in folder.path.iterdir())
    process = subprocess.Popen(
        [sys.executable, "-m", "ip2p_batch", "watch", folder.path.name, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert json.loads(process.stdout.readline())["kind"] == "started"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the job goes on" in errors
    assert sorted(p.name for p in folder.path.iterdir()) == before
    assert scheduler.read_status(folder).state == "waiting"


def test_watch_says_that_a_job_was_cancelled_or_that_it_failed(folder):
    scheduler.cancel(folder)
    done = say("watch", folder.path.name)
    assert done.exit_code == 7 and "was cancelled" in done.stderr
    assert f"resume {folder.path.name}" in done.stderr


def test_watch_tells_of_a_pause(folder):
    def orders():
        scheduler.pause(folder)
        time.sleep(1)
        scheduler.unpause(folder, None)
        finish(folder)

    thread = threading.Timer(0.5, orders)
    thread.start()
    done = say("watch", folder.path.name)
    thread.join()
    assert "paused; `ip2p-batch unpause" in done.stderr
    assert "going on" in done.stderr


def test_watch_without_a_job_takes_the_one_that_is_running(tmp_path, settings, folder):
    other = create(tmp_path, settings, "other")
    done = say("watch")
    assert done.exit_code == 7
    assert folder.path.name in done.stderr and other.path.name in done.stderr
    begin(other)
    thread = threading.Timer(0.5, finish, [other])
    thread.start()
    done = say("watch", "--json")
    thread.join()
    assert json.loads(done.stdout.splitlines()[0])["job"] == other.path.name


def test_watch_without_any_job_says_so_and_a_finished_job_is_told_at_once(folder):
    finish(folder)
    done = say("watch")
    assert done.exit_code == 7 and "No job is running" in done.stderr
    done = say("watch", folder.path.name)
    assert done.exit_code == 1 and "finished already" in done.stderr


def test_watch_warns_where_the_broker_is_not_there_and_looks_on(folder):
    scheduler.cancel(folder)
    done = say("watch", folder.path.name, "--broker", "redis+socket:///no/such.socket")
    assert done.exit_code == 7
    assert "warning:" in done.stderr and "was cancelled" in done.stderr


def test_a_job_that_nobody_is_at_is_told_of_once(folder, monkeypatch):
    monkeypatch.setenv("IP2P_HEARTBEAT_TIMEOUT", "0.5")
    thread = threading.Timer(4.0, scheduler.cancel, [folder])
    thread.start()
    done = say("watch", folder.path.name)
    thread.join()
    assert done.stderr.count("no worker is at this job") == 1


# -- pause and unpause ----------------------------------------------------------------------


def test_pause_and_unpause_say_what_they_did(folder, executor, redis):
    name = folder.path.name
    assert f"unpause {name}" in say("pause", name).stdout
    assert folder.paused
    assert "paused" in say("jobs").stdout
    assert f"ip2p-batch unpause {name}" in say("status", name).stdout
    done = say("unpause", name, "--broker", redis.url)
    assert done.exit_code == 0 and f"watch {name}" in done.stdout
    assert not folder.paused and executor.queue_length() == 1
    assert "not paused; it is waiting" in say("unpause", name).stdout


def test_unpause_leaves_a_job_to_its_follower_and_says_so_where_there_is_none(folder, monkeypatch):
    monkeypatch.setattr(control, "_TAKEN_UP_SECONDS", 0.3)
    scheduler.pause(folder)
    done = say("unpause", folder.path.name)
    assert done.exit_code == 6
    assert "nobody hands it to workers" in done.stderr
    assert not folder.paused


def test_a_job_that_is_paused_while_it_is_followed_goes_on_with_its_own_workers(folder):
    """As in two terminals: nobody has a broker but the command that follows."""
    scheduler.pause(folder)
    executor = LocalExecutor(lambda _: IdentityEditor())
    kinds = []
    for event in scheduler.watch_job(folder, executor):
        kinds.append(event.kind)
        if event.kind == "paused":
            thread = threading.Thread(target=say, args=("unpause", folder.path.name))
            thread.start()
    thread.join()
    assert kinds.index("paused") < kinds.index("unpaused") < kinds.index("chunk")
    assert kinds[-1] == "done"


def test_a_paused_job_that_is_resumed_or_cancelled_is_paused_no_more(folder):
    scheduler.pause(folder)
    finish(folder)  # as resume does
    assert scheduler.read_status(folder).state == "finished with failures"
    assert "nothing to pause" in say("pause", folder.path).stdout
    assert not folder.paused


def test_a_broker_that_is_not_there_leaves_the_pause_as_it_is(folder):
    scheduler.pause(folder)
    done = say("unpause", folder.path.name, "--broker", "redis+socket:///no/such.socket")
    assert done.exit_code == 6
    assert folder.paused


# -- retry ----------------------------------------------------------------------------------


def test_retry_does_again_what_failed_with_workers_of_its_own(tmp_path, folder, settings):
    finish(folder)
    name = folder.path.name
    assert f"ip2p-batch retry {name}" in say("status", name).stdout
    assert "`ip2p-batch retry` does again" in say("resume", name).stderr
    done = say("retry", name)
    assert done.exit_code == 1 and "nothing that could be done again" in done.stderr
    Pil.new("RGB", (96, 64)).save(tmp_path / "catalog" / "broken.jpg")
    done = say("retry", name, "--workers", "1", "--json")
    assert done.exit_code == 0, done.output
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["kind"], last["data"]["frames"]) == ("done", 4)


# -- priority -------------------------------------------------------------------------------


def test_a_priority_is_kept_in_the_job_and_changes_no_pixel(folder):
    before = folder.job()
    folder.set_priority("high")
    assert folder.job().priority == "high"
    assert folder.job().fingerprint() == before.fingerprint()
    assert " high " in say("jobs").stdout
    assert json.loads(say("jobs", "--json").stdout)["priority"] == "high"


def test_edit_and_resume_take_a_priority(tmp_path, settings, redis, executor, monkeypatch):
    monkeypatch.setattr(run, "ANSWER_SECONDS", 0.0)
    source = tmp_path / "a.png"
    Pil.new("RGB", (64, 64)).save(source)
    options = ["--model", "identity", "--broker", redis.url, "--detach"]
    done = say("edit", source, "x", "-o", tmp_path / "b.png", "--priority", "LOW", *options)
    assert done.exit_code == 0, done.output
    (folder,) = scheduler.list_jobs(settings)
    created = folder.created
    assert folder.job().priority == "low"
    done = say("resume", folder.path.name, "--priority", "high", *options[2:])
    assert done.exit_code == 0, done.output
    assert folder.job().priority == "high" and folder.created == created
    done = say("edit", source, "x", "-o", tmp_path / "b.png", "--priority", "urgent", *options)
    assert done.exit_code == 2 and "high, normal, low" in done.output


# -- jobs -----------------------------------------------------------------------------------


def test_jobs_lists_what_status_lists(folder):
    assert say("jobs").stdout.splitlines()[0] == say("status").stdout.splitlines()[0]
    assert say("jobs", "--json").stdout == say("status", "--json").stdout


def test_the_folders_of_jobs_finished_long_ago_are_deleted_and_no_others(
    tmp_path, folder, settings
):
    old, fresh = (create(tmp_path, settings, name) for name in ("old", "fresh"))
    for job in (old, fresh):
        finish(job)
    result = old.result()
    old.write_result(msgspec.structs.replace(result, finished=result.finished - 40 * 86400))
    done = say("jobs", "--clean", "30")
    assert done.exit_code == 0 and "1 job folder deleted." in done.stderr
    assert not old.path.exists() and fresh.exists() and folder.exists()
    assert (tmp_path / "old-out" / "0.png").exists()
    assert [job.path for job in scheduler.list_jobs(settings)] == [folder.path, fresh.path]


def test_a_cleaned_job_in_a_folder_of_its_own_leaves_no_link(tmp_path, settings):
    settings = settings.__class__.from_env(os.environ | {"IP2P_JOBS_DIR": str(tmp_path / "jobs")})
    folder = create(tmp_path, settings)
    finish(folder)
    link = settings.state / "jobs" / folder.path.name
    assert link.is_symlink()
    wait_for(lambda: say("jobs", "--clean", "0").exit_code == 0 and not folder.path.exists())
    assert not link.is_symlink()
