"""A finished file gets its name, and no other file is lost."""

import errno
import os
import threading

import pytest

from ip2p_batch.errors import StorageError
from ip2p_batch.storage import atomic, publish
from ip2p_batch.storage.atomic import atomic_path
from ip2p_batch.storage.publish import NameTakenError, file_stamp, path_stamp

#: How the system behaves: with renameat2, without it, and without hard links, too.
DISKS = ("renameat2", "links only", "neither")


@pytest.fixture(params=DISKS, autouse=True)
def disk(request, monkeypatch):
    monkeypatch.setattr(atomic, "RETRY_DELAYS", (0.0, 0.0))

    def unknown(*_args, **_options):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    if request.param != "renameat2":
        monkeypatch.setattr(publish, "_renameat2", unknown)
    if request.param == "neither":
        monkeypatch.setattr(os, "link", unknown)
    return request.param


def never(_status):
    return False


def new(tmp_path, data=b"new"):
    path = tmp_path / "part"
    path.write_bytes(data)
    return path


def test_a_free_name_is_taken(tmp_path):
    part, path = new(tmp_path), tmp_path / "a"
    publish.publish(part, path, never)
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]
    assert path.stat().st_nlink == 1


@pytest.mark.parametrize("kind", ["file", "link", "broken link", "folder"])
def test_what_has_the_name_is_left_alone(tmp_path, kind):
    part, path = new(tmp_path), tmp_path / "a"
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(b"old")
    else:
        path.symlink_to("target")
        if kind == "link":
            (tmp_path / "target").write_bytes(b"old")
    before = path_stamp(path)
    with pytest.raises(NameTakenError):
        publish.publish(part, path, never)
    assert path_stamp(path) == before and part.read_bytes() == b"new"
    if kind == "folder":  # even if a caller would allow it
        with pytest.raises(NameTakenError):
            publish.publish(part, path, lambda _: True)


def test_a_file_that_may_be_replaced_is_replaced(tmp_path):
    part, path = new(tmp_path), tmp_path / "a"
    path.write_bytes(b"old")
    planned = path_stamp(path)
    publish.publish(part, path, lambda status: file_stamp(status) == planned)
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]


def test_a_link_is_replaced_and_not_what_it_leads_to(tmp_path):
    part, path, target = new(tmp_path), tmp_path / "a", tmp_path / "target"
    target.write_bytes(b"old")
    path.symlink_to(target)
    publish.publish(part, path, lambda _: True)
    assert not path.is_symlink() and path.read_bytes() == b"new"
    assert target.read_bytes() == b"old"


def test_a_file_that_appears_in_the_last_instant_is_left_alone(tmp_path, monkeypatch):
    part, path = new(tmp_path), tmp_path / "a"
    real, looks = os.lstat, []

    def lstat(name, **options):
        try:
            return real(name, **options)
        finally:
            if str(name) == str(path) and not looks:
                looks.append(path.write_bytes(b"precious"))  # right after it was found missing

    monkeypatch.setattr(os, "lstat", lstat)
    with pytest.raises(NameTakenError):
        publish.publish(part, path, never)
    assert looks and path.read_bytes() == b"precious" and part.read_bytes() == b"new"


def test_a_file_that_changes_in_the_last_instant_is_left_alone(tmp_path):
    part, path = new(tmp_path), tmp_path / "a"
    path.write_bytes(b"old")
    planned = path_stamp(path)

    def may_replace(status):
        allowed = file_stamp(status) == planned
        if allowed:
            path.unlink()
            path.write_bytes(b"precious")
        return allowed

    with pytest.raises(NameTakenError):
        publish.publish(part, path, may_replace)
    assert path.read_bytes() == b"precious" and part.read_bytes() == b"new"


def test_of_many_writers_of_one_name_one_gets_it(tmp_path):
    start, taken = threading.Barrier(8), []
    path = tmp_path / "a"

    def write(number):
        part = tmp_path / f"part{number}"
        part.write_text(str(number))
        start.wait()
        try:
            publish.publish(part, path, never)
        except NameTakenError:
            taken.append(number)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {*taken, int(path.read_text())} == set(range(8)) and len(taken) == 7


@pytest.mark.parametrize("disk", ["links only"], indirect=True)  # as network shares
def test_a_link_whose_answer_was_lost_counts_as_done(tmp_path, monkeypatch, disk):
    real, calls = os.link, []

    def link(*args, **options):
        calls.append(args)
        real(*args, **options)
        if len(calls) == 1:
            raise OSError(errno.ETIMEDOUT, "Connection timed out")

    monkeypatch.setattr(os, "link", link)
    publish.publish(new(tmp_path), tmp_path / "a", never)
    assert os.listdir(tmp_path) == ["a"] and len(calls) == 2


def test_a_disk_that_fails_leaves_no_file(tmp_path, monkeypatch):
    def broken(*_args, **_options):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for module, name in ((publish, "_renameat2"), (os, "link"), (os, "replace")):
        monkeypatch.setattr(module, name, broken)

    def give_name(part, path):
        publish.publish(part, path, never)

    with pytest.raises(StorageError), atomic_path(tmp_path / "a", publish=give_name) as part:
        part.write_bytes(b"x")
    assert os.listdir(tmp_path) == []
