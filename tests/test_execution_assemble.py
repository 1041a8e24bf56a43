"""How long a job took. Assembly itself is tested in test_scheduler.py."""

from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.execution.assemble import worked
from ip2p_batch.jobs.records import Receipt, WorkerInfo


def receipt(start, end):
    return Receipt(
        chunk="c", fingerprint="f", frames=1, digest="d", worker=WorkerInfo(host="h", pid=1),
        seconds={"total": float(end - start)}, finished=float(end),
    )  # fmt: skip


def test_overlapping_chunks_count_once_and_short_gaps_count_too():
    chunks = [receipt(0, 10), receipt(5, 12), receipt(6, 7), receipt(14, 20)]
    assert worked(chunks, 21.0, 22.0) == 22.0


def test_a_long_stop_does_not_count():
    assert worked([receipt(0, 10), receipt(50_000, 50_010)], 50_010.0, 50_011.0) == 21.0


def test_without_chunks_the_assembly_counts():
    assert worked([], 5.0, 6.0) == 1.0


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**4)), max_size=20))
def test_the_time_lies_between_the_longest_chunk_and_the_whole_span(spans):
    chunks = [receipt(start, start + length) for start, length in spans]
    end = max((s + n for s, n in spans), default=0)
    seconds = worked(chunks, float(end), float(end))
    first = min((s for s, _ in spans), default=0)
    assert max((n for _, n in spans), default=0) <= seconds <= end - first
