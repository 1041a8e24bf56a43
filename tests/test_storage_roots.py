"""Paths that a worker may use, and job folders with links to other places."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import JobError, OutsideRoots, RecipeError
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.planned_files import encode_line
from ip2p_batch.jobs.spec import Item
from ip2p_batch.scheduler.local_executor import LocalExecutor
from ip2p_batch.settings import Settings
from ip2p_batch.storage.atomic import write_atomic
from ip2p_batch.storage.roots import ANYWHERE, Roots

from .jobs import image_job


@pytest.fixture
def place(tmp_path):
    """A root with a file in it, next to a secret file."""
    (tmp_path / "root" / "in").mkdir(parents=True)
    (tmp_path / "root" / "in" / "a.png").write_bytes(b"a")
    (tmp_path / "rootless").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    return tmp_path


def test_paths_under_a_root_are_allowed_even_if_they_do_not_exist(place):
    roots = Roots([place / "root", place / "elsewhere"])
    for name in ("root", "root/in/a.png", "root/new/b.png", "elsewhere/x", "root/x/../in/a.png"):
        assert roots.allow(place / name) == Path(os.path.normpath(place / name))


@pytest.mark.parametrize(("link", "levels"), [("root/in/link", 1), ("root/in/below/link", 2)])
def test_a_folder_is_refused_for_a_link_in_it_to_another_folder(place, link, levels):
    folder = place / "root" / "in"
    (folder / "below").mkdir()
    assert Roots([place / "root"]).allow_folder(folder, levels=2) == folder
    (place / link).symlink_to(place / "secret")
    with pytest.raises(OutsideRoots, match="link"):
        Roots([place / "root"]).allow_folder(folder, levels=levels)
    assert ANYWHERE.allow_folder(folder, levels=levels) == folder


@pytest.mark.parametrize(
    "name",
    [
        "secret", "root/../secret", "root/in/../../secret", "rootless/a", "root/missing/../../x",
        "root/../root2", "", "root\0/x", "root/\udcff/../../x", "root/" + "../" * 2000 + "etc",
    ],
)  # fmt: skip
def test_paths_outside_the_roots_are_refused(place, name):
    with pytest.raises(OutsideRoots, match="IP2P_ALLOWED_ROOTS") as error:
        Roots([place / "root"]).allow(f"{place}/{name}")
    assert str(place / "root") in error.value.hint
    assert not error.value.retryable
    assert len(error.value.message) < 500 and error.value.message.isprintable()


@pytest.mark.parametrize("path", ["a.png", "./root/in", "http://host/a.mp4", "~/x", "concat:/x|/y"])
def test_paths_that_are_not_absolute_are_refused(place, monkeypatch, path):
    monkeypatch.chdir(place)
    with pytest.raises(OutsideRoots):
        Roots([place]).allow(path)


def test_long_names_and_names_that_are_not_utf_8_are_allowed(place):
    roots = Roots([place / "root"])
    for name in ("x" * 5000, os.fsdecode(b"caf\xe9.png"), "a\nb"):
        assert roots.allow(place / "root" / name).name == name


def test_links_are_judged_by_their_targets(place):
    root = place / "root"
    links = {"out": place / "secret", "up": place, "dangling": place / "no", "in2": root / "in"}
    for name, target in links.items():
        (root / name).symlink_to(target)
    (root / "twice").symlink_to(root / "out")
    (root / "relative").symlink_to("../secret")
    roots = Roots([root])
    for name in ("out", "up/secret", "dangling", "twice", "relative", "in2/../../secret"):
        with pytest.raises(OutsideRoots):
            roots.allow(root / name)
    assert roots.allow(root / "in2" / "a.png") == root / "in" / "a.png"


def test_a_root_may_be_a_link_itself(place):
    (place / "shared").symlink_to(place / "root")
    roots = Roots([place / "shared"])
    assert roots.allow(place / "shared" / "in") == place / "root" / "in"
    assert roots.allow(place / "root" / "in") == place / "root" / "in"


def test_circular_links_do_not_leave_the_root(place):
    (place / "root" / "a").symlink_to(place / "root" / "b")
    (place / "root" / "b").symlink_to(place / "root" / "a")
    assert Roots([place / "root"]).allow(place / "root" / "a" / "x").is_relative_to(place / "root")


@given(st.lists(st.sampled_from(["..", ".", "in", "x", "", "up", "a b"]), max_size=12))
def test_no_combination_of_path_parts_leaves_the_root(tmp_path_factory, parts):
    base = tmp_path_factory.getbasetemp() / "roots"
    (base / "root" / "in").mkdir(parents=True, exist_ok=True)
    if not (base / "root" / "up").is_symlink():
        (base / "root" / "up").symlink_to("..")
    named = "/".join([str(base / "root"), *parts])
    try:
        allowed = Roots([base / "root"]).allow(named)
    except OutsideRoots:
        assert not Path(os.path.realpath(named)).is_relative_to(base / "root")
    else:
        assert allowed == Path(os.path.realpath(named))
        assert allowed.is_relative_to(base / "root")


def test_without_roots_every_path_is_allowed_unchanged(place):
    assert Settings.from_env({}).allowed_roots == ANYWHERE
    assert not ANYWHERE and ANYWHERE.allow("a/../b") == Path("a/../b")


def test_the_variable_is_a_list_like_path(place):
    roots = Settings.from_env(
        {"IP2P_ALLOWED_ROOTS": f"{place}/root{os.pathsep}/data"}
    ).allowed_roots
    assert roots.folders == (place / "root", Path("/data"))


@pytest.mark.parametrize("text", ["data", ":", "/data:", ":/data", "/data:./x", "~/x"])
def test_a_list_with_a_relative_or_empty_part_is_refused(text):
    with pytest.raises(RecipeError, match="IP2P_ALLOWED_ROOTS"):
        Settings.from_env({"IP2P_ALLOWED_ROOTS": text})


def test_a_root_that_contains_nul_is_refused(place):
    with pytest.raises(RecipeError, match="IP2P_ALLOWED_ROOTS"):
        Roots([f"{place}/ro\0ot"])


# -- a hostile job folder -------------------------------------------------------------------


def rewrite_items(job, **changes):
    """Change fields of the job's items: ``changes`` are ``index=Item fields``."""
    items = list(job.items())
    for key, fields in changes.items():
        index = int(key.removeprefix("i"))
        values = {name: getattr(items[index], name) for name in Item.__struct_fields__}
        items[index] = Item(**(values | fields))
    write_atomic(job.path / "items.jsonl", b"".join(map(encode_line, items)))


def work_off(job, *roots):
    executor = LocalExecutor(lambda recipe: IdentityEditor())
    folder = JobFolder(job.path, Roots(roots))
    scheduler.dispatch_next(folder, executor)
    while executor.queue_length():
        executor.poll(0)
        scheduler.dispatch_next(folder, executor)


@pytest.mark.parametrize("limited", [True, False])
def test_a_path_that_contains_nul_fails_only_its_own_image(tmp_path, limited):
    job = image_job(tmp_path / "root", 3, each=3)
    rewrite_items(
        job,
        i0={"source": f"{tmp_path}/root/in/a\0.png"},
        i1={"output": f"{tmp_path}/root/out/b\0.png"},
    )
    work_off(job, *([tmp_path / "root"] if limited else []))
    result = job.result()
    assert result.frames == 1 and len(result.failed) == 2
    assert all(why and "\0" not in why for _, why in result.failed)
    assert [p.name for p in (tmp_path / "root" / "out").iterdir()] == ["2.png"]


def test_each_image_outside_the_roots_fails_on_its_own(tmp_path):
    root, secret = tmp_path / "root", tmp_path / "secret.png"
    job = image_job(root, 6, each=6)
    secret.write_bytes((root / "in" / "1.png").read_bytes())
    (root / "in" / "1.png").unlink()
    (root / "in" / "1.png").symlink_to(secret)
    (tmp_path / "away").mkdir()
    (root / "gate").symlink_to(tmp_path / "away")
    rewrite_items(
        job,
        i2={"source": str(secret)},
        i3={"output": str(tmp_path / "away" / "3.png")},
        i4={"output": f"{root}/out/../../away/4.png"},
        i5={"output": str(root / "gate" / "5.png")},
    )
    work_off(job, root)
    result = job.result()
    assert result is not None
    assert [Path(path).name for path, _ in result.failed] == [
        "1.png", "secret.png", "3.png", "4.png", "5.png",
    ]  # fmt: skip
    assert all("IP2P_ALLOWED_ROOTS" in why for _, why in result.failed)
    assert [p.name for p in (root / "out").iterdir()] == ["0.png"]
    assert list((tmp_path / "away").iterdir()) == []


@pytest.mark.parametrize("folder", ["receipts", "heartbeats", "failures", "inflight"])
def test_job_subfolders_that_link_outside_the_roots_are_not_written(tmp_path, folder):
    root, away = tmp_path / "root", tmp_path / "away"
    job = image_job(root, 1)
    away.mkdir()
    (away / "1-000000.json").write_text("keep me")
    (job.path / folder).symlink_to(away)
    try:
        work_off(job, root)
    except OutsideRoots as error:
        assert folder in error.message
    assert [p.name for p in away.iterdir()] == ["1-000000.json"]
    assert (away / "1-000000.json").read_text() == "keep me"


@pytest.mark.parametrize("name", ["job.json", "plan.json", "items.jsonl", "frames.npy", "lock"])
def test_job_files_that_link_outside_the_roots_are_not_opened(tmp_path, name):
    root, away = tmp_path / "root", tmp_path / "away"
    job = JobFolder(image_job(root, 1).path, Roots([root]))
    away.write_bytes((job.path / name).read_bytes() if (job.path / name).exists() else b"")
    (job.path / name).unlink(missing_ok=True)
    (job.path / name).symlink_to(away)
    reads = {
        "job.json": job.job, "plan.json": job.plan, "items.jsonl": lambda: list(job.items()),
        "frames.npy": job.frame_table, "lock": job.locked().__enter__,
    }  # fmt: skip
    with pytest.raises(OutsideRoots, match=name.replace(".", r"\.")):
        reads[name]()


@pytest.mark.parametrize("name", ["job.json", "plan.json"])
def test_a_job_file_may_link_to_a_file_inside_the_roots(tmp_path, name):
    job = JobFolder(image_job(tmp_path, 1).path, Roots([tmp_path]))
    (job.path / name).rename(job.path / f"real-{name}")
    (job.path / name).symlink_to(f"real-{name}")
    assert len(job.plan().chunks) == 1 and job.job().output == str(tmp_path / "out")


def test_chunk_ids_that_are_not_file_names_are_refused(tmp_path):
    job = image_job(tmp_path, 1)
    for wrong in ("../../x", "a/b", "", ".", "x" * 65, "1-000000\\n", "\\u0000"):
        text = job.path.joinpath("plan.json").read_text()
        write_atomic(tmp_path / "other" / "plan.json", text.replace("1-000000", wrong).encode())
        with pytest.raises(JobError, match="damaged"):
            JobFolder(tmp_path / "other").plan()
