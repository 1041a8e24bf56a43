"""Records, markers and locks of a job folder."""

import os
import shutil
import stat
import threading
from contextlib import suppress

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.errors import JobError, OutputError
from ip2p_batch.jobs.codec import decode, encode
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.plan import ImageChunk, Plan, chunk_id
from ip2p_batch.jobs.planned_files import encode_line
from ip2p_batch.jobs.records import Failure, Heartbeat, Receipt, WorkerInfo
from ip2p_batch.jobs.spec import Item, Job, Source
from ip2p_batch.recipe import Recipe
from ip2p_batch.storage.atomic import atomic_path, remove_temp_files, write_atomic

from .file_audit import touched

WORKER = WorkerInfo(host="here", pid=1)
PLAN = Plan(
    chunks=tuple(ImageChunk(id=chunk_id(1, i), wave=1, start=i, stop=i + 1) for i in range(4))
)
ITEMS = tuple(Item(source=f"/a/{i}\n.png", output=f"/b/{i}.png") for i in range(4))


@pytest.fixture
def folder(tmp_path):
    source = Source(path="/a", stamp="s", items=4)
    job = Job(id="j", source=source, recipe=Recipe(instruction="x", size=64), output="/b")
    return JobFolder.create(tmp_path / "j", job, PLAN, frames=np.arange(9), items=ITEMS)


def receipt(chunk: str) -> Receipt:
    return Receipt(chunk=chunk, fingerprint="f", frames=1, digest="d", worker=WORKER, finished=1.0)


def test_records_are_read_back_as_written(folder):
    assert folder.exists()
    assert folder.plan() == PLAN
    assert folder.job().recipe.instruction == "x"
    assert list(folder.items()) == list(ITEMS)
    assert list(folder.items(1, 3)) == list(ITEMS[1:3])
    assert folder.frame_table().tolist() == list(range(9))


def test_pending_chunks_are_planned_chunks_without_a_receipt(folder):
    folder.receipts.write(receipt("1-000002"))
    assert [c.id for c in folder.pending(PLAN)] == ["1-000000", "1-000001", "1-000003"]
    assert folder.pending(PLAN, wave=2) == []


def test_a_receipt_removes_the_heartbeat_and_the_failure(folder):
    folder.heartbeats.write(Heartbeat(chunk="1-000000", worker=WORKER, done=0, at=0))
    folder.failures.write(Failure(chunk="1-000000", error="E", message="m"))
    folder.receipts.write(receipt("1-000000"))
    assert list(folder.heartbeats.all()) == [] and list(folder.failures.all()) == []


def test_only_one_caller_creates_a_marker(folder):
    firsts = []
    threads = [
        threading.Thread(target=lambda: firsts.append(folder.mark_once("inflight/1")))
        for _ in range(8)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert firsts.count(True) == 1


def test_only_one_process_holds_the_lock(folder):
    with folder.locked() as first, JobFolder(folder.path).locked() as second:
        assert first and not second
    with folder.locked() as again:
        assert again


def test_the_error_names_a_folder_that_is_not_a_job(tmp_path):
    with pytest.raises(JobError, match="is not a job folder"):
        JobFolder(tmp_path).job()


def test_the_error_names_a_damaged_file(folder):
    (folder.path / "plan.json").write_bytes(b'{"chunks": 3}')
    with pytest.raises(JobError, match=r"plan\.json is damaged"):
        folder.plan()


def test_unknown_fields_are_refused(folder):
    data = encode(PLAN).replace(b'"chunks"', b'"x": 1, "chunks"', 1)
    with pytest.raises(JobError, match="unknown field"):
        decode(data, Plan)


def test_a_failed_write_leaves_only_the_old_file(tmp_path):
    path = tmp_path / "out.bin"
    write_atomic(path, b"old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.bin"]


def test_a_folder_that_cannot_be_written_raises_an_output_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomic(tmp_path / "file" / "out.bin", b"x")


def test_a_finished_file_has_the_default_permissions(tmp_path):
    write_atomic(tmp_path / "out.bin", b"x")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "out.bin").stat().st_mode) == 0o666 & ~mask


@given(st.text(), st.none() | st.text(), st.none() | st.integers(0, 2**63 - 1))
def test_an_item_with_any_name_is_one_line(source, instruction, seed):
    item = Item(source=source, output="o", instruction=instruction, seed=seed)
    line = encode_line(item)
    assert line.count(b"\n") == 1
    assert decode(line, Item) == item


def test_only_temporary_files_of_the_given_paths_are_removed(tmp_path):
    mine, other = tmp_path / "out.mp4", tmp_path / "other.mp4"
    parts = []
    for path in (mine, other):
        with suppress(KeyboardInterrupt), atomic_path(path) as temporary:
            parts.append(tmp_path / f"{temporary.name}.kept{temporary.suffix}")
            shutil.copy(temporary, parts[-1])
            raise KeyboardInterrupt
    (tmp_path / ".hidden.part.mp4").touch()
    remove_temp_files([mine])
    assert not parts[0].exists() and parts[1].exists()
    assert (tmp_path / ".hidden.part.mp4").exists()


def test_a_file_with_the_longest_possible_name_is_written(tmp_path):
    path = tmp_path / ("é" * 125 + ".png")
    write_atomic(path, b"x")
    assert path.read_bytes() == b"x"


def test_an_unchanged_file_is_read_once(folder):
    JobFolder(folder.path).plan(), JobFolder(folder.path).job(), list(folder.items(2, 3))
    with touched(folder.path) as paths:
        for number in range(4):
            same = JobFolder(folder.path)  # as the next message of a worker
            assert same.job().id == "j"
            assert same.chunk(f"1-{number:06d}") == PLAN.chunks[number]
            assert list(same.items(number, number + 1)) == [ITEMS[number]]
    assert paths == ["items.jsonl"] * 4


def test_a_newly_planned_chunk_is_found_when_a_share_shows_the_old_file(folder, monkeypatch):
    """Network shares report the old file until the new one is opened."""
    assert folder.chunk("1-000003") == PLAN.chunks[3]
    old = folder.path.joinpath("plan.json").stat()
    new = ImageChunk(id="1-000004", wave=1, start=3, stop=4)
    folder.write_plan(msgspec.structs.replace(PLAN, chunks=(*PLAN.chunks, new)), ITEMS)
    stat, opened = type(folder.path).stat, []

    def stale(self, **options):
        cached = self.name == "plan.json" and not opened
        return old if cached else stat(self, **options)

    refresh = JobFolder.refresh
    monkeypatch.setattr(type(folder.path), "stat", stale)
    monkeypatch.setattr(JobFolder, "refresh", lambda self: (opened.append(1), refresh(self))[1])
    assert folder.plan() == PLAN
    assert folder.chunk("1-000004") == new
    with pytest.raises(JobError, match="no chunk"):
        folder.chunk("1-000005")


def test_another_job_in_the_same_folder_is_read_again(folder):
    assert folder.plan() == PLAN and list(folder.items(1)) == list(ITEMS[1:])
    job, path = folder.job(), folder.path
    shutil.rmtree(path)
    with pytest.raises(JobError, match="is not a job folder"):
        folder.plan()
    plan = Plan(chunks=PLAN.chunks[:1], size=(8, 8))
    items = [Item(source="/a/longer/name.png", output="/b"), ITEMS[3], ITEMS[0]]
    JobFolder.create(path, job, plan, items=items)
    assert folder.plan() == plan
    assert list(folder.items(1)) == items[1:]
    with pytest.raises(JobError, match="no chunk '1-000001'"):
        folder.chunk("1-000001")


@given(st.lists(st.text(), max_size=8), st.integers(0, 9), st.none() | st.integers(0, 9))
def test_items_returns_the_requested_range(tmp_path_factory, names, start, stop):
    path = tmp_path_factory.mktemp("j")
    items = [Item(source=name, output="o") for name in names]
    (path / "items.jsonl").write_bytes(b"".join(map(encode_line, items)))
    assert list(JobFolder(path).items(start, stop)) == items[start:stop]


def test_only_durable_files_are_flushed(folder, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    folder.heartbeats.write(Heartbeat(chunk="1-000000", worker=WORKER, done=0, at=0))
    assert flushed == []
    folder.receipts.write(receipt("1-000000"))
    assert len(flushed) == 2  # the file, and the name that its folder gives it


def test_a_name_that_contains_nul_raises_an_output_error(tmp_path):
    with pytest.raises(OutputError, match=r"a\\x00b.* file names hold no NUL"):
        write_atomic(tmp_path / "a\0b", b"x")
    assert list(tmp_path.iterdir()) == []
