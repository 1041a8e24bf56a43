"""Bad inputs through the real command: its exit code, and one clear line that names the file."""

import subprocess
import sys

import pytest

from . import odd_folders, odd_stills, odd_videos
from .corpus import Refused

_LIGHT = ("-m", "identity", "--size", "64", "--devices", "cpu")
_NAMES = (
    "nothing in it",
    "MP4: cut before its index",
    "random bytes called .mkv",
    "a playlist that calls a host",
    "a named pipe",
    "sound only, MP4",
    "MP4: an unknown codec",
    "300 sound streams",
    "PNG of 65535 x 65535",
    "a name that is not UTF-8",
    "an empty folder",
    "CSV without its column",
)
_ALL = (*odd_videos.CASES, *odd_stills.CASES, *odd_folders.CASES)
CASES = [next(c for c in _ALL if c.name == name) for name in _NAMES]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_command_says_in_one_line_what_is_wrong_with_which_file(case, tmp_path):
    assert isinstance(case.expected, Refused)
    (tmp_path / "in").mkdir()
    source = case.make(tmp_path / "in")
    (tmp_path / "out").mkdir()
    is_folder = case in odd_folders.CASES
    output = tmp_path / "out" / ("tree" if is_folder else f"output{source.suffix}")
    output = output.with_suffix(".mkv") if case in odd_videos.CASES else output
    done = subprocess.run(
        [sys.executable, "-m", "ip2p_batch", "edit", source, "leave it", "-o", output, *_LIGHT],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=100,
    )
    said = done.stderr.decode()
    assert done.returncode == 3, said
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    hints = [line for line in said.splitlines() if line.startswith(" hint:")]
    assert len(errors) == len(hints) == 1, said
    name = source.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    assert name in errors[0] and case.expected.says in errors[0] + hints[0], said
    assert "Traceback" not in said and not done.stdout.strip()
    assert not output.exists() and not list((tmp_path / "out").iterdir())
