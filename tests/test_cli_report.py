"""Events as a bar, as lines, as JSON, or not at all."""

import io
import json

import pytest

from ip2p_batch.cli import formatting, report
from ip2p_batch.cli.report import BarReporter, JsonReporter, LinesReporter, Reporter
from ip2p_batch.jobs.events import Event
from ip2p_batch.jobs.records import Result

RESULT = Result(
    output="out.mp4",
    frames=96,
    seconds=48.0,
    failed=(("a/b.jpg", "it is empty"), ("c.png", "not a picture")),
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


def test_lines_are_seldom_and_say_pace_and_time_to_go(capsys):
    clock = Clock()
    say = LinesReporter(clock)
    say(progress(20))
    for second in range(1, 31):
        clock.now = float(second)
        say(progress(20 + second))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[-1] == "editing: 50/100 (50 %) frames, 1.00 a second, 0:50 to go"


def test_lines_name_each_planning_stage_once(capsys):
    say = LinesReporter()
    for done in range(5):
        say(Event(kind="planning", stage="reading frames", done=done, total=5))
    say(Event(kind="planning", stage="finding scene cuts"))
    say(Event(kind="planned", job="clip-1", message="96 frames in 6 chunks"))
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "planning: reading frames",
        "planning: finding scene cuts",
        "job clip-1: 96 frames in 6 chunks",
    ]
    assert captured.out == ""


def test_the_summary_says_what_came_out_how_fast_and_what_failed(capsys):
    say = LinesReporter()
    say.noun = "picture"
    say.result(RESULT)
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "out.mp4: 96 pictures in 48.0 s (2.00 a second)",
        "2 pictures left alone: the output was there",
        "2 of 98 failed:",
        "  a/b.jpg: it is empty",
        "  c.png: not a picture",
    ]
    assert captured.err == "warning: 10-bit video is edited in 8 bits.\n"


def test_a_warning_told_on_the_way_is_not_told_again(capsys):
    say = LinesReporter()
    say(Event(kind="warning", message=RESULT.warnings[0]))
    say.result(RESULT)
    assert capsys.readouterr().err.count(RESULT.warnings[0]) == 1


def test_json_is_one_event_a_line_and_nothing_else(capsys):
    say = JsonReporter()
    events = [
        Event(kind="planning", stage="reading frames", done=1, total=2),
        Event(kind="warning", message="line\nbreak"),
        progress(3),
        Event(kind="done", data={"output": "out.mp4", "failed": [["a", "b"]]}),
    ]
    for event in events:
        say(event)
    say.say("not for a program")
    say.result(RESULT)
    captured = capsys.readouterr()
    assert [json.loads(line)["kind"] for line in captured.out.splitlines()] == [
        e.kind for e in events
    ]
    assert captured.err == ""


def test_quiet_says_only_what_went_wrong(capsys):
    say = Reporter()
    for kind in ("planning", "planned", "started", "progress", "chunk", "warning", "done"):
        say(Event(kind=kind, message="hello"))
    assert capsys.readouterr() == ("", "")
    say(Event(kind="failed_item", message="it is empty", data={"path": "a/b.jpg"}))
    say.result(RESULT)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "error: a/b.jpg: it is empty",
        "error: 2 of 98 frames failed.",
    ]


def test_the_bar_counts_frames_and_starts_where_an_earlier_session_stopped():
    screen = io.StringIO()
    say = BarReporter(screen)
    say(Event(kind="started", total=100))
    say(progress(40))
    assert say._bar.n == say._bar.initial == 40
    say(progress(41))
    say(Event(kind="chunk", data={"chunk": "2-000001"}))
    say(progress(100))
    say(Event(kind="assembling"))
    say.tick()
    say(Event(kind="done", done=100, total=100))
    shown = screen.getvalue()
    assert "40/100" in shown
    assert "100/100" in shown
    assert "joining" in shown
    assert say._bar is None


def test_each_planning_stage_has_its_own_bar():
    screen = io.StringIO()
    say = BarReporter(screen)
    say(Event(kind="planning", stage="reading frames", done=5, total=10))
    say(Event(kind="planning", stage="reading frames", done=10, total=10))
    say(Event(kind="planning", stage="finding scene cuts", done=0, total=0))
    assert say._bar.total is None
    say.close()
    shown = screen.getvalue()
    assert "reading frames" in shown
    assert "finding scene cuts" in shown


def test_a_warning_does_not_tear_the_bar(capsys):
    screen = io.StringIO()
    say = BarReporter(screen)
    say(Event(kind="started", total=10))
    say(Event(kind="warning", message="frame 3 did not decode"))
    say.close()
    assert "warning: frame 3 did not decode\n" in capsys.readouterr().err


def test_closing_twice_or_before_anything_happened_is_fine():
    for say in (Reporter(), LinesReporter(), BarReporter(io.StringIO())):
        say.close()
        say.tick()
        say.close()


@pytest.mark.parametrize(
    ("json_", "quiet", "class_"),
    [(True, False, JsonReporter), (True, True, JsonReporter), (False, True, Reporter)],
)
def test_options_choose_the_reporter(json_, quiet, class_):
    assert type(report.reporter(json=json_, quiet=quiet)) is class_


def test_without_a_terminal_there_are_lines(capsys):
    assert type(report.reporter(json=False, quiet=False)) is LinesReporter


def test_numbers_are_shown_as_people_write_them():
    assert [formatting.duration(s) for s in (None, 0, 59.6, 3599, 3600)] == [
        "?", "0:00", "1:00", "59:59", "1:00:00",
    ]  # fmt: skip
    assert [formatting.size(n) for n in (0, 999, 1024, 2.5e9, 5e13)] == [
        "0 B", "999 B", "1 KiB", "2.33 GiB", "45.5 TiB",
    ]  # fmt: skip
    assert formatting.plural(1, "frame") == "1 frame"
    assert formatting.share(3, 0) == "3"


def test_a_table_lines_up_its_columns():
    assert formatting.table(("A", "LONG"), [("xyz", "1"), ("", "2")]) == [
        "A    LONG",
        "xyz  1",
        "     2",
    ]
    assert formatting.facts([("a", "1\n2"), ("long", "")]) == ["a     1", "      2", "long"]
