"""Timed runs of command lines: loops over diffusers, and this project."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ip2p_batch.models import catalog
from ip2p_batch.queue.local_workers import LocalWorkers
from ip2p_batch.queue.private_redis import PrivateRedis

from ._common import INSTRUCTION, ROOT, family, machine, new_parser

PLAIN = "plain diffusers loop"

#: The start of a script: ``edited(pictures)`` returns PIL images of the same sizes, and prints
#: "first" after the first call. The rest of the script gets its own arguments in ``rest``.
_LOOP = """
import sys, torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from PIL import Image
model, instruction, size, steps, s_t, s_i, *rest = sys.argv[1:]
gpu = torch.cuda.is_available()
pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(
    model, safety_checker=None, torch_dtype=torch.float16 if gpu else torch.float32)
pipe.to("cuda" if gpu else "cpu")
pipe.set_progress_bar_config(disable=True)
is_first = True
def edited(pictures):
    global is_first
    scale = int(size) / max(pictures[0].size)
    small = [max(8, round(n * scale / 8) * 8) for n in pictures[0].size]
    results = pipe([instruction] * len(pictures),
                   image=[picture.resize(small, Image.LANCZOS) for picture in pictures],
                   num_inference_steps=int(steps), guidance_scale=float(s_t),
                   image_guidance_scale=float(s_i),
                   generator=[torch.Generator().manual_seed(0) for _ in pictures]).images
    if is_first:
        is_first = False
        print("first", flush=True)
    return [r.resize(p.size, Image.LANCZOS) for r, p in zip(results, pictures)]
def together(pictures):
    # All at once, or as many as fit into memory.
    size = len(pictures)
    while True:
        try:
            return [r for at in range(0, len(pictures), size)
                    for r in edited(pictures[at : at + size])]
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            size = max(1, size // 2)
"""


class Run(NamedTuple):
    """One run of a command line.

    Attributes:
        seconds: wall time.
        first: seconds until the first frame was edited; None if not reported.
        peak: peak memory of all its processes in bytes, without workers started before it.
        warm: whether warm workers were started before it.
    """

    seconds: float
    first: float | None
    peak: int
    warm: bool = False


def options(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that these benchmarks share."""
    parser = new_parser(doc)
    parser.add_argument("--model", default="tiny", help="a bundled name or a diffusers folder")
    parser.add_argument("--size", type=int, default=384, help="longest side edited, in pixels")
    parser.add_argument("--steps", type=int, help="the model's own by default")
    parser.add_argument("--s-t", type=float)
    parser.add_argument("--s-i", type=float)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    return parser


def settings_of(arguments: argparse.Namespace) -> list[str]:
    """Return steps, s_T and s_I, which all rows share."""
    own = {"num_inference_steps": 10, "guidance_scale": 7.5, "image_guidance_scale": 1.5}
    own |= catalog.defaults(arguments.model)
    given = (arguments.steps, arguments.s_t, arguments.s_i)
    names = ("num_inference_steps", "guidance_scale", "image_guidance_scale")
    return [str(own[n] if value is None else value) for n, value in zip(names, given, strict=True)]


def plain_loop(rest_of_script: str, arguments: argparse.Namespace, *rest: str) -> list[str]:
    """Return the command line of a plain loop."""
    model = catalog.locate(arguments.model)
    settings = [model, INSTRUCTION, str(arguments.size), *settings_of(arguments)]
    return [sys.executable, "-W", "ignore", "-c", _LOOP + rest_of_script, *settings, *rest]


def command(source: str, output: str, arguments: argparse.Namespace, *more: str) -> list[str]:
    """Return the command line of this project for the same edit."""
    steps, s_t, s_i = settings_of(arguments)
    line = [sys.executable, "-m", "ip2p_batch", "edit", source, INSTRUCTION, "-o", output, "--json"]
    line += ["--model", arguments.model, "--size", str(arguments.size), "--overwrite"]
    return [*line, "-n", steps, "-g", s_t, "-i", s_i, *more]


def in_turn(
    rows: Mapping[str, list[str]],
    runs: int,
    state: str,
    waiting: Mapping[str, int | None] | None = None,
    source: str = "",
) -> dict[str, list[Run]]:
    """Run each command line ``runs`` times, in turn.

    Args:
        waiting: by row, the number of warm workers to start before it (None: the default). They
            have edited a copy of ``source`` once.

    Raises:
        subprocess.CalledProcessError: one failed.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    env = os.environ | {"XDG_STATE_HOME": state, "PYTHONPATH": path}
    found: dict[str, list[Run]] = {name: [] for name in rows}
    for _ in range(runs):
        for name, line in rows.items():
            if waiting and name in waiting:
                with warm_workers(line, env, waiting[name], source) as there:
                    found[name].append(run(line, there)._replace(warm=True))
            else:
                found[name].append(run(line, env))
            print(f"{name}: {found[name][-1].seconds:.1f} s", file=sys.stderr, flush=True)
    return found


@contextmanager
def warm_workers(
    line: Sequence[str], env: Mapping[str, str], count: int | None, source: str
) -> Iterator[dict[str, str]]:
    """Start workers and warm them up; yield the environment that connects to them."""
    with tempfile.TemporaryDirectory() as folder, PrivateRedis() as redis:
        there = {**env, "IP2P_BROKER_URL": redis.url, "IP2P_JOBS_DIR": f"{folder}/jobs"}
        with LocalWorkers(redis.url, count, None, Path(folder) / "workers.log"):
            # A copy, so that no cache has data of the source itself.
            copy = shutil.copy(source, f"{folder}/copy{Path(source).suffix}")
            earlier = [copy if part == source else part for part in line]
            subprocess.run(earlier, env=there, check=True, stdout=subprocess.DEVNULL)
            yield there


def run(line: Sequence[str], env: Mapping[str, str]) -> Run:
    """Run a command line and measure it.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    start, first = time.perf_counter(), None
    with subprocess.Popen(line, env=env, stdout=subprocess.PIPE, text=True) as process:
        watch = _Memory(process.pid)
        assert process.stdout is not None
        for line_out in process.stdout:
            if first is None and _reports_first(line_out):
                first = time.perf_counter() - start
        process.wait()
        seconds = time.perf_counter() - start
        peak = watch.end()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, line)
    return Run(seconds, first, peak)


def _reports_first(line: str) -> bool:
    if line.startswith("first"):
        return True
    if not line.startswith("{"):
        return False
    event = json.loads(line)
    return event.get("kind") in ("progress", "chunk") and event.get("done", 0) > 0


class _Memory:
    """Sample the memory of a process and its descendants (Linux)."""

    _SECONDS = 0.5

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> int:
        self._stop.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._stop.wait(self._SECONDS):
            self._peak = max(self._peak, sum(map(proportional, family(self._pid))))


def proportional(pid: int) -> int:
    """Return the proportional set size of a process in bytes: shared memory is divided."""
    with suppress(OSError):
        for row in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if row.startswith("Pss:"):
                return int(row.split()[1]) * 1024
    return 0


def print_results(
    found: Mapping[str, Sequence[Run]], count: int, noun: str, where: Path | None
) -> None:
    """Print a Markdown table of medians; write all values as JSON."""
    facts = machine("torch", "diffusers", "av", "pillow", "celery")
    if shutil.which("nvidia-smi"):
        listing = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        facts = {"gpu": " ".join(listing.stdout.split("\n")[:1]), **facts}
    medians = {name: statistics.median(r.seconds for r in runs) for name, runs in found.items()}
    reference = medians.get(PLAIN)
    runs = len(next(iter(found.values())))
    print(f"{count} {noun}s, runs: {runs}, " + ", ".join(map(str, facts.values())))
    print(f"\n| file to file | seconds | {noun}s/s | ratio | first {noun} after | memory |")
    print("|---|---|---|---|---|---|")
    for name, value in medians.items():
        if found[name][0].warm:
            continue
        ratio = f"{reference / value:.2f}" if reference is not None else ""
        firsts = [r.first for r in found[name] if r.first is not None]
        first = f"{statistics.median(firsts):.1f} s" if firsts else ""
        peak = statistics.median(r.peak for r in found[name])
        print(
            f"| {name} | {value:.1f} | {count / value:.2f} | {ratio} | {first}"
            f" | {peak / 1e9:.1f} GB |"
        )
    print_warm_results(found, count)
    if where is not None:
        values = {name: [r._asdict() for r in runs] for name, runs in found.items()}
        where.write_text(
            json.dumps({"machine": facts, f"{noun}s": count, "runs": values}, indent=1)
        )


def warm_seconds(runs: Sequence[Run], count: int) -> float:
    """Return the median seconds for ``count`` frames, without imports, loading and first calls.

    For a loop, the time per frame after its first frame counts.
    """
    return statistics.median(
        r.seconds if r.warm or r.first is None else (r.seconds - r.first) * count / (count - 1)
        for r in runs
    )


def print_warm_results(found: Mapping[str, Sequence[Run]], count: int) -> None:
    """Print a second table for the rows with warm workers, if any."""
    rows = {name: runs for name, runs in found.items() if name == PLAIN or runs[0].warm}
    if not any(runs[0].warm for runs in rows.values()):
        return
    seconds = {name: warm_seconds(runs, count) for name, runs in rows.items()}
    print("\n| file to file, all warm | seconds | ratio |\n|---|---|---|")
    for name, value in seconds.items():
        ratio = f"{seconds[PLAIN] / value:.2f}" if PLAIN in seconds else ""
        print(f"| {name} | {value:.1f} | {ratio} |")
