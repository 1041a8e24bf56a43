"""Output survives hostile names, readers that leave, full disks and closed streams."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.cli.terminal import json_line, visible

HOSTILE = "bad\x1b[2J\x1b]52;c;ZXZpbA==\x07\x9b31m\u202egnp\u2066.png"


def ip2p(*arguments, cwd, **options):
    command = [sys.executable, "-m", "ip2p_batch", *arguments]
    env = {**os.environ, "NO_COLOR": "1", **options.pop("env", {})}
    return subprocess.run(command, cwd=cwd, env=env, timeout=120, check=False, **options)


@settings(deadline=None)
@given(st.text())
def test_visible_text_has_no_character_that_a_terminal_acts_on(text):
    shown = visible(text)
    assert shown.isprintable() or not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)
    assert not set(shown) & set(
        "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"
    )


def test_ordinary_names_stay_as_they_are():
    name = "Größe 写真 👩\u200d🎨.png"
    assert visible(name) == name


@settings(deadline=None)
@given(st.text())
def test_json_keeps_the_text_and_has_no_hidden_character(text):
    line = json_line({"name": text})
    assert json.loads(line) == {"name": text}
    assert "\x9b" not in line
    assert "\u202e" not in line


def test_names_with_escape_sequences_reach_neither_the_terminal_nor_json_raw(tmp_path):
    (tmp_path / HOSTILE).write_bytes(b"GIF89a")
    for flags in ([], ["--json"]):
        done = ip2p(
            "plan", ".", "x", "--model", "identity", *flags, cwd=tmp_path, capture_output=True
        )
        said = (done.stdout + done.stderr).decode()
        assert done.returncode == 3, said
        assert "gnp" in said
        assert not set(said) & {"\x1b", "\x07", "\x9b", "\u202e", "\u2066"}


def test_usage_errors_show_hostile_arguments_as_escapes(tmp_path):
    done = ip2p("plan", "a", "b", "--steps", "\x1b[2J", cwd=tmp_path, capture_output=True)
    assert done.returncode == 2
    assert b"\x1b" not in done.stderr


def test_a_reader_that_leaves_is_no_failure(tmp_path):
    read, write = os.pipe()
    os.close(read)
    done = ip2p("jobs", cwd=tmp_path, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_line_and_exit_code_4(tmp_path):
    with open("/dev/full", "wb") as full:
        done = ip2p("jobs", cwd=tmp_path, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 4
    assert b"stdout cannot be written: No space left on device." in done.stderr
    assert b"Traceback" not in done.stderr


def test_closed_streams_change_neither_the_result_nor_the_exit_code(tmp_path):
    command = f"{sys.executable} -m ip2p_batch jobs >&- 2>&- <&-"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0


def test_a_deleted_current_folder_is_one_clear_line(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"cd {gone} && rmdir {gone} && exec {sys.executable} -m ip2p_batch jobs"
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        ["sh", "-c", command],
        env={**os.environ, "PYTHONPATH": root, "NO_COLOR": "1"},
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.startswith(b"error: The current folder cannot be used")
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_source_has_the_exit_code_of_sources(tmp_path):
    source = tmp_path / "a.png"
    source.write_bytes(b"x")
    source.chmod(0)
    done = ip2p("plan", str(source), "x", "--model", "identity", cwd=tmp_path, capture_output=True)
    assert done.returncode == 3
