"""A seeded fault harness: real jobs on a real Redis with real workers, with injected faults.

    python -m tests.faults.chaos --minutes 60          # new seeds until then, and a table
    python -m tests.faults.chaos --seeds 0-39          # these
    python -m tests.faults.chaos --seed 123            # one, with every step
    python -m tests.faults.chaos --seed 123 --plan     # what it would do

A seed determines the job, the number of workers, and which faults are injected when. Afterwards,
and after as many ``resume`` as it takes, the result must be bit-identical to that of an undisturbed
run, without any other file, and every answer of ``status`` must have been true.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from . import jobs
from .course import Course, Ending, scenario
from .injections import FAULTS
from .rig import Rig, new_folder, small_disk


def hunt(
    seeds: Iterable[int],
    *,
    until: float | None = None,
    report: Callable[[str], None] = lambda _: None,
    log: Path | None = None,
) -> tuple[list[Ending], list[str]]:
    """Run cases one after the other on one rig.

    Args:
        until: ``time.monotonic()`` at which to stop; None to do all.
        log: where the log of workers and commands goes of a failed case.

    Ctrl-C stops it.

    Returns:
        how each case ended, and the processes that were left running.
    """
    folder = new_folder()
    os.environ["TMPDIR"] = str(folder)
    small_disk(folder / "disk", "64m")
    endings: list[Ending] = []
    rig = Rig(folder, 1)
    try:
        for seed in seeds:
            if until is not None and time.monotonic() > until:
                break
            case = scenario(seed)
            gone = rig.launcher is None or rig.launcher.poll() is not None
            if gone or rig.workers != case.workers or rig.kills > 3:
                rig.workers = case.workers
                rig.hire()
            jobs.KINDS[case.job].reference(rig)
            report(str(case))
            ending = Course(rig, case, lambda text: report(f"    {text}")).do()
            endings.append(ending)
            report(f"    {ending.seconds:.1f} s, {ending.resumes} resumes, came: {ending.came}")
            if ending.wrong:
                report(f"FAULT {case}\n  {ending.wrong}\n  replay: {replay(seed)}")
                if log is not None:
                    with log.open("a") as file:
                        file.write(f"== {case}\n{ending.wrong}\n")
                        for name in ("commands.log", "workers.log"):
                            text = (folder / name).read_text(errors="replace")
                            file.write(f"-- {name}\n{text[-6000:]}\n")
                rig.hire()
    except KeyboardInterrupt:
        report("stopped")  # the summary follows
    finally:
        left = rig.close()
        if os.path.ismount(folder / "disk"):
            os.system(f"umount -l {folder / 'disk'}")
        shutil.rmtree(folder, ignore_errors=True)
    return endings, left


def numbers(text: str) -> list[int]:
    """``3,8-10`` as numbers."""
    parts = [part.partition("-") for part in text.split(",")]
    return [n for a, _, b in parts for n in range(int(a), int(b or a) + 1)]


def replay(seed: int) -> str:
    return f"python -m tests.faults.chaos --seed {seed}"


def summary(endings: list[Ending], left: list[str]) -> dict[str, object]:
    """Counts by kind of fault."""
    faults: dict[str, dict[str, int]] = {
        f.__name__: {"drawn": 0, "came": 0, "wrong": 0} for f in FAULTS
    }
    for ending in endings:
        for fault, _ in ending.scenario.faults:
            faults[fault.__name__]["drawn"] += 1
        for name in ending.came:
            faults[name]["came"] += 1
            faults[name]["wrong"] += bool(ending.wrong)
    return {
        "cases": len(endings),
        "faults": sum(len(e.came) for e in endings),
        "resumes": sum(e.resumes for e in endings),
        "seconds": round(sum(e.seconds for e in endings), 1),
        "wrong": [{"seed": e.scenario.seed, "what": e.wrong} for e in endings if e.wrong],
        "left_running": left,
        "by_fault": faults,
        "by_job": _count(e.scenario.job for e in endings),
        "by_way": _count(e.scenario.way for e in endings),
        "by_workers": _count(str(e.scenario.workers) for e in endings),
        "seeds": [e.scenario.seed for e in endings],
        "small_disk": os.environ.get("CHAOS_NAMESPACE") == "own",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
        f" {platform.release()}, Python {platform.python_version()}, {_versions()}",
        "date": time.strftime("%Y-%m-%d"),
    }


def _versions() -> str:
    from importlib.metadata import version

    from ip2p_batch.queue import private_redis

    names = ("ip2p-batch", "celery", "kombu", "torch")
    server = private_redis.server_version(private_redis.find_server())
    return ", ".join([f"{n} {version(n)}" for n in names] + [f"server {server}"])


def _count(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def table(found: dict[str, object]) -> str:
    """The summary as Markdown."""
    lines = ["| fault | drawn | came | cases gone wrong |", "|---|---|---|---|"]
    faults = found["by_fault"]
    assert isinstance(faults, dict)
    for name, counts in faults.items():
        if not counts["drawn"]:
            continue
        lines.append(f"| {name} | {counts['drawn']} | {counts['came']} | {counts['wrong']} |")
    wrong, left = found["wrong"], found["left_running"]
    assert isinstance(wrong, list) and isinstance(left, list)
    lines += [
        "",
        f"{found['cases']} cases, {found['faults']} faults, {found['resumes']} resumes,"
        f" {found['seconds']} s; {len(wrong)} wrong, {len(left)} processes left.",
        f"{found['machine']}; {found['date']}.",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, help="one case, with every step")
    parser.add_argument("--seeds", metavar="3,8-10", help="seeds to run")
    parser.add_argument("--minutes", type=float, help="run new seeds for this long")
    parser.add_argument("--first", type=int, help="first seed; the clock by default")
    parser.add_argument("--plan", action="store_true", help="print the cases only")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the summary as JSON in addition"
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="logs of failed cases")
    parser.add_argument("--verbose", action="store_true", help="print every step of each case")
    options = parser.parse_args()
    if options.seed is not None:
        seeds: Iterable[int] = [options.seed]
    elif options.seeds:
        seeds = numbers(options.seeds)
    else:
        begin = options.first if options.first is not None else int(time.time())
        seeds = range(begin, begin + 10**9)
    if options.plan:
        for seed in seeds:
            print(scenario(seed))
        return 0
    _own_namespace()
    _as_everybody()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # cleanup runs
    until = time.monotonic() + 60 * options.minutes if options.minutes else None
    if until is None and not (options.seeds or options.seed is not None):
        parser.error("give --seed, --seeds or --minutes")

    def report(text: str) -> None:
        if options.seed is not None or options.verbose or not text.startswith("    "):
            print(text, flush=True)

    endings, left = hunt(seeds, until=until, report=report, log=options.log)
    found = summary(endings, left)
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    for ending in endings:
        if ending.wrong:
            print(f"{ending.scenario}: {ending.wrong}\nreplay: {replay(ending.scenario.seed)}")
    for line in left:
        print(f"left running: {line}")
    return 1 if left or any(e.wrong for e in endings) else 0


def _own_namespace() -> None:
    """Enter a mount namespace if that is allowed, so that mounts end with this process."""
    if os.environ.get("CHAOS_NAMESPACE") or shutil.which("unshare") is None:
        return
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    os.environ["CHAOS_NAMESPACE"] = "own"
    if os.system(f"{' '.join(unshare)} true 2>/dev/null") == 0:
        module = "tests.faults.chaos"
        os.execvp(unshare[0], [*unshare, sys.executable, "-m", module, *sys.argv[1:]])
    os.environ["CHAOS_NAMESPACE"] = "none"


def _as_everybody() -> None:
    """Make child processes respect the permissions of folders, even as root."""
    for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


if __name__ == "__main__":
    sys.exit(main())
