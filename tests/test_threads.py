"""Prefetching, background work, and the pool of CPU threads."""

import threading
import time

import pytest

from ip2p_batch.threads import Background, CpuPool, prefetched

from .waiting import wait_for


def test_items_come_in_order_and_all_of_them():
    with prefetched(range(100), 3) as items:
        assert list(items) == list(range(100))


def test_the_producer_is_never_more_than_its_depth_ahead():
    made, ahead, read = 0, [], 0

    def produce():
        nonlocal made
        for i in range(50):
            made += 1
            ahead.append(made - read)
            yield i

    with prefetched(produce(), 4) as items:
        assert next(items) == 0
        read = 1
        # One is with the reader, four wait in the queue, and the producer holds one.
        wait_for(lambda: made == 6)
        for _ in items:
            read += 1
    assert made == read == 50 and max(ahead) <= 6


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


def test_if_the_caller_fails_queued_items_are_dropped_and_its_error_is_raised():
    done = []

    def slow(item):
        time.sleep(0.05)
        done.append(item)

    with pytest.raises(KeyError), Background(slow, depth=10) as sink:
        for i in range(8):
            sink.put(i)
        raise KeyError
    assert len(done) < 8


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order(threads):
    def work(item):
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(CpuPool(threads).map(work, range(40))) == [n * n for n in range(40)]
    assert list(CpuPool(threads).map(work, [])) == []


@pytest.mark.timeout(60)
def test_the_threads_of_a_pool_work_at_the_same_time():
    together = threading.Barrier(4)
    # No thread continues before all four have started.
    assert len(list(CpuPool(4).map(lambda _: together.wait(30), range(4)))) == 4


@pytest.mark.parametrize("threads", [1, 3])
def test_a_pool_reads_one_item_ahead_for_each_thread(threads):
    read = []

    def items():
        for n in range(50):
            read.append(n)
            yield n

    found = CpuPool(threads).map(lambda n: n, items())
    assert next(found) == 0
    assert len(read) <= threads + 1


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_a_pool_is_raised_in_its_place(threads):
    found = CpuPool(threads).map(lambda n: 1 // n, [2, 1, 0, 1])
    assert (next(found), next(found)) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_two_threads_share_a_pool():
    cpu_pool = CpuPool(2)
    found = {}

    def use(name):
        found[name] = list(cpu_pool.map(lambda n: (name, n), range(200)))

    threads = [threading.Thread(target=use, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: [(name, n) for n in range(200)] for name in "ab"}
