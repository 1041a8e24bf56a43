"""Full disks, read-only folders and transient errors of network shares."""

import ctypes
import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import OutputError, StorageError
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor
from ip2p_batch.storage import atomic
from ip2p_batch.storage.atomic import (
    atomic_path,
    overwrite_in_place,
    retry_transient,
    sync_directory,
    write_atomic,
)
from ip2p_batch.storage.locks import Lock, lock_file

from . import clips
from .jobs import image_job
from .worker_processes import ROOT

RECIPE = Recipe(instruction="x", model="identity", size=64, chunk_frames=8, carryover=0.3)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(atomic, "RETRY_DELAYS", (0.0, 0.0, 0.0))


def failing(function, times, number=errno.ESTALE):
    """``function``, whose first calls raise an OSError."""
    calls = []

    def call(*args, **options):
        calls.append(args)
        if len(calls) <= times:
            raise OSError(number, os.strerror(number))
        return function(*args, **options)

    call.calls = calls  # type: ignore[attr-defined]
    return call


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT])
def test_transient_errors_of_a_share_are_retried(tmp_path, monkeypatch, number):
    for name, module in (("open", os), ("replace", os), ("fsync", os)):
        monkeypatch.setattr(module, name, failing(getattr(module, name), 1, number))
    write_atomic(tmp_path / "a", b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["a"]
    assert retry_transient(failing(lambda: 7, 3, number)) == 7


def test_a_lasting_transient_error_raises_a_retryable_storage_error(tmp_path, monkeypatch):
    broken = failing(os.replace, 1000)
    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(StorageError, match="Stale file handle") as caught:
        write_atomic(tmp_path / "a", b"x")
    assert caught.value.retryable and caught.value.survives
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_reported_without_a_retry(monkeypatch):
    full = failing(lambda: 7, 1, errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        retry_transient(full)
    assert len(full.calls) == 1


def test_files_get_the_permissions_of_the_umask_and_no_thread_ever_changes_it(
    tmp_path, monkeypatch
):
    umask, calls = os.umask, []
    before = umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda mask: (calls.append(mask), umask(mask))[1])

        def write(number):
            for n in range(20):
                write_atomic(tmp_path / f"{number}-{n}", b"x", durable=False)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        now = umask(0o027)
    finally:
        umask(before)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert (calls, now, modes) == ([], 0o027, {0o640})
    assert len(os.listdir(tmp_path)) == 80


def test_a_retry_waits_for_each_delay_in_turn_and_reports_each_error():
    errors, slept = [], []
    call = failing(lambda: 7, 2)
    found = retry_transient(call, delays=(1, 2, 4), before_retry=errors.append, sleep=slept.append)
    assert (found, slept, [e.errno for e in errors]) == (7, [1, 2], [errno.ESTALE] * 2)
    with pytest.raises(OSError, match="Stale"):
        retry_transient(failing(lambda: 7, 9), delays=(1, 2), sleep=slept.append)
    assert slept == [1, 2, 1, 2]


def test_the_caller_may_choose_which_errors_are_retried():
    left = [ValueError(), ValueError()]

    def call():
        if left:
            raise left.pop()
        return 7

    with pytest.raises(ValueError):
        retry_transient(call, delays=(0.0,))
    assert retry_transient(call, transient=lambda e: isinstance(e, ValueError), delays=(0.0,)) == 7


def test_json_overwritten_in_place_reads_as_the_new_value_at_any_length(tmp_path):
    path = tmp_path / "a.json"
    with path.open("w+b", buffering=0) as file:
        before = os.fstat(file.fileno()).st_ino
        for value in ([1, 2, 3], {"longer": "x" * 50}, 7):
            overwrite_in_place(file.fileno(), json.dumps(value).encode(), durable=True)
            assert json.loads(path.read_bytes()) == value
    assert path.stat().st_ino == before


def test_a_lock_excludes_other_open_files_until_its_process_dies(tmp_path):
    path = tmp_path / "lock"
    code = "import sys; from ip2p_batch.storage.locks import lock_file\n"
    code += "file = open(sys.argv[1], 'w'); print(lock_file(file.fileno()).name, flush=True)\n"
    code += "sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout.readline() == "OURS\n"
        with path.open("r+") as ours:
            assert lock_file(ours.fileno()) is Lock.HELD
            child.kill()
            assert lock_file(ours.fileno(), wait=True) is Lock.OURS
            with path.open("r+") as second:
                assert lock_file(second.fileno()) is Lock.HELD
    finally:
        child.kill()
        child.communicate()


def test_a_file_system_without_locks_returns_unsupported(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing(fcntl.flock, 1, errno.ENOLCK))
    with (tmp_path / "lock").open("w") as file:
        assert lock_file(file.fileno()) is Lock.UNSUPPORTED


def test_a_rename_whose_answer_was_lost_counts_as_done(tmp_path, monkeypatch):
    real, calls = os.replace, []

    def rename(a, b):
        calls.append(a)
        real(a, b)
        if len(calls) == 1:
            raise OSError(errno.ETIMEDOUT, "Connection timed out")

    monkeypatch.setattr(os, "replace", rename)
    write_atomic(tmp_path / "a", b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole" and len(calls) == 2


def test_a_failed_flush_is_not_repeated_for_the_same_file(tmp_path, monkeypatch):
    flush = failing(os.fsync, 1, errno.EIO)
    monkeypatch.setattr(os, "fsync", flush)
    with pytest.raises(StorageError), atomic_path(tmp_path / "a") as temporary:
        temporary.write_bytes(b"x")
    assert len(flush.calls) == 1 and os.listdir(tmp_path) == []


def test_a_file_is_flushed_before_its_rename_and_its_folder_after(tmp_path, monkeypatch):
    seen = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (seen.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))
    )
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append("rename"), replace(a, b)))
    write_atomic(tmp_path / "a", b"x")
    part, renamed, folder = seen
    assert ".ip2p-" in part and renamed == "rename" and folder == str(tmp_path)


def test_a_file_system_that_cannot_flush_folders_raises_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(os.fsync, 9, errno.EINVAL))
    sync_directory(tmp_path)
    monkeypatch.setattr(os, "fsync", failing(os.fsync, 9, errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        sync_directory(tmp_path)


def test_results_of_a_chunk_of_images_are_flushed_before_its_receipt(tmp_path, monkeypatch):
    job = image_job(tmp_path, 2, each=2)
    seen = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (seen.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))
    )
    list(scheduler.follow_job(job, LocalExecutor(lambda _: IdentityEditor())))
    names = [Path(s).name for s in seen]
    assert names.index("out") < names.index("receipts")


def test_no_folder_is_made_where_a_share_is_not_mounted(tmp_path):
    job = image_job(tmp_path, 1)
    job.path.rename(tmp_path / "aside")
    with pytest.raises(OutputError, match="No such file"):
        write_atomic(job.path / "receipts" / "1.json", b"{}", parents=False)
    with pytest.raises(OutputError, match="No such file"):
        job.mark_once("inflight/1")
    with pytest.raises(OutputError):
        job.check_writable()
    assert not job.path.exists()


def test_a_share_without_locks_does_not_block(tmp_path, monkeypatch):
    job = image_job(tmp_path, 1)
    monkeypatch.setattr(fcntl, "flock", failing(fcntl.flock, 1, errno.ENOLCK))
    with job.locked() as mine:
        assert mine


def test_transient_read_errors_are_retried_and_then_raise_a_storage_error(tmp_path, monkeypatch):
    job = image_job(tmp_path, 1)
    list(scheduler.follow_job(job, LocalExecutor(lambda _: IdentityEditor())))
    job = JobFolder(job.path)
    for module, name, ask in (
        (os, "listdir", job.receipts.ids),
        (os, "stat", job.exists),
        (os, "stat", lambda: job.ended),
        (os, "stat", job.plan),
        (Path, "read_bytes", job.result),
    ):
        real = getattr(module, name)
        with monkeypatch.context() as patch:
            patch.setattr(module, name, failing(real, 2))
            assert ask()
        with monkeypatch.context() as patch:
            patch.setattr(module, name, failing(real, 1000))
            with pytest.raises(StorageError, match=r"cannot be read: Stale file handle\."):
                ask()


# -- real limits, in a separate process ---------------------------------------------------------

CHILD = """
import resource, sys
from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import Ip2pError
from ip2p_batch.scheduler.local_executor import LocalExecutor
from ip2p_batch.jobs.folder import JobFolder
limit = int(sys.argv[2])
if limit >= 0:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    executor = LocalExecutor(lambda _: IdentityEditor())
    events = list(scheduler.follow_job(JobFolder(sys.argv[1]), executor))
    print(events[-1].kind, events[-1].message)
except Ip2pError as error:
    print(type(error).__name__, error.message, error.hint, error.survives, sep=" | ")
"""


def work(job: JobFolder, limit: int = -1) -> str:
    """Run a job in a process with a file size limit; return its last line of output."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(job.path), str(limit)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=100, check=False, preexec_fn=_as_everybody,
    )  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return done.stdout.strip()


def _as_everybody():
    for capability in (1, 2, 3):  # root passes over permissions by these
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


def video_job(tmp_path, settings, name="o.mp4") -> JobFolder:
    clip = tmp_path / "clip.mp4"
    if not clip.exists():
        clips.make(clip, 40)
    (tmp_path / "out").mkdir(exist_ok=True)
    request = scheduler.EditRequest(source=clip, output=tmp_path / "out" / name, recipe=RECIPE)
    return scheduler.create_job(request, settings)


@pytest.mark.timeout(200)
def test_a_full_disk_leaves_no_partial_result_and_the_job_can_resume(tmp_path, settings):
    whole = video_job(tmp_path, settings)
    assert work(whole).startswith("done")
    size = (tmp_path / "out" / "o.mp4").stat().st_size
    job = video_job(tmp_path, settings, "p.mp4")
    largest = 0
    # Not even a segment, then all segments but no result, then all.
    for limit in (600, size - 100):
        said = work(job, limit)
        assert "file too large" in said.lower() and "\n" not in said, said
        assert os.listdir(tmp_path / "out") == ["o.mp4"]
        assert not list(job.path.rglob(".ip2p-*"))
        assert scheduler.read_status(job).state == "failed"
        assert len(job.receipts.ids()) >= largest
        largest = len(job.receipts.ids())
    assert largest == len(job.plan().chunks)
    assert work(job).startswith("done")
    a, b = clips.images_of(tmp_path / "out" / "o.mp4"), clips.images_of(tmp_path / "out" / "p.mp4")
    assert len(a) == 40 and all(map(np.array_equal, a, b))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("where", ["job", "out"])
def test_the_error_names_a_read_only_folder_and_the_job_can_resume(tmp_path, settings, where):
    job = video_job(tmp_path, settings)
    folder = job.path if where == "job" else tmp_path / "out"
    folder.chmod(0o555)
    try:
        said = work(job)
    finally:
        folder.chmod(0o755)
    assert "Permission denied" in said and str(folder) in said and "\n" not in said, said
    assert os.listdir(tmp_path / "out") == []
    assert work(job).startswith("done")
    assert len(clips.images_of(tmp_path / "out" / "o.mp4")) == 40


def test_a_remembered_digest_is_that_of_the_file_as_it_is_now(tmp_path):
    path = tmp_path / "file"
    for content in (b"first", b"second one"):
        path.write_bytes(content)
        assert atomic.known_digest(path) == atomic.known_digest(path) == atomic.digest(path)
