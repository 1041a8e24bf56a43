"""How a job's model is best called on a device: frames in one call, and whether to compile.

Both change the last bits of a result, so one worker finds them and all workers of a job keep to
them (``JobFolder.agree``). What is measured on the way is remembered on the machine, by model,
device and shape, for the next job.
"""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import OutputError
from ..storage.atomic import write_atomic
from ..storage.locks import lock_file

#: Frames in one call that are tried on a GPU, in turn.
SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
#: A larger batch has to be quicker by this share to be worth trying still larger ones.
_WORTH = 0.02
#: Compiling has to save this many times what it costs: each worker of a job pays anew.
_PAYS_BACK = 4.0
#: Where nothing has been measured yet: seconds it may take, and the share of time it may save. On
#: a CPU of two cores SD-like UNets took 70 to 120 s and gained 5 to 20 %.
_EXPECTED_SECONDS = 120.0
_EXPECTED_GAIN = 0.1


@dataclass(frozen=True, slots=True)
class Compiled:
    """What compiling a UNet for one shape was measured to do.

    Attributes:
        seconds: to compile; with what an earlier process left in the cache, if there was one.
        before, after: of one call.
    """

    seconds: float
    before: float
    after: float

    def pays(self, calls: float) -> bool:
        """Whether ``calls`` calls save enough."""
        return calls * (self.before - self.after) > _PAYS_BACK * self.seconds


def may_pay(calls: float, seconds: float) -> bool:
    """Whether it is worth finding out: ``calls`` calls of ``seconds`` each, nothing known yet."""
    return calls * seconds * _EXPECTED_GAIN > _PAYS_BACK * _EXPECTED_SECONDS


def measured_pace(
    seconds_of: Callable[[int], float],
    out_of_memory: Callable[[BaseException], bool],
    sizes: Iterable[int] = SIZES,
) -> dict[int, float]:
    """Seconds of one call by the frames in it, for those that fit into memory.

    Args:
        seconds_of: measures a call with so many frames; raises where memory runs out.
        out_of_memory: tells that from other errors, which are raised.
        sizes: to try, upwards; the search ends where two in a row are no better.
    """
    pace: dict[int, float] = {}
    least, worse = math.inf, 0
    for size in sizes:
        try:
            pace[size] = seconds_of(size)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            break
        each = pace[size] / size
        worse = 0 if each < least * (1 - _WORTH) else worse + 1
        least = min(least, each)
        if worse == 2:
            break
    return pace


def best_batch(
    pace: Mapping[int, float], batch_histogram: Mapping[int, int], longest: int | None = None
) -> int:
    """Frames in one call with which a job's frames take the least time.

    A call has one shape, so a group's last one is filled up: 28 frames take as long as 32 where
    16 go into a call.

    Args:
        pace: of :func:`measured_pace`.
        batch_histogram: how many frames are edited together, and how often.
        longest: frames (or one call, if that is more) after which a group is parted; None: never.

    >>> best_batch({1: 0.2, 4: 0.5, 16: 1.8}, {28: 10})
    4
    >>> best_batch({1: 0.2, 4: 0.5, 16: 1.8}, {48: 10})
    16
    """

    def seconds(size: int) -> float:
        calls = 0
        for group, count in batch_histogram.items():
            part = group if longest is None else max(size, longest)
            whole, rest = divmod(group, part)
            calls += count * (whole * -(-part // size) + -(-rest // size))
        # A larger one takes more memory, and has to be worth it.
        return calls * pace[size] * (1 + _WORTH * math.log2(size) / 4)

    return min(pace, key=seconds, default=1)


def timed(call: Callable[[], object], wait: Callable[[], object], repeats: int = 3) -> float:
    """Median seconds of ``call``, after one to warm up; ``wait`` ends what runs on beside it."""
    found = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        call()
        wait()
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:])


class Remembered:
    """What was measured on this machine, in one JSON file; None remembers nothing.

    A file that cannot be read or written is as good as none: it only saves time.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """One process of this machine at a time: two on one device would measure each other."""
        with contextlib.ExitStack() as stack:
            if self._path is not None:
                with contextlib.suppress(OSError):  # then not
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    lock = stack.enter_context(self._path.with_suffix(".lock").open("w"))
                    lock_file(lock.fileno(), wait=True)
            yield

    def pace(self, key: str) -> dict[int, float] | None:
        value = self._read().get(f"pace {key}")
        try:
            pace = {int(k): float(v) for k, v in value.items()} if isinstance(value, dict) else {}
        except (TypeError, ValueError):
            return None
        return pace if pace and min(pace) > 0 else None

    def compiled(self, key: str) -> Compiled | None:
        value = self._read().get(f"compile {key}")
        try:
            return Compiled(**value) if isinstance(value, dict) else None
        except TypeError:
            return None

    def keep_pace(self, key: str, value: Mapping[int, float]) -> None:
        self._write(f"pace {key}", {str(size): seconds for size, seconds in value.items()})

    def keep_compiled(self, key: str, value: Compiled) -> None:
        self._write(f"compile {key}", asdict(value))

    def _read(self) -> dict[str, object]:
        if self._path is None:
            return {}
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}

    def _write(self, key: str, value: object) -> None:
        if self._path is None:
            return
        # Two workers may write at once; then one measures again some day.
        values = json.dumps({**self._read(), key: value}, indent=1)
        with contextlib.suppress(OutputError):
            write_atomic(self._path, values.encode(), durable=False)
