"""Errors are one line and an exit code; --debug adds the traceback."""

import json
import signal
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from ip2p_batch import errors
from ip2p_batch.cli import exits
from ip2p_batch.cli.app import app
from ip2p_batch.cli.command import typer_command
from ip2p_batch.settings import Settings


def run(raises=None, *arguments, returns=0):
    """Run a command that raises or returns as given, with the real error handling."""
    one = typer.Typer(pretty_exceptions_enable=False)

    def command(json: bool = False) -> int:
        if raises is not None:
            raise raises
        return returns

    one.command()(typer_command(command))
    return CliRunner().invoke(one, list(arguments))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RecipeError("x"), 2),
        (errors.SourceError("x"), 3),
        (errors.OutputError("x"), 4),
        (errors.ModelError("x"), 5),
        (errors.BrokerError("x"), 6),
        (errors.NoWorkerError("x"), 6),
        (errors.EditError("x"), 7),
        (errors.JobError("x"), 7),
        (errors.ResumeMismatch("x"), 7),
        (errors.IncompleteJob("x", chunks=["1-0"]), 7),
        (errors.JobCancelled("x"), 7),
        (KeyboardInterrupt(), 130),
        (exits.Terminated(signal.SIGTERM), 143),
        (ZeroDivisionError("x"), 70),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error, code):
    assert run(error).exit_code == code


def test_every_error_class_has_a_documented_exit_code():
    def tree(class_):
        return [class_, *(c for sub in class_.__subclasses__() for c in tree(sub))]

    for class_ in tree(errors.Ip2pError):
        assert exits.code_of(class_) in exits.MEANINGS
        assert exits.code_named(class_.__name__) == exits.code_of(class_)
    assert exits.code_named("MemoryError") == exits.code_named("errors") == 7


def test_the_return_value_of_a_command_is_its_exit_code():
    assert run(returns=0).exit_code == 0
    assert run(returns=1).exit_code == 1


def test_an_error_is_one_line_with_a_hint_and_what_is_kept():
    error = errors.OutputError("a.mp4 cannot\nbe written.", hint="Use -o.", survives="All chunks.")
    done = run(error)
    assert done.stderr.splitlines() == [
        "error: a.mp4 cannot be written.",
        " hint: Use -o.",
        " kept: All chunks.",
    ]
    assert done.stdout == ""


def test_with_json_an_error_is_an_event_on_stdout_too():
    done = run(errors.SourceError("gone", hint="look"), "--json")
    event = json.loads(done.stdout)
    assert event["kind"] == "failed"
    assert event["message"] == "gone"
    assert event["data"] == {"error": "SourceError", "hint": "look", "exit": 3}


def test_an_unexpected_error_is_one_line_and_its_traceback_is_saved():
    done = run(ZeroDivisionError("by zero"))
    first, second = done.stderr.splitlines()
    assert first == "error: unexpected ZeroDivisionError: by zero"
    log = Settings.from_env().state / "last-error.log"
    assert "--debug" in second
    assert str(log) in second
    assert "Traceback" in log.read_text()


def test_the_saved_traceback_has_no_password(monkeypatch):
    typed, set_ = "redis://me:hun%2Fter2@host/0", "rediss://:s3cr3t@host/0?ssl_cert_reqs=none"
    monkeypatch.setattr("sys.argv", ["ip2p-batch", "edit", f"--broker={typed}"])
    monkeypatch.setenv("IP2P_BROKER_URL", set_)
    done = run(ValueError(f"no way to {typed} with hun/ter2, nor to {set_}"))
    log = (Settings.from_env().state / "last-error.log").read_text()
    for text in (done.stderr, log):
        assert "redis://me:***@host/0" in text
        assert not any(secret in text for secret in ("hun%2Fter2", "hun/ter2", "s3cr3t"))


def test_debug_shows_the_traceback():
    assert "Traceback" in run(errors.SourceError("gone"), "--debug").stderr
    assert isinstance(run(ZeroDivisionError(), "--debug").exception, ZeroDivisionError)


def test_sigterm_ends_a_command_with_143(tmp_path):
    code = (
        "import time, typer\n"
        "from ip2p_batch.cli.command import typer_command\n"
        "def command() -> int:\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        print('closed', flush=True)\n"
        "    return 0\n"
        "app = typer.Typer()\n"
        "app.command()(typer_command(command))\n"
        "app([])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert out == "closed\n"
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["worker"], 2, "--broker"),
        (["edit", "a.mp4", "x", "--detach"], 2, "--broker"),
        (["edit", "a.mp4", "x", "--size", "3"], 2, "--size"),
        (["edit", "a.mp4", "x", "--recipe", "no.toml"], 2, "no.toml"),
        (["edit", "nowhere.mp4", "x"], 3, "nowhere.mp4"),
        (["plan", "nowhere.mp4"], 3, "nowhere.mp4"),
        (["resume", "nothing"], 7, "nothing"),
        (["cancel", "nothing"], 7, "nothing"),
        (["status", "nothing"], 7, "nothing"),
    ],
)
def test_a_mistake_of_the_user_is_one_clear_line(arguments, code, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code, done.output
    first = done.stderr.splitlines()[0]
    assert first.startswith("error: ")
    assert named in done.stderr
    assert not list(tmp_path.iterdir()), "nothing is left behind"
