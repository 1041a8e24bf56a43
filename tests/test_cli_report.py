"""Reporters: a progress bar, plain lines, JSON events, or errors only."""

import io
import json
from typing import get_args

import msgspec
import pytest

from ip2p_batch.cli import formatting, report
from ip2p_batch.cli.options import ReportOptions
from ip2p_batch.cli.report import BarReporter, JsonReporter, LinesReporter, Reporter
from ip2p_batch.jobs.events import Event
from ip2p_batch.jobs.records import EditMethod, Result
from ip2p_batch.recipe import Detail

RESULT = Result(
    output="out.mp4",
    edit=EditMethod(width=256, height=144, one_size=True, auto=True, detail="source"),
    frames=96,
    seconds=48.0,
    failed=(("a/b.jpg", "it is empty"), ("c.png", "not an image")),
    skipped=2,
    warnings=("10-bit video is edited in 8 bits.",),
    finished=0.0,
)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def progress(done, total=100):
    return Event(kind="progress", done=done, total=total)


def test_progress_lines_are_at_least_ten_seconds_apart_with_speed_and_remaining_time(capsys):
    clock = Clock()
    reporter = LinesReporter(clock)
    reporter(progress(20))
    for second in range(1, 31):
        clock.now = float(second)
        reporter(progress(20 + second))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[-1] == "editing: 50/100 frames (50 %), 1.00 frames/s, 0:50 left"


def test_plain_lines_name_each_planning_stage_once(capsys):
    reporter = LinesReporter()
    for done in range(5):
        reporter(Event(kind="planning", stage="reading frames", done=done, total=5))
    reporter(Event(kind="planning", stage="finding scene cuts"))
    reporter(Event(kind="planned", job="clip-1", message="96 frames in 6 chunks"))
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "planning: reading frames",
        "planning: finding scene cuts",
        "job clip-1: 96 frames in 6 chunks",
    ]
    assert captured.out == ""


def test_the_summary_has_output_speed_and_failures(capsys):
    clock = Clock()
    reporter = LinesReporter(clock)
    reporter.noun = "image"
    reporter(Event(kind="started"))
    reporter(progress(0))
    clock.now = 49.0
    reporter.result(RESULT)
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "out.mp4: 96 images in 49.0 s (2.00 images/s)",
        "edited at 256x144 (auto), detail from the source",
        "2 images skipped: the output exists",
        "2 of 98 images failed:",
        "  a/b.jpg: it is empty",
        "  c.png: not an image",
    ]
    assert captured.err == "warning: 10-bit video is edited in 8 bits.\n"


def test_the_summary_of_a_continued_job_counts_what_this_run_did(capsys):
    clock = Clock()
    reporter = LinesReporter(clock)
    reporter(Event(kind="started"))
    reporter(progress(58))
    clock.now = 20.0
    reporter.result(RESULT)
    (first, *_) = capsys.readouterr().out.splitlines()
    assert first == "out.mp4: 96 frames, 40 of them in this run, in 20.0 s (2.00 frames/s)"


def test_a_run_that_only_joins_the_segments_states_no_pace(capsys):
    reporter = LinesReporter(Clock())
    reporter(Event(kind="started"))
    reporter(progress(98))
    reporter.result(RESULT)
    assert capsys.readouterr().out.startswith("out.mp4: 96 frames, all by earlier runs\n")


def test_the_summary_of_a_job_that_had_ended_states_its_work(capsys):
    LinesReporter().result(RESULT)
    assert capsys.readouterr().out.startswith("out.mp4: 96 frames, 48.0 s of work\n")


def test_loading_does_not_count_for_the_remaining_time(capsys):
    clock = Clock()
    reporter = LinesReporter(clock)
    reporter(Event(kind="started"))
    reporter(progress(0))
    for second in (100, 101, 111):  # a minute and more of loading, then a frame a second
        clock.now = float(second)
        reporter(progress(second - 99))
    assert capsys.readouterr().err == "editing: 12/100 frames (12 %), 1.00 frames/s, 1:28 left\n"


def test_a_warning_is_printed_once(capsys):
    reporter = LinesReporter()
    reporter(Event(kind="warning", message=RESULT.warnings[0]))
    reporter.result(RESULT)
    assert capsys.readouterr().err.count(RESULT.warnings[0]) == 1


def test_json_is_one_event_per_line_and_nothing_else(capsys):
    reporter = JsonReporter()
    events = [
        Event(kind="planning", stage="reading frames", done=1, total=2),
        Event(kind="warning", message="line\nbreak"),
        progress(3),
        Event(kind="done", data={"output": "out.mp4", "failed": [["a", "b"]]}),
    ]
    for event in events:
        reporter(event)
    reporter.print_line("not for a program")
    reporter.result(RESULT)
    captured = capsys.readouterr()
    assert [json.loads(line)["kind"] for line in captured.out.splitlines()] == [
        e.kind for e in events
    ]
    assert captured.err == ""


def test_quiet_prints_errors_only(capsys):
    reporter = Reporter()
    for kind in ("planning", "planned", "started", "progress", "chunk", "warning", "done"):
        reporter(Event(kind=kind, message="hello"))
    assert capsys.readouterr() == ("", "")
    reporter(Event(kind="failed_item", message="it is empty", data={"path": "a/b.jpg"}))
    reporter.result(RESULT)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "error: a/b.jpg: it is empty",
        "error: c.png: not an image",
        "error: 2 of 98 frames failed.",
    ]


def test_the_bar_counts_frames_and_starts_where_an_earlier_session_stopped():
    screen = io.StringIO()
    reporter = BarReporter(screen)
    reporter(Event(kind="started", total=100))
    reporter(progress(40))
    assert reporter._bar.n == reporter._bar.initial == 40
    reporter(progress(41))
    reporter(Event(kind="chunk", data={"chunk": "2-000001"}))
    reporter(progress(100))
    reporter(Event(kind="assembling"))
    reporter.tick()
    reporter(Event(kind="done", done=100, total=100))
    shown = screen.getvalue()
    assert "40/100" in shown
    assert "100/100" in shown
    assert "joining" in shown
    assert reporter._bar is None


def test_each_planning_stage_has_its_own_bar():
    screen = io.StringIO()
    reporter = BarReporter(screen)
    reporter(Event(kind="planning", stage="reading frames", done=5, total=10))
    reporter(Event(kind="planning", stage="reading frames", done=10, total=10))
    reporter(Event(kind="planning", stage="finding scene cuts", done=0, total=0))
    assert reporter._bar.total is None
    reporter.close()
    shown = screen.getvalue()
    assert "reading frames" in shown
    assert "finding scene cuts" in shown


def test_a_warning_is_printed_above_the_bar(capsys):
    screen = io.StringIO()
    reporter = BarReporter(screen)
    reporter(Event(kind="started", total=10))
    reporter(Event(kind="warning", message="frame 3 did not decode"))
    reporter.close()
    assert "warning: frame 3 did not decode\n" in capsys.readouterr().err


def test_a_reporter_without_events_prints_nothing_when_it_is_closed(capsys):
    screen = io.StringIO()
    for reporter in (Reporter(), LinesReporter(), BarReporter(screen)):
        reporter.close()
        reporter.tick()
        reporter.close()
    assert (screen.getvalue(), *capsys.readouterr()) == ("", "", "")


@pytest.mark.parametrize(
    ("json_", "quiet", "class_"),
    [(True, False, JsonReporter), (True, True, JsonReporter), (False, True, Reporter)],
)
def test_options_choose_the_reporter(json_, quiet, class_):
    assert type(report.reporter_for(ReportOptions(json=json_, quiet=quiet))) is class_


def test_without_a_terminal_progress_is_plain_lines(capsys):
    assert type(report.reporter_for(ReportOptions())) is LinesReporter


def test_durations_sizes_and_counts_are_formatted_for_reading():
    assert [formatting.duration(s) for s in (None, 0, 59.6, 3599, 3600)] == [
        "?", "0:00", "1:00", "59:59", "1:00:00",
    ]  # fmt: skip
    assert [formatting.size(n) for n in (0, 999, 1024, 2.5e9, 5e13)] == [
        "0 B", "999 B", "1 KiB", "2.33 GiB", "45.5 TiB",
    ]  # fmt: skip
    assert formatting.plural(1, "frame") == "1 frame"
    assert formatting.progress(3, 0) == "3"


def test_the_columns_of_a_table_are_aligned():
    assert formatting.table(("A", "LONG"), [("xyz", "1"), ("", "2")]) == [
        "A    LONG",
        "xyz  1",
        "     2",
    ]
    assert formatting.facts([("a", "1\n2"), ("long", "")]) == ["a     1", "      2", "long"]


def method(width, height, *, one_size=True, auto=True, detail="source"):
    return EditMethod(width=width, height=height, one_size=one_size, auto=auto, detail=detail)


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        (method(256, 144, auto=False), "at 256x144, detail from the source"),
        (method(256, 144), "at 256x144 (auto), detail from the source"),
        (method(256, 144, detail="edit"), "at 256x144 (auto), detail from the edit"),
        (method(192, 256, one_size=False), "at up to 256 px (auto), detail from the source"),
    ],
)
def test_the_edit_size_and_the_method_are_stated(chosen, text):
    assert formatting.edit_method(chosen) == text


def test_every_method_has_words():
    texts = {formatting.edit_method(method(64, 64, detail=d)) for d in get_args(Detail)}
    assert len(texts) == len(get_args(Detail))


def test_quiet_names_every_failure_once(capsys):
    reporter = Reporter()
    reporter(Event(kind="failed_item", message="it is empty", data={"path": "a/b.jpg"}))
    reporter.result(RESULT)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "error: a/b.jpg: it is empty",
        "error: c.png: not an image",
        "error: 2 of 98 frames failed.",
    ]
    reporter.end(["not for quiet"], [("c.png", "not an image"), ("d.mp4", "truncated")])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: d.mp4: truncated\nerror: 2 failed.\n"


def test_json_has_a_line_for_each_warning_of_the_result(capsys):
    reporter = JsonReporter()
    reporter(Event(kind="warning", job="1", message="known"))
    reporter(Event(kind="done", job="1", data={"warnings": ["known", "3 images: no EXIF"]}))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["kind"], line["message"]) for line in lines] == [
        ("warning", "known"),
        ("warning", "3 images: no EXIF"),
        ("done", ""),
    ]


def test_one_failure_of_one_image_is_said_in_the_singular(capsys):
    for reporter in (Reporter(), LinesReporter()):
        reporter.noun = "image"
        reporter.result(msgspec.structs.replace(RESULT, frames=0, failed=(("a.jpg", "empty"),)))
    captured = capsys.readouterr()
    assert captured.err.startswith("error: a.jpg: empty\nerror: 1 image failed.\n")
    assert "1 image failed:\n  a.jpg: empty\n" in captured.out
