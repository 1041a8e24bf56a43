"""One job at a time writes an output; stopped ones are superseded and leave no files behind."""

import dataclasses
import os
import signal

import pytest
from typer.testing import CliRunner

from ip2p_batch import scheduler
from ip2p_batch.cli.app import app
from ip2p_batch.errors import JobError, OutputError
from ip2p_batch.jobs.activity import LEADER_LOCK, is_active, mark_on_broker, unclaim
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.status import read_status
from ip2p_batch.recipe import Recipe
from ip2p_batch.storage.atomic import _new_part, atomic_path

from .clips import make
from .pictures import save
from .test_cli_edit import SLOW, run, start
from .test_execution_publication import follow
from .waiting import wait_for


@pytest.fixture
def images(tmp_path):
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png")
    return tmp_path / "in"


def create(source, output, settings, instruction="make it snow", **options):
    recipe = Recipe(instruction=instruction, model="identity", size=64)
    request = scheduler.EditRequest(source=source, output=output, recipe=recipe, **options)
    return scheduler.create_job(request, settings)


def test_a_running_job_keeps_another_one_from_its_output(images, tmp_path, settings):
    first = create(images, tmp_path / "out", settings)
    with first.locked(LEADER_LOCK), pytest.raises(OutputError) as caught:
        create(images, tmp_path / "in" / ".." / "out", settings, "make it night")
    assert first.path.name in caught.value.message + caught.value.hint
    assert read_status(first).state == "waiting" and len(scheduler.list_jobs(settings)) == 1
    assert create(images, tmp_path / "out", settings).path == first.path  # the same job again


def test_jobs_without_common_results_share_a_folder(images, tmp_path, settings):
    other = tmp_path / "other"
    save(other / "x.png")
    first = create(images, tmp_path / "out", settings)
    with first.locked(LEADER_LOCK):
        second = create(other, tmp_path / "out", settings)
    assert first.superseded is None and second.superseded is None


def test_a_stopped_job_is_superseded_and_not_continued(images, tmp_path, settings):
    first = create(images, tmp_path / "out", settings)
    second = create(images, tmp_path / "out", settings, "make it night")
    assert read_status(first).state == "superseded"
    assert read_status(first).superseded_by == second.path.name
    follow(second)
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    with pytest.raises(JobError, match=second.path.name):
        follow(first)
    with pytest.raises(JobError, match="superseded"):
        scheduler.retry_job(first)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_superseded_jobs_and_single_jobs_are_deleted_on_request(images, tmp_path, settings):
    first = create(images, tmp_path / "out", settings)
    second = create(images, tmp_path / "out", settings, "make it night")
    result = CliRunner().invoke(app, ["jobs", "--clean", "0"])
    assert result.exit_code == 0 and not first.path.exists() and second.path.exists()
    with second.locked(LEADER_LOCK):
        result = CliRunner().invoke(app, ["jobs", "--drop", second.path.name])
        assert result.exit_code == 7 and second.path.exists()
    result = CliRunner().invoke(app, ["jobs", "--drop", second.path.name])
    assert result.exit_code == 0 and scheduler.list_jobs(settings) == []


def test_a_job_in_the_queue_of_a_broker_holds_its_output_until_it_is_cancelled(
    images, tmp_path, settings
):
    first = create(images, tmp_path / "out", settings)
    unclaim(first)
    assert not is_active(first)
    mark_on_broker(first, on_broker=True)
    with pytest.raises(OutputError, match=first.path.name):
        create(images, tmp_path / "out", settings, "make it night")
    first.cancel()
    create(images, tmp_path / "out", settings, "make it night")
    assert first.superseded is not None


def test_the_next_run_deletes_the_hidden_files_of_a_killed_one(images, tmp_path, settings):
    out = tmp_path / "out"
    out.mkdir()
    with atomic_path(out / "1.png") as part:
        left = out / part.name
        left.write_bytes(b"half")
        saved = left.read_bytes()
    left.write_bytes(saved)
    (out / "1.png").unlink()
    (out / ".ip2p-of-another-program.part").touch()
    create(images, out, settings)
    assert os.listdir(out) == [".ip2p-of-another-program.part"]


def jobs_of(state):
    return state / "ip2p-batch" / "jobs"


@pytest.mark.slow
def test_commands_with_different_instructions_on_one_output(images, tmp_path):
    """The second is refused while the first runs, and takes over once that one is killed."""
    out, state = tmp_path / "out", tmp_path / "state"
    env = {**os.environ, "XDG_STATE_HOME": str(state), "IP2P_HEARTBEAT_TIMEOUT": "600"}
    slow = ["-m", "identity:slow=300", *SLOW[2:], "--workers", "1", "-o", out]
    first = start("edit", images, "make it night", *slow, env=env, start_new_session=True)
    wait_for(lambda: list(jobs_of(state).glob("*/heartbeats/*.json")))
    (job,) = jobs_of(state).iterdir()
    code, _, err = run("edit", images, "make it snow", *SLOW, "-o", out, env=env)
    assert code == 4 and job.name in err and "cancel" in err
    assert first.poll() is None
    os.kill(first.pid, signal.SIGKILL)  # its workers end with it; its heartbeat seems fresh
    first.communicate()
    code, _, err = run("edit", images, "make it snow", *SLOW, "-o", out, env=env)
    assert code == 0, err
    assert read_status(JobFolder(job)).state == "superseded"
    assert sorted(os.listdir(out)) == ["0.png", "1.png", "2.png"]
    code, _, err = run("resume", job.name, "--workers", "1", env=env)
    assert code == 7 and "superseded" in err


@pytest.mark.slow
def test_of_two_commands_started_at_once_on_one_output_one_is_refused(tmp_path):
    source, out, state = make(tmp_path / "c.mkv", 12), tmp_path / "o.mkv", tmp_path / "state"
    env = {**os.environ, "XDG_STATE_HOME": str(state)}
    commands = [
        start("edit", source, text, *SLOW, "--workers", "1", "-o", out, env=env)
        for text in ("make it snow", "make it night")
    ]
    errors = [command.communicate(timeout=250)[1] for command in commands]
    codes = [command.returncode for command in commands]
    assert sorted(codes) == [0, 4], errors
    assert str(out) in errors[codes.index(4)] and "hint:" in errors[codes.index(4)]


@pytest.mark.slow
def test_a_job_waits_right_after_it_was_stopped_and_leaves_no_hidden_files(images, tmp_path):
    out, state = tmp_path / "out", tmp_path / "state"
    env = {**os.environ, "XDG_STATE_HOME": str(state), "IP2P_HEARTBEAT_TIMEOUT": "600"}
    slow = ["-m", "identity:slow=2", *SLOW[2:], "--workers", "1", "-o", out]
    command = start("edit", images, "make it night", *slow, env=env)
    wait_for(lambda: list(jobs_of(state).glob("*/job.json")))
    (job,) = map(JobFolder, jobs_of(state).iterdir())
    wait_for(lambda: read_status(job).state == "running")
    part = _new_part(out / "0.png", parents=True)  # as a worker that is killed while it writes
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=250)
    assert command.returncode == 130, err
    status = read_status(job)
    assert (status.state, status.fps, status.eta, status.workers) == ("waiting", 0.0, None, ())
    assert not part.exists()
    assert not [name for name in os.listdir(out) if name.startswith(".")]


def test_a_folder_of_jobs_that_cannot_be_written_is_named_with_the_variable_to_set(
    images, tmp_path, settings
):
    (tmp_path / "state").write_text("a file")
    nowhere = dataclasses.replace(settings, state=tmp_path / "state")
    with pytest.raises(OutputError, match="Jobs cannot be recorded") as caught:
        create(images, tmp_path / "out", nowhere)
    assert "XDG_STATE_HOME" in caught.value.hint
    assert not caught.value.survives
