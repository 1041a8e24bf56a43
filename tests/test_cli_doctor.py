"""doctor on this machine, and with parts of the setup missing."""

import json
from dataclasses import replace

from typer.testing import CliRunner

from ip2p_batch.cli import doctor
from ip2p_batch.cli.app import app


def run(*arguments):
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_doctor_finds_a_complete_setup_and_exits_with_0():
    done = run("--json")
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0, checks
    assert {c["name"] for c in checks} == {"python", "media", "torch", "redis", "model", "state"}
    assert not [c for c in checks if c["state"] == "fail"]


def test_doctor_as_text_has_a_line_for_each_check():
    lines = run().stdout.splitlines()
    assert all(line.startswith(("ok    ", "warn  ", "    ")) for line in lines), lines


def test_a_broker_that_does_not_answer_fails():
    done = run("--json", "--broker", "redis://127.0.0.1:1/0")
    last = json.loads(done.stdout.splitlines()[-1])
    assert done.exit_code == 1
    assert (last["name"], last["state"]) == ("broker", "fail")
    assert "127.0.0.1" in last["detail"]


def test_a_folder_that_cannot_be_written_fails_and_names_the_variable_to_set(settings, tmp_path):
    (tmp_path / "file").write_text("")
    blocked = replace(settings, jobs_dir=tmp_path / "file" / "jobs")
    checks = {c.name: c for c in doctor.examine(blocked, broker=None, online=False)}
    assert checks["jobs"].state == "fail"
    assert "IP2P_JOBS_DIR" in checks["jobs"].hint
    assert checks["state"].state == "ok"


def test_a_model_in_the_cache_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert doctor._default_model().state == "warn"
    snapshot = tmp_path / "models--timbrooks--instruct-pix2pix" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text("{}")
    assert doctor._default_model().state == "ok"


def test_a_hub_that_cannot_be_reached_is_a_warning(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    check = doctor._hub()
    assert check.state == "warn"
    assert "tiny" in check.hint


def test_a_library_that_crashes_is_reported_in_one_line():
    assert doctor._try("import nowhere_to_be_found") == (
        "ModuleNotFoundError: No module named 'nowhere_to_be_found'"
    )
    assert "-" in doctor._try("import os; os.kill(os.getpid(), 9)")
