"""Time until work continues after a crash, and the cost of crash safety; editors only sleep.

    python -m benchmarks.recovery [--parts deaths,overhead,redis] [--lease 90] [--json out.json]

- ``deaths``: seconds from SIGKILL until the interrupted chunk starts again, with no client
  following the job. Killed are the editing process, the whole worker, and the launcher while
  another launcher runs. All but the first take up to ``--lease`` plus ten seconds.
- ``overhead``: CPU time of a worker (main process and child) while a chunk sleeps, as a share of
  ``--chunk-seconds``: lease, heartbeats, attempts, receipts and Celery.
- ``redis``: seconds until the next chunk starts after Redis was killed and restarted, with its data
  and without. A client follows the job, because it has to enqueue the lost messages again.

Prints Markdown tables; the network is not used.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from ip2p_batch import scheduler
from ip2p_batch.jobs.codec import decode
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.records import Attempt
from ip2p_batch.queue import redis_url
from ip2p_batch.queue.celery_executor import CeleryExecutor
from ip2p_batch.queue.local_workers import launcher_command, launcher_env
from ip2p_batch.queue.messages import VISIBILITY_TIMEOUT
from ip2p_batch.queue.private_redis import PrivateRedis

from ._common import machine, new_parser
from .queue_cost import Table, print_table, tiny_job

T = TypeVar("T")
_WAIT_SECONDS = 300.0


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help="of: %(default)s")
    parser.add_argument(
        "--lease", type=float, default=VISIBILITY_TIMEOUT, help="as IP2P_VISIBILITY_TIMEOUT"
    )
    parser.add_argument("--chunk-seconds", type=float, default=10.0, help="in `overhead`")
    parser.add_argument("--rounds", type=int, default=3, help="chunks in `overhead`")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    arguments = parser.parse_args()
    facts = machine("celery", "kombu", "redis")
    figures: dict[str, Any] = {"machine": facts, "lease": arguments.lease}
    print(", ".join(f"{k} {v}" for k, v in facts.items()), f"lease {arguments.lease:g} s", sep="; ")
    for name in arguments.parts.split(","):
        with tempfile.TemporaryDirectory() as folder:
            figures[name], table = PARTS[name](Path(folder), arguments)
        print_table(table)
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=1))


# -- deaths -------------------------------------------------------------------------------------


def deaths(folder: Path, arguments: argparse.Namespace) -> tuple[dict[str, Any], Table]:
    """Return seconds until the interrupted chunk starts again, by what was killed."""
    seconds = {
        "the editing process": _seconds_to_retry(
            folder / "child", arguments, lambda child, _: os.kill(child, signal.SIGKILL)
        ),
        "the whole worker": _seconds_to_retry(
            folder / "worker",
            arguments,
            lambda child, _: os.killpg(os.getpgid(child), signal.SIGKILL),
        ),
        "the launcher, while another runs": _seconds_to_retry(
            folder / "launcher", arguments, lambda _, launcher: launcher.kill(), has_standby=True
        ),
    }
    rows = [["killed", "the chunk starts again after"]]
    rows += [[name, f"{value:.1f} s"] for name, value in seconds.items()]
    return {"seconds": seconds}, rows


def _seconds_to_retry(
    folder: Path,
    arguments: argparse.Namespace,
    kill: Callable[[int, subprocess.Popen[bytes]], None],
    *,
    has_standby: bool = False,
) -> float:
    job = tiny_job(folder, 1, model="identity:slow=30")
    with (
        PrivateRedis() as redis,
        closing(CeleryExecutor(redis.url)) as executor,
        launcher(redis.url, folder, arguments.lease) as first,
        ExitStack() as stack,
    ):
        scheduler.submit_job(job, executor)
        begun = wait(lambda: attempts_of(job))[0]
        if has_standby:
            stack.enter_context(launcher(redis.url, folder, arguments.lease))
            wait(lambda: len(executor.workers(timeout=1.0)) == 2)
        time.sleep(1.0)
        kill(begun.worker.pid, first)
        killed = time.time()
        return wait(lambda: attempts_of(job)[1:])[0].at - killed


# -- overhead -----------------------------------------------------------------------------------


def overhead(folder: Path, arguments: argparse.Namespace) -> tuple[dict[str, Any], Table]:
    """Return the CPU time of a worker whose chunks only sleep."""
    model = f"identity:slow={arguments.chunk_seconds:g}"
    job = tiny_job(folder / "chunks", arguments.rounds + 1, model=model)
    with (
        PrivateRedis() as redis,
        closing(CeleryExecutor(redis.url)) as executor,
        launcher(redis.url, folder, arguments.lease) as process,
    ):
        scheduler.submit_job(job, executor)
        # The first chunk includes imports and connections.
        wait(lambda: len(job.receipts.ids()) >= 1)
        first = cpu_seconds(process.pid)
        start = time.perf_counter()
        wait(lambda: len(job.receipts.ids()) >= arguments.rounds + 1 or job.ended)
        spent = cpu_seconds(process.pid) - first
        took = time.perf_counter() - start
    each = spent / arguments.rounds
    figures = {
        "chunk_seconds": arguments.chunk_seconds,
        "cpu_seconds_a_chunk": each,
        "share": each / arguments.chunk_seconds,
        "wall_seconds_a_chunk": took / arguments.rounds,
    }
    rows = [
        [f"a chunk that sleeps {arguments.chunk_seconds:g} s", ""],
        ["CPU time of launcher, worker and its process", f"{1000 * each:.0f} ms"],
        ["share", f"{each / arguments.chunk_seconds:.2%}"],
        ["wall time", f"{took / arguments.rounds:.2f} s"],
    ]
    return figures, rows


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and its descendants, including ended ones."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(map(int, stat[11:15])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(cpu_seconds(int(child)) for child in children)


# -- Redis --------------------------------------------------------------------------------------


def redis(folder: Path, arguments: argparse.Namespace) -> tuple[dict[str, Any], Table]:
    """Return seconds until the next chunk starts after Redis was killed."""
    seconds = {
        "with its data": _seconds_to_next(folder / "kept", arguments, lose=False),
        "without its data": _seconds_to_next(folder / "lost", arguments, lose=True),
    }
    rows = [["Redis is killed and restarted", "the next chunk starts after"]]
    rows += [[name, f"{value:.1f} s"] for name, value in seconds.items()]
    return {"seconds": seconds}, rows


def _seconds_to_next(folder: Path, arguments: argparse.Namespace, *, lose: bool) -> float:
    job = tiny_job(folder, 8, model="identity:slow=2")
    with (
        PrivateRedis() as server,
        closing(CeleryExecutor(server.url)) as executor,
        launcher(server.url, folder, arguments.lease),
    ):
        events = threading.Thread(
            target=lambda: list(scheduler.follow_job(job, executor)), daemon=True
        )
        events.start()
        wait(lambda: len(job.receipts.ids()) >= 2)
        time.sleep(1.2)  # the append-only file is flushed every second
        if lose:
            with closing(redis_url.connect(server.url)) as client:
                client.flushall()
                time.sleep(1.2)
        os.kill(int((server.folder / "redis.pid").read_text()), signal.SIGKILL)
        killed = time.time()
        begun = wait(lambda: [a for a in attempts_of(job) if a.at > killed])[0].at
        wait(lambda: job.ended)
        events.join()
    return begun - killed


# -- shared by the parts ----------------------------------------------------------------------


@contextmanager
def launcher(url: str, folder: Path, lease: float) -> Iterator[subprocess.Popen[bytes]]:
    """Start one worker on the CPU, as `ip2p-batch worker` does."""
    with (folder / "workers.log").open("ab") as log:
        process = subprocess.Popen(
            launcher_command("cpu", 1),
            env={**launcher_env(url), "IP2P_VISIBILITY_TIMEOUT": f"{lease:g}"},
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def attempts_of(job: JobFolder) -> list[Attempt]:
    """Return all attempts at a job's chunks, in order."""
    found = []
    for path in (job.path / "attempts").glob("*.json"):
        with suppress(Exception):  # half written, or gone with the job's end
            found.append(decode(path.read_bytes(), Attempt))
    return sorted(found, key=lambda attempt: attempt.at)


def wait(condition: Callable[[], T]) -> T:
    end = time.monotonic() + _WAIT_SECONDS
    while not (value := condition()):
        if time.monotonic() > end:
            sys.exit(f"timeout after {_WAIT_SECONDS:g} s")
        time.sleep(0.02)
    return value


PARTS = {"deaths": deaths, "overhead": overhead, "redis": redis}

if __name__ == "__main__":
    main()
