"""Help texts, usage errors, shell completion and docs/cli.md; help loads no heavy library."""

import os
import re
import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from ip2p_batch import __version__
from ip2p_batch.cli import docs, exits, help_format
from ip2p_batch.cli.app import app
from ip2p_batch.recipe import FIELDS

COMMANDS = [
    "edit", "plan", "demo", "jobs", "status", "watch", "resume", "retry", "pause", "cancel",
    "worker", "doctor", "dataset", "train", "score",
]  # fmt: skip
HEAVY = [
    "torch", "celery", "kombu", "av", "PIL", "cv2", "diffusers", "transformers", "redis", "numpy",
]  # fmt: skip


def run(*arguments, **env):
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "80", **env})
    return done.exit_code, done.output


def test_help_lists_every_command_and_every_exit_code():
    code, text = run("--help")
    assert code == 0
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", text, re.MULTILINE), command
    for number, meaning in exits.MEANINGS.items():
        assert re.search(rf"^ +{number} +{re.escape(meaning)}$", text, re.MULTILINE), number


@pytest.mark.parametrize("command", [[], *([c] for c in COMMANDS)])
def test_help_fits_a_terminal_of_80_columns(command):
    code, text = run(*command, "--help")
    assert code == 0
    assert max(len(line) for line in text.splitlines()) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_that_can_be_pasted(command):
    _, text = run(command, "--help")
    examples = re.findall(r"^ +(ip2p-batch .*)$", text, re.MULTILINE)
    assert any(e.startswith(f"ip2p-batch {command}") for e in examples), text


def test_help_names_every_option_of_a_recipe():
    _, text = run("edit", "--help")
    for field in FIELDS:
        if field != "instruction":
            assert f"--{field.replace('_', '-')} " in text, field


@pytest.mark.parametrize("command", COMMANDS)
def test_only_recipe_options_are_under_the_recipe_heading(command):
    options = get_command(app).commands[command].params  # type: ignore[attr-defined]
    under = {o.name for o in options if getattr(o, "rich_help_panel", None) == help_format.RECIPE}
    assert under <= {*FIELDS, "recipe", "preset"}


def test_version_prints_the_version():
    assert run("--version") == (0, f"ip2p-batch {__version__}\n")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["edit", "--help"], ["--version"], ["status"], ["jobs", "--json"]]
)
def test_help_and_status_load_nothing_heavy(arguments):
    code = (
        "import sys, atexit\n"
        f"heavy = {HEAVY!r}\n"
        "atexit.register(lambda: print('LOADED', [m for m in heavy if m in sys.modules]))\n"
        f"sys.argv = ['ip2p-batch', *{arguments!r}]\n"
        "from ip2p_batch.cli.app import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "ip2p_batch", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"ip2p-batch {__version__}\n")


def test_a_shell_can_complete_options_and_their_values():
    def complete(words):
        env = {
            **os.environ,
            "_IP2P_BATCH_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split())),
        }
        code = "from ip2p_batch.cli.app import main; main()"
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        return done.stdout.split()

    assert "edit" in complete("ip2p-batch ")
    assert "ddim" in complete("ip2p-batch edit --scheduler ")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["edit"], "INPUT"),
        (["edit", "a", "b", "--codec", "theora"], "theora"),
        (["edit", "a", "b", "--start", "later"], "later"),
        (["edit", "a", "b", "--crf", "99"], "--crf"),
        (["edit", "a", "b", "--quality", "0"], "--quality"),
        (["edit", "a", "b", "--workers", "0"], "--workers"),
        (["edit", "a", "b", "--scheduler", "magic"], "euler-ancestral"),
        (["edit", "a", "b", "--stepps", "3"], "--stepps"),
        (["edot"], "edit"),
        (["resume"], "JOB"),
    ],
)
def test_wrong_usage_ends_with_2_and_names_the_problem(arguments, named):
    code, text = run(*arguments)
    assert code == 2
    assert named in text
    assert "Traceback" not in text


def test_docs_cli_md_is_current():
    assert docs.main(["--check"]) == 0, "run: python -m ip2p_batch.cli.docs"


def test_docs_cli_md_has_each_recipe_field_once_with_its_values_and_description():
    text = docs.page()
    for field in FIELDS.values():
        (row,) = (line for line in text.splitlines() if f"| `{field.name}` |" in line)
        assert field.values.replace("|", "\\|") in row and row.endswith(
            f"| {field.description} |"
        ), row
        elsewhere = ("instruction", "model", "size", "seed", "batch_size", "revision", "control")
        if field.name not in elsewhere:
            assert text.count(f"`{field.option}`") == 1, "only in the table of the recipe"


def test_the_help_of_a_recipe_option_has_the_fields_range_and_default():
    _, text = run("edit", "--help")
    help_ = " ".join(text.split())
    assert "Denoising steps. [1 to 1000; default: 20]" in help_
    assert "[shot, video; default: shot]" in help_
    assert "[default: 0,1]" in help_


def test_docs_cli_md_has_every_command_and_exit_code():
    text = docs.page()
    for command in COMMANDS:
        assert f"\n## {command}\n" in text
    for number in exits.MEANINGS:
        assert f"\n| {number} |" in text
