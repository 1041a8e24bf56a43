"""The share of the editor's speed that a job keeps, after orchestration, decoding and encoding.

    python -m benchmarks.editor_alone [--clip FILE] [--workers 2] [--runs 3] [--json out.json]

The editor alone: as many processes as the job has workers edit the job's chunks from frames in
memory, apply the temporal filters and discard the results; no Redis, receipts, decoding or
encoding. The job: the command, file to file. Both times start when the models are loaded. Both are
run in turn; figures are medians. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ip2p_batch.editing.loading import load_editor
from ip2p_batch.frame import Frame
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.plan import Chunk
from ip2p_batch.models import catalog
from ip2p_batch.recipe import Recipe

from ._common import CLIP, INSTRUCTION, ROOT, decoded, machine, new_parser
from ._methods import chunk_edit

#: State of one process of the pool: its editor, the frames, the recipe, the folder of borders.
_STATE: dict[str, Any] = {}


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--size", default="384x216", help="at which frames are edited")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    values = {**catalog.defaults("tiny"), "model": "tiny", "size": max(width, height)}
    recipe = Recipe(instruction=INSTRUCTION, **values)
    seconds: dict[str, list[float]] = {"the editor alone": [], "the job": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = decoded(arguments.clip, (width, height))
        np.save(folder / "frames.npy", np.stack(images))
        for turn in range(arguments.runs):
            job = run_job(arguments, recipe, folder / f"job-{turn}")
            seconds["the job"].append(job_seconds(job))
            # The same chunks: the job's own plan.
            chunks = job.plan().chunks
            alone = alone_seconds(chunks, recipe, folder, arguments.workers)
            seconds["the editor alone"].append(alone)
            print(f"alone {alone:.1f} s, job {seconds['the job'][-1]:.1f} s", flush=True)
    facts = machine("torch", "diffusers", "av", "celery")
    shares = [a / j for a, j in zip(*seconds.values(), strict=True)]
    print(f"{len(images)} frames, {arguments.workers} workers, ", end="")
    print(f"runs: {arguments.runs}, " + ", ".join(map(str, facts.values())))
    print("\n| | seconds | frames/s |\n|---|---|---|")
    for what, found in seconds.items():
        median = statistics.median(found)
        print(f"| {what} | {median:.2f} | {len(images) / median:.3f} |")
    print(f"| share of the editor's speed that the job keeps | {statistics.median(shares):.3f} | |")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"machine": facts, "seconds": seconds, "shares": shares}, indent=1)
        )


def run_job(arguments: argparse.Namespace, recipe: Recipe, folder: Path) -> JobFolder:
    """Run the command on the clip; return its job folder."""
    folder.mkdir()
    (folder / "recipe.toml").write_text(recipe.to_toml())
    line = [sys.executable, "-m", "ip2p_batch", "edit", str(arguments.clip.absolute())]
    line += ["--recipe", str(folder / "recipe.toml"), "-o", str(folder / "out.mp4"), "--quiet"]
    line += ["--workers", str(arguments.workers)]
    env = os.environ | {"PYTHONPATH": str(ROOT), "IP2P_JOBS_DIR": str(folder / "jobs")}
    subprocess.run(line, check=True, env=env | {"XDG_STATE_HOME": str(folder)})
    return JobFolder(next((folder / "jobs").iterdir()))


def job_seconds(job: JobFolder) -> float:
    """Return seconds from when the first worker has loaded its model to the result."""
    result = job.result()
    assert result is not None
    begun = min(
        r.finished - r.seconds["total"] + r.seconds.get("load", 0.0) for r in job.receipts.all()
    )
    return result.finished - begun


def alone_seconds(chunks: tuple[Chunk, ...], recipe: Recipe, folder: Path, workers: int) -> float:
    """Return seconds for all waves' chunks, from frames in memory, with loaded models."""
    # One thread each, like the workers.
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    os.environ.update(dict.fromkeys(names, "1"))
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, _begin, (str(folder), recipe)) as pool:
        pool.map(_ready, range(4 * workers), chunksize=1)
        start = time.perf_counter()
        for wave in sorted({chunk.wave for chunk in chunks}):
            pool.map(_chunk, [c for c in chunks if c.wave == wave], chunksize=1)
        return time.perf_counter() - start


def _begin(folder: str, recipe: Recipe) -> None:
    images = np.load(Path(folder) / "frames.npy")
    _STATE["frames"] = [Frame(n, n, image) for n, image in enumerate(images)]
    _STATE["editor"] = load_editor("tiny", device="cpu", dtype=recipe.dtype, threads=1)
    _STATE["recipe"] = recipe
    _STATE["folder"] = Path(folder)


def _ready(_: int) -> None:
    time.sleep(0.5)  # so that every process takes some, and all are started


def _chunk(chunk: Chunk) -> None:
    chunk_edit(_STATE["editor"], _STATE["frames"], _STATE["recipe"], chunk, _STATE["folder"])


if __name__ == "__main__":
    main()
