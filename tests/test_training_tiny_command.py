"""``python -m training.tiny``: its help, its errors, and that it builds what it is given."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from training.tiny import __main__ as command

ROOT = Path(__file__).parents[1]


def test_help_shows_an_example_and_does_not_load_torch():
    code = (
        "import sys, training.tiny.__main__ as command\n"
        "try: command.parse(['--help'])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "python -m training.tiny -o" in done.stdout and "--config" in done.stdout


def test_the_default_configuration_is_the_bundled_models():
    options = command.parse(["-o", "model"])
    assert tomllib.loads(options.config.read_text())["photos"] == "photos.jsonl"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [("missing.toml", None, "No such file"), ("other.toml", "x = 1", "not a valid configuration")],
)
def test_an_error_is_one_message_with_a_hint_and_no_traceback(tmp_path, capfd, name, text, words):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    assert command.main(["-o", str(tmp_path / "model"), "--config", str(path)]) == 1
    err = capfd.readouterr().err
    assert err.startswith(f"error: {path}") and words in err and "Traceback" not in err
    assert not (tmp_path / "model").exists()


def test_an_unreadable_photo_list_is_an_error(tmp_path, capfd):
    config = (ROOT / "training/tiny.toml").read_text()
    (tmp_path / "tiny.toml").write_text(config)
    arguments = ["-o", str(tmp_path / "model"), "--config", str(tmp_path / "tiny.toml")]
    assert command.main(arguments) == 1
    assert "photos.jsonl is not a list of photographs" in capfd.readouterr().err
