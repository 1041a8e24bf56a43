"""``ip2p-batch control``: writes hints and says what it wrote."""

import json

import pytest
from typer.testing import CliRunner

from ip2p_batch.cli.app import app

from . import clips, pictures


def run(*arguments):
    return CliRunner().invoke(app, ["control", *map(str, arguments)])


def test_the_hints_of_a_video_are_written_next_to_it(tmp_path):
    clip = clips.make(tmp_path / "clip.mp4", 3)
    result = run(clip, "--size", "64", "-k", "luminance")
    assert result.exit_code == 0, result.output
    output = tmp_path / "clip-luminance.mp4"
    assert output.exists()
    assert f"{output}: luminance hints of 3 frames, 64x64" in result.output


def test_images_without_hints_are_named_and_the_exit_code_says_so(tmp_path):
    pictures.save(tmp_path / "in/a.png", pictures.scene())
    (tmp_path / "in/b.png").write_bytes(b"no image")
    result = run(tmp_path / "in", "--size", "64", "--json")
    facts = json.loads(result.stdout)
    assert facts["count"] == 1
    assert facts["output"] == str(tmp_path / "in-canny")
    assert [path for path, _ in facts["failed"]] == [str(tmp_path / "in/b.png")]
    assert result.exit_code != 0
    assert (tmp_path / "in-canny/a.png").exists()


@pytest.mark.parametrize("arguments", [("--kind", "pose"), ("--size", "7"), ("-o", "x.gif")])
def test_a_wrong_value_is_one_line(tmp_path, arguments):
    clip = clips.make(tmp_path / "clip.mp4", 3)
    result = run(clip, *arguments)
    assert result.exit_code != 0
    assert "Traceback" not in result.output


def test_nothing_is_printed_if_only_errors_are_wanted(tmp_path):
    path = pictures.save(tmp_path / "a.png", pictures.scene())
    result = run(path, "--size", "64", "--quiet", "-o", tmp_path / "h.png")
    assert result.exit_code == 0
    assert result.output == ""
    assert (tmp_path / "h.png").exists()
