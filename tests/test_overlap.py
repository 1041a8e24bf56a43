import threading
import time

import pytest

from ip2p_batch.overlap import Background, prefetched


def test_items_come_in_order_and_all_of_them():
    with prefetched(range(100), 3) as items:
        assert list(items) == list(range(100))


def test_the_producer_is_never_more_than_its_depth_ahead():
    made = []

    def produce():
        for i in range(50):
            made.append(i)
            yield i

    with prefetched(produce(), 4) as items:
        assert next(items) == 0
        time.sleep(0.3)
        # one handed out, four waiting, one in the producer's hand
        assert len(made) <= 6


def test_the_producers_exception_is_raised_in_its_place():
    def produce():
        yield 1
        raise ValueError("broken")

    with prefetched(produce(), 2) as items:
        assert next(items) == 1
        with pytest.raises(ValueError, match="broken"):
            next(items)


def test_leaving_early_stops_and_closes_the_producer():
    closed = threading.Event()

    def produce():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    with prefetched(produce(), 2) as items:
        next(items)
    assert closed.is_set() and threading.active_count() == before


def test_background_work_is_done_in_order_and_finished_at_the_end():
    done = []
    with Background(done.append, depth=2) as sink:
        for i in range(20):
            sink.put(i)
    assert done == list(range(20))


def test_an_exception_in_background_work_is_raised_and_ends_it():
    def work(item):
        if item == 3:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), Background(work, depth=1) as sink:
        for i in range(100):
            sink.put(i)


def test_when_the_caller_fails_the_rest_is_dropped_and_its_own_error_stands():
    done = []

    def slow(item):
        time.sleep(0.05)
        done.append(item)

    with pytest.raises(KeyError), Background(slow, depth=10) as sink:
        for i in range(8):
            sink.put(i)
        raise KeyError
    assert len(done) < 8
