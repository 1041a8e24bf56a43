"""A seeded fuzzer: small valid files, damaged as a seed determines.

    python -m tests.faults.fuzz --minutes 5             # prints what fails, and how to replay it
    python -m tests.faults.fuzz --replay mp4:1234       # one case, in this process, with traceback
    python -m tests.faults.fuzz --keep mp4:1234 x.mp4   # its file

Cases run in a child process with limits on time and on memory, since a decoder written in C may end
it; a crash is a failure like any other. Whatever the input, it must come out edited whole, edited
with warnings, or refused in one of our own errors.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import random
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av

from ip2p_batch.media.images.formats import SUFFIXES
from ip2p_batch.media.source import classify_source
from ip2p_batch.settings import Settings

from . import seeds
from .judge import Broken, judge

#: Bytes of address space for a child: our own limits on pixels have to keep it below that.
MEMORY = 4 << 30
#: Seconds for one case on a busy machine. A case takes about 0.1 s.
SECONDS = 60
#: The kind of a case whose "seed" is the path of a whole file.
FILE = "file"
VIDEOS = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".mpeg", ".gif", ".flv", ".wmv",
    ".3gp", ".ogv",
)  # fmt: skip


def mutated(data: bytes, chance: random.Random) -> bytes:
    """``data`` with one to four mutations."""
    broken = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        chance.choice(MUTATIONS)(broken, chance)
    return bytes(broken)


def flip_bits(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 2, 8, 64))):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def flip_early_bits(data: bytearray, chance: random.Random) -> None:
    """Flip bits of the header, at the beginning."""
    for _ in range(chance.choice((1, 2, 4))):
        if data:
            data[chance.randrange(min(len(data), 600))] ^= 1 << chance.randrange(8)


def truncate(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data) + 1) :]


def lie_of_length(data: bytearray, chance: random.Random) -> None:
    """Replace two to eight bytes by a number that a decoder may read as a length."""
    width = chance.choice((2, 4, 4, 8))
    number = chance.choice((0, 1, 7, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, len(data)))
    number &= (1 << 8 * width) - 1
    if len(data) > width:
        at = chance.randrange(len(data) - width)
        data[at : at + width] = number.to_bytes(width, chance.choice(("big", "little")))


def nudge_length(data: bytearray, chance: random.Random) -> None:
    """Change a number by a small amount."""
    width = chance.choice((1, 2, 4))
    order: Literal["big", "little"] = chance.choice(("big", "little"))
    if len(data) > width:
        at = chance.randrange(len(data) - width)
        number = int.from_bytes(data[at : at + width], order) + chance.choice((-8, -1, 1, 2, 16))
        data[at : at + width] = (number % (1 << 8 * width)).to_bytes(width, order)


def swap(data: bytearray, chance: random.Random) -> None:
    """Swap two pieces."""
    if len(data) < 8:
        return
    size = chance.randrange(1, len(data) // 4 + 1)
    a, b = (chance.randrange(len(data) - size) for _ in range(2))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]


def double(data: bytearray, chance: random.Random) -> None:
    """Repeat a piece."""
    if data:
        at = chance.randrange(len(data))
        data[at:at] = data[at : at + chance.randrange(1, 4096)]


def remove(data: bytearray, chance: random.Random) -> None:
    if data:
        at = chance.randrange(len(data))
        del data[at : at + chance.choice((1, 2, 4, 188, 1024))]


def blank(data: bytearray, chance: random.Random) -> None:
    """Overwrite a piece with 0x00 or 0xFF, as after a disk fault."""
    if data:
        at = chance.randrange(len(data))
        size = min(chance.randrange(1, 2048), len(data) - at)
        data[at : at + size] = bytes([chance.choice((0, 0xFF))]) * size


def splice(data: bytearray, chance: random.Random) -> None:
    """Replace the end by that of another file."""
    other = seeds.good(chance.choice(tuple(seeds.KINDS)))
    at = chance.randrange(len(data) + 1)
    data[at:] = other[chance.randrange(len(other)) :]


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip_bits, flip_early_bits, truncate, lie_of_length, nudge_length, swap, double, remove, blank,
    splice,
)  # fmt: skip


def case(kind: str, seed: int) -> bytes:
    """Return the damaged file of a kind and seed; the same on every machine."""
    chance = random.Random(f"{kind}:{seed}")
    return mutated(seeds.good(kind), chance)


def run_file(source: Path) -> str:
    """Edit an existing file and return the outcome in a word. Raises as :func:`run_case`."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        (folder / "out").mkdir()
        settings = dataclasses.replace(Settings.from_env({}), state=folder / "state")
        still = classify_source(source) == "still"
        output = folder / "out" / (f"output{source.suffix}" if still else "output.mkv")
        return judge(source, output, settings, end=2.0 if not still else None).kind


def run_case(kind: str, seed: int) -> str:
    """Edit one case and return the outcome in a word.

    Raises:
        Exception: an outcome that is not allowed; see the module.
    """
    data = case(kind, seed)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        path = folder / f"in{seeds.KINDS[kind].suffix}"
        path.write_bytes(data)
        (folder / "out").mkdir()
        settings = dataclasses.replace(Settings.from_env({}), state=folder / "state")
        if seeds.KINDS[kind].is_video:
            output = folder / "out" / "output.mkv"
        elif kind in seeds.TABLES:
            seeds.pictures_beside(path)
            output = folder / "out" / "tree"
        else:
            output = folder / "out" / path.name
        verdict = judge(path, output, settings)
        # FFmpeg decodes the rest of a damaged GIF without a word; the warning names the loss.
        named = any("damaged after frame" in warning for warning in verdict.warnings)
        if verdict.kind in ("edited", "warned") and seeds.KINDS[kind].is_video and not named:
            _compare(path, verdict.frames)
        return verdict.kind


def _compare(path: Path, frames: int) -> None:
    """Check that no frame is lost or added if FFmpeg decodes the file without an error."""
    try:
        with av.open(str(path)) as container:
            stream = next(s for s in container.streams.video if not s.disposition.value & 0x400)
            times = [f.pts for f in container.decode(stream) if not f.is_corrupt]
    except Exception:
        return
    if None not in times and len(set(times)) == len(times) and len(times) > frames:
        raise Broken(f"{len(times)} frames decode, and {frames} came out")


# -- many cases, in children --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """A case with an outcome that is not allowed."""

    kind: str
    seed: int | str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.seed}: {self.what}"


def hunt(
    cases: Iterable[tuple[str, int | str]],
    *,
    until: float | None = None,
    seconds: float = SECONDS,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[list[Fault], dict[str, int]]:
    """Run cases in child processes, one after the other.

    Args:
        until: ``time.monotonic()`` at which to stop; None to do all.

    Returns:
        the failures, and the number of cases by outcome.
    """
    faults: list[Fault] = []
    counts: dict[str, int] = {}
    child: _Child | None = None
    try:
        for kind, seed in cases:
            if until is not None and time.monotonic() > until:
                break
            child = child or _Child()
            answer = child.run(kind, seed, seconds)
            if not answer.startswith("fine "):
                fault = Fault(kind, seed, answer.removeprefix("fault "))
                faults.append(fault)
                report(str(fault))
                answer = "fine fault"
                if not child.is_alive:
                    child.close()
                    child = None
            word = answer.removeprefix("fine ")
            counts[word] = counts.get(word, 0) + 1
    finally:
        if child is not None:
            child.close()
    return faults, counts


class _Child:
    """A process that runs the cases named on its stdin, one per line."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tests.faults.fuzz", "--child"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def run(self, kind: str, seed: int | str, seconds: float) -> str:
        """``fine WORD`` or what went wrong; after a crash or a hang the process is gone."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(f"{kind} {seed}\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], seconds)
        except BrokenPipeError:
            return f"the process ended before it ({process.wait()})"
        if not ready:
            process.kill()
            process.wait()
            return f"hangs: not done after {seconds:.0f} s"
        line = process.stdout.readline().strip()
        return line or f"the process crashed: status {process.wait()}"

    def close(self) -> None:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        if self.is_alive:
            process.kill()
        process.wait()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _serve() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        kind, _, rest = line.rstrip("\n").partition(" ")
        try:
            ending = run_file(Path(rest)) if kind == FILE else run_case(kind, int(rest))
            answer = f"fine {ending}"
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
            answer = "fault " + text.replace("\n", " ")[:500]
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--kinds", nargs="*", default=list(seeds.KINDS))
    parser.add_argument("--first", type=int, default=None, help="first seed; the clock by default")
    parser.add_argument("--files", nargs="*", type=Path, help="folders: edit every file in them")
    parser.add_argument("--replay", metavar="KIND:SEED")
    parser.add_argument("--keep", nargs=2, metavar=("KIND:SEED", "FILE"))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _serve()
        return 0
    if options.keep or options.replay:
        kind, _, seed = (options.keep[0] if options.keep else options.replay).partition(":")
        if options.keep:
            Path(options.keep[1]).write_bytes(case(kind, int(seed)))
        else:
            print(run_case(kind, int(seed)))
        return 0
    if options.files:
        every = sorted(p for folder in options.files for p in folder.rglob("*") if p.is_file())
        known = [p for p in every if p.suffix.lower() in (*SUFFIXES, *VIDEOS) and p.stat().st_size]
        print(f"{len(known)} files", flush=True)
        return _report(*hunt(((FILE, str(p)) for p in known), report=_print))
    first = options.first if options.first is not None else int(time.time())
    endless = ((kind, seed) for seed in itertools.count(first) for kind in options.kinds)
    print(f"fuzzing for {options.minutes:g} minutes from seed {first}", flush=True)
    faults, counts = hunt(
        endless,
        until=time.monotonic() + 60 * options.minutes,
        report=_print,
    )
    return _report(faults, counts)


def _print(text: str) -> None:
    print(f"FAULT {text}", flush=True)


def _report(faults: list[Fault], counts: dict[str, int]) -> int:
    print(", ".join(f"{n} {word}" for word, n in sorted(counts.items())))
    for fault in faults:
        if fault.kind != FILE:
            print(f"replay: python -m tests.faults.fuzz --replay {fault.kind}:{fault.seed}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
