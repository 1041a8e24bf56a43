"""Log lines that trace one chunk."""

import logging
from pathlib import Path

import pytest

from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.log import chunk_log

log = logging.getLogger("tests.chunk_log")


@pytest.mark.parametrize(
    ("facts", "end"),
    [
        ({}, ""),
        ({"attempt": 2, "frames": 12}, " attempt=2 frames=12"),
        ({"error": 'disk "a" is full'}, r' error="disk \"a\" is full"'),
        ({"error": "two\nlines"}, r' error="two\nlines"'),
        ({"error": ""}, ' error=""'),
    ],
)
def test_a_state_change_is_one_line_of_pairs(
    caplog: pytest.LogCaptureFixture, facts: dict[str, object], end: str
) -> None:
    with caplog.at_level(logging.DEBUG, logger=log.name):
        chunk_log(log, JobFolder(Path("/jobs/castle-3f2a")), "2-000017", "leased", **facts)
    (record,) = caplog.records
    assert record.getMessage() == f"chunk=2-000017 job=castle-3f2a state=leased{end}"
    assert (record.name, record.levelname) == (log.name, "DEBUG")
    assert record.funcName == test_a_state_change_is_one_line_of_pairs.__name__


def test_state_changes_are_not_logged_above_debug(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger=log.name):
        chunk_log(log, JobFolder(Path("/jobs/castle-3f2a")), "2-000017", "leased")
    assert not caplog.records
