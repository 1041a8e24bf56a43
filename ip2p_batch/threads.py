"""Threads beside the caller's, with bounded queues between: a producer, a consumer, helpers.

Decoding, editing and encoding overlap this way while memory stays flat.
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

    An exception of the producer is raised in the reader, in its place in the order. Leaving the
    block stops the producer after the item in hand, and closes it where it is a generator.
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
        except BaseException as error:  # handed over, not swallowed: raised in the reader
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
    """Calls ``work`` with each item in a thread, in order; :meth:`put` waits when it is behind.

    After an exception in ``work`` later items are dropped, and the exception is raised by the
    next :meth:`put` or at the end of the block.
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


class _Abandoned(Exception):  # marks that the block failed, so the rest is dropped
    pass


class CpuPool:
    """Threads for small pieces of work that do not depend on one another.

    Results come in the order of the items, so their number changes nothing but the time.

    Args:
        threads: with one, the caller does the work itself, when it asks for the next result.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, "helper") if threads > 1 else None

    def map(self, work: Callable[[T], U], items: Iterable[T]) -> Generator[U, None, None]:
        """``work(item)`` for each item, in order; reads as many items ahead as there are threads.

        Called by several threads at a time, these share the helpers. ``work`` itself must not
        call it: with all of them waiting, nobody would be left to work. Closing the generator
        ends the work in hand.
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
