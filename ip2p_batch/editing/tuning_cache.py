"""Choose how a job's model is called on a device: batch size, and whether to compile.

Both change the last bits of a result, so one worker chooses and all workers of the job follow
(``JobFolder.propose_inference_config``). Measurements are cached on the machine, by model, device
and shape, for the next job.
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

#: Batch sizes that are tried on a GPU, in this order.
SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
#: Duration of a call without samples, in those of one sample, and most samples in a call; see
#: :func:`matrix_unit_latency`.
_CALL_SAMPLES = 0.75
_MOST_SAMPLES = 12
#: A larger batch has to be faster by this share for still larger ones to be tried.
_WORTH = 0.02
#: Compiling has to save this many times its cost: each worker of a job pays it again.
_PAYS_BACK = 4.0
#: Before anything is measured: seconds that compiling takes, and the share of time that it saves.
#: On a CPU with two cores SD-like UNets took 70 to 120 s and gained 5 to 20 %.
_EXPECTED_SECONDS = 120.0
_EXPECTED_GAIN = 0.1


@dataclass(frozen=True, slots=True)
class Compiled:
    """Measured effect of compiling a UNet for one shape.

    Attributes:
        seconds: to compile, including the effect of a filled compiler cache.
        before, after: seconds of one call, not compiled and compiled.
    """

    seconds: float
    before: float
    after: float

    def pays(self, calls: float) -> bool:
        """Whether compiling pays for itself over ``calls`` calls."""
        return calls * (self.before - self.after) > _PAYS_BACK * self.seconds


def may_pay(calls: float, seconds: float) -> bool:
    """Whether compiling is worth a measurement, for ``calls`` calls of ``seconds`` each."""
    return calls * seconds * _EXPECTED_GAIN > _PAYS_BACK * _EXPECTED_SECONDS


def measure_latency(
    seconds_of: Callable[[int], float],
    out_of_memory: Callable[[BaseException], bool],
    sizes: Iterable[int] = SIZES,
) -> dict[int, float]:
    """Measure seconds of one call by batch size, for those that fit into memory.

    Args:
        seconds_of: measures a call with a number of frames; raises if memory runs out.
        out_of_memory: whether an error is of that kind; others are raised.
        sizes: ascending; the search ends after two in a row that are no better.
    """
    latency: dict[int, float] = {}
    least, worse = math.inf, 0
    for size in sizes:
        try:
            latency[size] = seconds_of(size)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            break
        each = latency[size] / size
        worse = 0 if each < least * (1 - _WORTH) else worse + 1
        least = min(least, each)
        if worse == 2:
            break
    return latency


def matrix_unit_latency(branches: int) -> dict[int, float]:
    """Relative duration of one UNet call by batch size, on a CPU with matrix units (AMX).

    A call of n samples takes ``n + c``, with c = 0.75 samples: an Intel Xeon with AMX, one thread,
    the bundled model in bfloat16, 256x144 to 256x256 pixels, 1 to 12 samples. Beyond 12 samples it
    takes longer than that, because their activations no longer fit into the cache.

    Args:
        branches: samples of each frame, 1 to 3.

    >>> {frames: round(t / frames, 2) for frames, t in matrix_unit_latency(3).items()}
    {1: 3.75, 2: 3.38, 3: 3.25, 4: 3.19}
    """
    sizes = range(1, _MOST_SAMPLES // branches + 1)
    return {frames: frames * branches + _CALL_SAMPLES for frames in sizes}


def best_batch(
    latency: Mapping[int, float],
    batch_histogram: Mapping[int, int],
    largest_group: int | None = None,
) -> int:
    """The batch size with which a job's frames take the least time.

    All calls have one shape, so the last one of a group is padded: 28 frames take as long as 32 in
    batches of 16.

    Args:
        latency: of :func:`measure_latency`.
        batch_histogram: how many frames are edited together, and how often.
        largest_group: frames (or one batch, if that is more) after which a group is split; None:
            never.

    >>> best_batch({1: 0.2, 4: 0.5, 16: 1.8}, {28: 10})
    4
    >>> best_batch({1: 0.2, 4: 0.5, 16: 1.8}, {48: 10})
    16
    """

    def seconds(size: int) -> float:
        calls = 0
        for group, count in batch_histogram.items():
            part = group if largest_group is None else max(size, largest_group)
            whole, rest = divmod(group, part)
            calls += count * (whole * -(-part // size) + -(-rest // size))
        # A larger batch takes more memory, so it has to be faster.
        return calls * latency[size] * (1 + _WORTH * math.log2(size) / 4)

    return min(latency, key=seconds, default=1)


def timed(call: Callable[[], object], wait: Callable[[], object], repeats: int = 3) -> float:
    """Median seconds of ``call`` after a warm-up call; ``wait`` waits for the device."""
    times = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


class TuningCache:
    """Measurements of this machine, in one JSON file.

    A file that cannot be read or written is ignored: the cache only saves time.

    Args:
        path: None caches nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Hold a lock of this machine: two processes would disturb each other's measurements."""
        with contextlib.ExitStack() as stack:
            if self._path is not None:
                with contextlib.suppress(OSError):  # measure without the lock
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    lock = stack.enter_context(self._path.with_suffix(".lock").open("w"))
                    lock_file(lock.fileno(), wait=True)
            yield

    def latency(self, key: str) -> dict[int, float] | None:
        """Cached result of :func:`measure_latency`; None if there is none."""
        value = self._read().get(f"latency {key}")
        try:
            latency = (
                {int(k): float(v) for k, v in value.items()} if isinstance(value, dict) else {}
            )
        except (TypeError, ValueError):
            return None
        return latency if latency and min(latency) > 0 else None

    def compiled(self, key: str) -> Compiled | None:
        """Cached effect of compiling; None if there is none."""
        value = self._read().get(f"compile {key}")
        try:
            return Compiled(**value) if isinstance(value, dict) else None
        except TypeError:
            return None

    def keep_latency(self, key: str, value: Mapping[int, float]) -> None:
        """Cache a result of :func:`measure_latency`."""
        self._write(f"latency {key}", {str(size): seconds for size, seconds in value.items()})

    def keep_compiled(self, key: str, value: Compiled) -> None:
        """Cache the effect of compiling."""
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
        # If two workers write at once, one measurement is lost and repeated later.
        values = json.dumps({**self._read(), key: value}, indent=1)
        with contextlib.suppress(OutputError):
            write_atomic(self._path, values.encode(), durable=False)
