"""Producer, consumer and pool threads with bounded queues.

Decoding, editing and encoding overlap while memory stays bounded.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")
_END = object()


@contextmanager
def prefetched(items: Iterable[T], depth: int) -> Iterator[Iterator[T]]:
    """Iterate ``items`` in a thread, at most ``depth`` ahead of the reader.

    The reader gets an exception of the producer in its place in the order. Leaving the block stops
    the producer after its current item, and closes it if it is a generator.
    """
    slots: queue.Queue[object] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(value: object) -> bool:
        while not stop.is_set():
            try:
                slots.put(value, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put(item):
                    break
            else:
                put(_END)
        except BaseException as error:  # raised in the reader
            put(_Raised(error))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    def consume() -> Iterator[T]:
        while (item := slots.get()) is not _END:
            if isinstance(item, _Raised):
                raise item.error
            yield item  # type: ignore[misc]  # the queue holds T, _END and _Raised only

    thread = threading.Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stop.set()
        thread.join()


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class Background(Generic[T]):
    """Calls ``work`` with each item in a thread, in order; :meth:`put` waits if the queue is full.

    After an exception in ``work`` later items are dropped, and the next :meth:`put` or the end of
    the block raises it.
    """

    def __init__(self, work: Callable[[T], None], depth: int) -> None:
        self._work = work
        self._slots: queue.Queue[object] = queue.Queue(maxsize=depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)

    def __enter__(self) -> Background[T]:
        self._thread.start()
        return self

    def put(self, item: T) -> None:
        """Queue an item."""
        if self._error is not None:
            raise self._error
        self._slots.put(item)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            self._error = self._error or _Abandoned()
        self._slots.put(_END)
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (item := self._slots.get()) is not _END:
            if self._error is None:
                try:
                    self._work(item)  # type: ignore[arg-type]  # only put() fills the queue
                except BaseException as error:  # raised again in put() or __exit__
                    self._error = error


class _Abandoned(Exception):
    """The block failed, so that queued items are dropped."""


class CpuPool:
    """Threads for small, independent pieces of work.

    Results come in the order of the items, so the number of threads affects only the time.

    Args:
        threads: with one, the caller does the work itself when it takes the next result.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, "cpu-pool") if threads > 1 else None

    def map(self, work: Callable[[T], U], items: Iterable[T]) -> Generator[U, None, None]:
        """Yield ``work(item)`` for each item, in order; reads one item ahead for each thread.

        Several threads may call this at a time and share the pool. ``work`` must not call it: all
        threads could then wait for one another. Closing the generator waits for running work.
        """
        if self._pool is None:
            yield from map(work, items)
            return
        ahead: deque[Future[U]] = deque()
        try:
            for item in items:
                ahead.append(self._pool.submit(work, item))
                if len(ahead) > self.threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            wait([future for future in ahead if not future.cancel()])
