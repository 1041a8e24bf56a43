"""The loops over diffusers that a user writes first, and the command, timed in turn.

Each runs in a process of its own with the same settings: imports and loading the model count. Where
workers wait for a command with their model loaded, it is held against a loop from where that has
loaded its model.
"""

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

from machine import machine
from memory import family

from ip2p_batch import models
from ip2p_batch.broker import PrivateRedis
from ip2p_batch.fleet import LocalWorkers

ROOT = Path(__file__).resolve().parent.parent
INSTRUCTION = "make it winter with snow"  # what `ip2p-batch demo` does
PLAIN = "plain diffusers loop"

#: A script's beginning: ``edited(pictures)`` gives PIL pictures of the same sizes, and says on
#: stdout when the model is loaded and when a picture is there for the first time. What follows it
#: finds its own arguments in ``rest``.
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
print("loaded", flush=True)
told = False
def edited(pictures):
    global told
    scale = int(size) / max(pictures[0].size)
    small = [max(8, round(n * scale / 8) * 8) for n in pictures[0].size]
    results = pipe([instruction] * len(pictures),
                   image=[picture.resize(small, Image.LANCZOS) for picture in pictures],
                   num_inference_steps=int(steps), guidance_scale=float(s_t),
                   image_guidance_scale=float(s_i),
                   generator=[torch.Generator().manual_seed(0) for _ in pictures]).images
    if not told:
        told = True
        print("first", flush=True)
    return [r.resize(p.size, Image.LANCZOS) for r, p in zip(results, pictures)]
def together(pictures):
    # All at once, or as many as memory allows.
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
        seconds: from its start to its end.
        loaded: seconds until the model was loaded; None where it did not say.
        first: seconds until a first frame was edited; None where it did not say.
        peak: bytes of memory, of all its processes together; without workers that wait for it.
    """

    seconds: float
    loaded: float | None
    first: float | None
    peak: int


def options(description: str) -> argparse.ArgumentParser:
    """Those that such a benchmark has in any case."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", default="tiny", help="a bundled name or a diffusers folder")
    parser.add_argument("--size", type=int, default=384, help="longest side edited, in pixels")
    parser.add_argument("--steps", type=int, help="the model's own by default")
    parser.add_argument("--s-t", type=float)
    parser.add_argument("--s-i", type=float)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    return parser


def settings_of(arguments: argparse.Namespace) -> list[str]:
    """Steps, s_T and s_I that all rows have in common."""
    own = {"num_inference_steps": 10, "guidance_scale": 7.5, "image_guidance_scale": 1.5}
    own |= models.defaults(arguments.model)
    given = (arguments.steps, arguments.s_t, arguments.s_i)
    names = ("num_inference_steps", "guidance_scale", "image_guidance_scale")
    return [str(own[n] if value is None else value) for n, value in zip(names, given, strict=True)]


def plain_loop(rest_of_script: str, arguments: argparse.Namespace, *rest: str) -> list[str]:
    """The command line of a plain loop."""
    model = models.locate(arguments.model)
    settings = [model, INSTRUCTION, str(arguments.size), *settings_of(arguments)]
    return [sys.executable, "-W", "ignore", "-c", _LOOP + rest_of_script, *settings, *rest]


def command(source: str, output: str, arguments: argparse.Namespace, *more: str) -> list[str]:
    """The command line of this project for the same."""
    steps, s_t, s_i = settings_of(arguments)
    line = [sys.executable, "-m", "ip2p_batch", "edit", source, INSTRUCTION, "-o", output, "--json"]
    line += ["--model", arguments.model, "--size", str(arguments.size), "--overwrite"]
    return [*line, "-n", steps, "-g", s_t, "-i", s_i, *more]


def in_turn(
    rows: Mapping[str, list[str]],
    runs: int,
    state: str,
    waiting: Mapping[str, int | None] | None = None,
) -> dict[str, list[Run]]:
    """Each command line, ``runs`` times, one after the other.

    Args:
        waiting: by row, how many workers wait for it (None: the default), started before and with
            the same work done once.

    Raises:
        subprocess.CalledProcessError: one failed.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    env = os.environ | {"XDG_STATE_HOME": state, "PYTHONPATH": path}
    found: dict[str, list[Run]] = {name: [] for name in rows}
    for _ in range(runs):
        for name, line in rows.items():
            if waiting and name in waiting:
                with ready_workers(line, env, waiting[name]) as there:
                    found[name].append(run(line, there)._replace(loaded=0.0))
            else:
                found[name].append(run(line, env))
            print(f"{name}: {found[name][-1].seconds:.1f} s", file=sys.stderr, flush=True)
    return found


@contextmanager
def ready_workers(
    line: Sequence[str], env: Mapping[str, str], count: int | None
) -> Iterator[dict[str, str]]:
    """Workers that have done a command line's work before; gives the environment to find them."""
    with tempfile.TemporaryDirectory() as folder, PrivateRedis() as redis:
        there = {**env, "IP2P_BROKER_URL": redis.url, "IP2P_JOBS": f"{folder}/jobs"}
        with LocalWorkers(redis.url, count, None, Path(folder) / "workers.log"):
            subprocess.run(line, env=there, check=True, stdout=subprocess.DEVNULL)
            yield there


def run(line: Sequence[str], env: Mapping[str, str]) -> Run:
    """Run a command line and watch it.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    start, first, loaded = time.perf_counter(), None, None
    with subprocess.Popen(line, env=env, stdout=subprocess.PIPE, text=True) as process:
        watch = _Memory(process.pid)
        assert process.stdout is not None
        for said in process.stdout:
            if said.startswith("loaded"):
                loaded = time.perf_counter() - start
            if first is None and _is_first(said):
                first = time.perf_counter() - start
        process.wait()
        seconds = time.perf_counter() - start
        peak = watch.end()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, line)
    return Run(seconds, loaded, first, peak)


def _is_first(said: str) -> bool:
    if said.startswith("first"):
        return True
    if not said.startswith("{"):
        return False
    event = json.loads(said)
    return event.get("kind") in ("progress", "chunk") and event.get("done", 0) > 0


class _Memory:
    """Looks now and then at the memory of a process and its descendants (Linux)."""

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
    """Bytes of a process's memory, what it shares with others divided among them."""
    with suppress(OSError):
        for row in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if row.startswith("Pss:"):
                return int(row.split()[1]) * 1024
    return 0


def tell(found: Mapping[str, Sequence[Run]], count: int, noun: str, where: Path | None) -> None:
    """A Markdown table with medians on stdout, and all values as JSON."""
    facts = machine("torch", "diffusers", "av", "pillow", "celery")
    if shutil.which("nvidia-smi"):
        said = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        facts = {"gpu": " ".join(said.stdout.split("\n")[:1]), **facts}
    medians = {name: statistics.median(r.seconds for r in runs) for name, runs in found.items()}
    reference = medians.get(PLAIN)
    runs = len(next(iter(found.values())))
    print(f"{count} {noun}s, runs: {runs}, " + ", ".join(map(str, facts.values())))
    print(f"\n| file to file | seconds | {noun}s/s | ratio | first {noun} after | memory |")
    print("|---|---|---|---|---|---|")
    for name, value in medians.items():
        ratio = f"{reference / value:.2f}" if reference is not None else ""
        firsts = [r.first for r in found[name] if r.first is not None]
        first = f"{statistics.median(firsts):.1f} s" if firsts else ""
        peak = statistics.median(r.peak for r in found[name])
        print(
            f"| {name} | {value:.1f} | {count / value:.2f} | {ratio} | {first}"
            f" | {peak / 1e9:.1f} GB |"
        )
    tell_loaded(found)
    if where is not None:
        values = {name: [r._asdict() for r in runs] for name, runs in found.items()}
        where.write_text(
            json.dumps({"machine": facts, f"{noun}s": count, "runs": values}, indent=1)
        )


def seconds_loaded(runs: Sequence[Run]) -> float | None:
    """Median seconds from where the model was loaded; None where that is not known."""
    found = [r.seconds - r.loaded for r in runs if r.loaded is not None]
    return statistics.median(found) if found else None


def tell_loaded(found: Mapping[str, Sequence[Run]]) -> None:
    """A second table, where workers waited for a row: without loading."""
    if not any(r.loaded == 0 for runs in found.values() for r in runs):
        return
    reference = seconds_loaded(found.get(PLAIN, ()))
    print("\n| with the model loaded before | seconds | ratio |\n|---|---|---|")
    for name, runs in found.items():
        value = seconds_loaded(runs)
        if value is not None:
            ratio = f"{reference / value:.2f}" if reference is not None else ""
            print(f"| {name} | {value:.1f} | {ratio} |")
