"""The arguments of edit and plan: which are sources, and which is the instruction."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ip2p_batch.cli.app import app
from ip2p_batch.cli.inputs import split_arguments
from ip2p_batch.errors import RecipeError


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg", "snow"):
        Path(name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("arguments", "sources", "instruction"),
    [
        (["a.jpg"], ["a.jpg"], None),
        (["gone.jpg"], ["gone.jpg"], None),
        (["a.jpg", "make it snow"], ["a.jpg"], "make it snow"),
        (["a.jpg", "b.jpg", "make it snow"], ["a.jpg", "b.jpg"], "make it snow"),
        (["a.jpg", "b.jpg"], ["a.jpg", "b.jpg"], None),
        (["a.jpg", "snow"], ["a.jpg", "snow"], None),
        (["a.jpg", "winter"], ["a.jpg"], "winter"),
        (["a.jpg", "gone.jpg"], ["a.jpg", "gone.jpg"], None),
        (["a.jpg", "gone.MP4"], ["a.jpg", "gone.MP4"], None),
        (["a.jpg", "f_%05d.exr"], ["a.jpg", "f_%05d.exr"], None),
        (["a.jpg", "make it like film.mov"], ["a.jpg"], "make it like film.mov"),
        (["a.jpg", ""], ["a.jpg"], ""),
        (["a.jpg", "\0"], ["a.jpg"], "\0"),
    ],
)
def test_the_last_argument_is_the_instruction_unless_it_names_a_file(
    arguments, sources, instruction
):
    found = split_arguments(arguments)
    assert found.sources == tuple(map(Path, sources))
    assert found.instruction == instruction


def test_an_empty_input_is_an_error():
    with pytest.raises(RecipeError, match="empty name"):
        split_arguments(["", "make it snow"])


def run(*arguments):
    return CliRunner().invoke(app, [*arguments])


@pytest.mark.parametrize("command", ["edit", "plan"])
def test_an_empty_output_is_refused(command):
    done = run(command, "a.jpg", "make it snow", "-o", "")
    assert done.exit_code == 2
    assert "the name is empty" in done.output


def test_two_files_without_an_instruction_name_the_last_one():
    done = run("edit", "a.jpg", "b.jpg")
    assert done.exit_code == 2
    assert "the last argument, b.jpg, is a file" in done.output


def test_an_instruction_that_begins_with_a_dash_has_a_hint():
    done = run("edit", "a.jpg", "-20 degrees")
    assert done.exit_code == 2
    hint = " ".join(done.output.split())
    assert 'If "-20 degrees" is the instruction, write the options first, then --, the' in hint
    assert "-20 degrees" not in run("edit", "--", "a.jpg", "-20 degrees").output
    assert "then --" not in run("edit", "a.jpg", "--unknown").output


def test_the_usage_shows_several_inputs_and_one_instruction():
    assert "edit [OPTIONS] INPUT... [INSTRUCTION]\n" in run("edit", "--help").output
