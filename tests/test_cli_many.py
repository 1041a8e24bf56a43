"""Several jobs of one command: one set of workers, one progress, one summary, one exit code."""

import io
import json
import signal

import pytest
from PIL import Image as Pil

from ip2p_batch import scheduler
from ip2p_batch.cli.many import GroupedWarnings, JobSeries
from ip2p_batch.cli.report import JsonReporter, LinesReporter, Reporter
from ip2p_batch.jobs.events import Event
from ip2p_batch.queue.private_redis import PrivateRedis
from ip2p_batch.recipe import Recipe

from . import clips
from .clips import images_of
from .test_cli_edit import run, start

COPY = ["-m", "identity", "--size", "64", "--carryover", "0", "--devices", "cpu", "-w", "1"]
RECIPE = Recipe(instruction="copy", model="identity", size=64, carryover=0.0, temporal_filter=0)


@pytest.fixture
def day(tmp_path):
    folder = tmp_path / "day"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        clips.make(folder / name, 6)
    Pil.new("RGB", (64, 48), (90, 120, 30)).save(folder / "c.png")
    return folder


class Recorder(Reporter):
    """Keeps the events that it gets."""

    def __init__(self):
        super().__init__()
        self.events = []

    def __call__(self, event):
        self.events.append(event)


def warning(message, job=""):
    return Event(kind="warning", message=message, job=job)


def test_equal_warnings_of_several_jobs_are_one_line_with_their_names():
    recorder = Recorder()
    warnings = GroupedWarnings(recorder)
    for job in ("1", "2", "3"):
        warnings(warning("Transparency is not kept.", job))
    warnings(warning("The sound is cut.", "2"))
    assert not recorder.events
    warnings.flush({"1": "a.mp4", "2": "b.mp4", "3": "c.mp4"})
    assert [e.message for e in recorder.events] == [
        "3 sources: Transparency is not kept. (a.mp4, b.mp4, ...)",
        "b.mp4: The sound is cut.",
    ]


def test_warnings_of_one_job_are_unchanged():
    recorder = Recorder()
    warnings = GroupedWarnings(recorder)
    warnings(warning("Transparency is not kept.", "1"))
    warnings.flush({"1": "a.mp4"})
    assert [e.message for e in recorder.events] == ["Transparency is not kept."]


def test_json_has_each_warning_with_its_job_at_once():
    file = io.StringIO()
    warnings = GroupedWarnings(JsonReporter(file))
    warnings(warning("x", "1"))
    warnings(warning("x", "2"))
    assert [json.loads(line)["job"] for line in file.getvalue().splitlines()] == ["1", "2"]


@pytest.fixture
def folders(day, tmp_path, settings):
    request = scheduler.EditRequest(source=day, output=tmp_path / "out", recipe=RECIPE)
    return scheduler.create_jobs(request, [day], settings).made


def test_progress_of_all_jobs_is_one_count(folders):
    recorder = Recorder()
    series = JobSeries(recorder, folders)
    for folder in folders:
        name, total = folder.path.name, folder.plan().frames
        series.report(Event(kind="started", job=name, total=total))
        for done in (0, total):
            series.report(Event(kind="progress", job=name, done=done, total=total))
        series.end(folder, Event(kind="cancelled", job=name))
    steps = [(e.kind, e.done, e.total) for e in recorder.events if e.kind != "failed_item"]
    assert steps == [
        ("started", 0, 13), ("progress", 0, 13), ("progress", 1, 13),
        ("progress", 1, 13), ("progress", 7, 13), ("progress", 7, 13), ("progress", 13, 13),
    ]  # fmt: skip
    assert [reason for _, reason in series.failed] == ["the job was cancelled"] * 3


def test_a_failed_job_is_reported_by_its_source(folders, day, capsys):
    series = JobSeries(LinesReporter(), folders)
    name = folders[1].path.name
    series.end(folders[1], Event(kind="failed", job=name, message="no memory"))
    assert f"error: {day / 'a.mp4'}: no memory" in capsys.readouterr().err
    summary = series.summary([(str(day / "gone.mp4"), "no such file")], 2)
    assert summary == [
        "2 skipped: the output exists",
        "2 failed:",
        f"  {day / 'gone.mp4'}: no such file",
        f"  {day / 'a.mp4'}: no memory",
    ]


@pytest.mark.slow
def test_a_mixed_folder_is_edited_by_one_command_that_continues_and_skips(day, tmp_path):
    out = tmp_path / "out"
    (day / "broken.mp4").write_text("text")
    (day / "notes.txt").write_text("text")
    code, text, errors = run("edit", day, "copy", "-o", out, *COPY)
    assert code == 1, errors
    assert sorted(p.name for p in out.iterdir()) == ["a.mp4", "b.mp4", "c.png"]
    assert len(images_of(out / "b.mp4")) == 6
    assert f"{out / 'a.mp4'}: 6 frames" in text and "1 failed:" in text
    assert "broken.mp4" in errors and "1 .txt (notes.txt)" in errors
    (out / "b.mp4").unlink()
    code, text, errors = run("edit", day, "copy", "-o", out, *COPY, "--json")
    assert code == 1
    events = [json.loads(line) for line in text.splitlines()]
    assert events[-1]["kind"] == "summary"
    assert events[-1]["data"]["skipped"] == 2
    assert events[-1]["data"]["failed"] == [
        [str(day / "broken.mp4"), events[-1]["data"]["failed"][0][1]]
    ]
    assert len(images_of(out / "b.mp4")) == 6
    (day / "broken.mp4").unlink()
    code, _, errors = run("edit", day, "copy", "-o", out, *COPY, "-q")
    assert (code, errors) == (0, "")


@pytest.mark.slow
def test_after_ctrl_c_the_same_command_continues(day, tmp_path, settings):
    out = tmp_path / "out"
    slow = ["-m", "identity:slow=0.3", *COPY[2:], "--chunk-frames", "2"]
    command = ["edit", day / "a.mp4", day / "b.mp4", "copy", "-o", out, "--json", *slow]
    process = start(*command)
    for line in process.stdout:
        if json.loads(line)["kind"] == "chunk":
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "run the same command again" in errors
    kept = sum(len(folder.receipts.ids()) for folder in scheduler.list_jobs(settings))
    assert kept >= 1
    code, text, errors = run(
        "edit", day / "a.mp4", day / "b.mp4", "copy", "-o", out, "--json", *slow
    )
    assert code == 0, errors
    resumed = [e for e in map(json.loads, text.splitlines()) if e["kind"] == "planned"]
    assert [e["data"]["resumed"] for e in resumed] == [True, True]
    assert len(images_of(out / "a.mp4")) == len(images_of(out / "b.mp4")) == 6


def test_several_plans_as_json_are_one_line_for_each_job(day, tmp_path):
    code, text, _ = run("plan", day, "-o", tmp_path / "out", "--json", *COPY[:6])
    assert code == 0
    assert [json.loads(line)["frames"] for line in text.splitlines()] == [1, 6, 6]


def test_a_plan_as_json_names_sources_without_a_job(day, tmp_path):
    (day / "broken.mp4").write_text("text")
    out = tmp_path / "out"
    out.mkdir()
    (out / "b.mp4").write_text("mine")
    code, text, errors = run("plan", day, "-o", out, "--json", *COPY[:6])
    assert code == 1
    *plans, refused, skipped = map(json.loads, text.splitlines())
    assert [plan["frames"] for plan in plans] == [1, 6]
    assert refused["source"] == str(day / "broken.mp4") and refused["error"] in errors
    assert skipped == {"source": str(day / "b.mp4"), "skipped": str(out / "b.mp4")}


def test_the_plan_of_images_named_one_by_one_counts_them(day, tmp_path):
    (day / "d.png").write_bytes((day / "c.png").read_bytes())
    _, text, _ = run("plan", day / "c.png", day / "d.png", "-o", tmp_path / "out", *COPY[:6])
    assert f"{day / 'c.png'} and 1 other image\n" in text


def test_detached_jobs_are_submitted_together_and_listed(day, tmp_path, settings):
    with PrivateRedis() as redis:
        options = ["-o", tmp_path / "out", *COPY[:6], "--detach", "--broker", redis.url]
        code, _, errors = run("edit", day, "copy", *options)
        assert code == 0, errors
        assert errors.count("is in the queue.") == 3
        assert errors.count("no worker answers") == 1
        assert all(folder.dispatch.started for folder in scheduler.list_jobs(settings))
