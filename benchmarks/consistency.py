"""Temporal consistency of edited videos: this project's mechanisms, and other methods.

    python -m benchmarks.consistency -o DIR [--rows NAME;...] [--clips NAME,...] [--frames 96]
    python -m benchmarks.consistency -o DIR --report        # tables of the results in DIR
    python -m benchmarks.consistency -o DIR --timing        # seconds per frame, one row at a time

Each (row, clip, instruction) is edited once, by one of two processes with one thread each. Results
are kept in DIR, so an interrupted run resumes. All measures use the edited frames, not an encoded
video. The reference edits of the bundled model are deterministic functions of a frame; they give
fidelity (PSNR to the reference edit) and the lowest possible warp error.

Filters work on finished frames, so their rows start from the frames of another row.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ip2p_batch.evaluation import psnr, seam_ratio, ssim, video_flicker, warp_error
from ip2p_batch.frame import Image
from ip2p_batch.jobs.plan import VideoChunk
from ip2p_batch.recipe import Recipe
from ip2p_batch.training.reference_edits import REFERENCE_EDITS

from ._common import find_clips, machine, new_parser, read_clip
from ._consistency_report import TIMING, folder_name, report
from ._methods import ROWS, Clip, Settings, apply, edit, planned, recipe_for

INSTRUCTIONS = ("pencil", "watercolor", "cartoon", "night", "autumn", "winter")
CLIPS = ("bigbuckbunny", "bikes", "carphone", "vtest")


class Task(NamedTuple):
    row: str
    clip: str
    instruction: str

    def folder(self, output: Path) -> Path:
        return output / folder_name(self.row) / self.clip / self.instruction


# -- one task, in a process of its own ------------------------------------------------------

_STATE: dict[str, Any] = {}


def begin(clips: dict[str, Clip], settings: Settings) -> None:
    import torch

    from ip2p_batch.editing.loading import load_editor

    torch.set_num_threads(1)
    _STATE.update(clips=clips, settings=settings)
    _STATE["editor"] = load_editor("tiny", device="cpu", dtype=settings.dtype, threads=1)


def work(job: tuple[Task, Path]) -> str:
    task, output = job
    clip: Clip = _STATE["clips"][task.clip]
    recipe = recipe_for(task.row, task.instruction, _STATE["settings"])
    folder = task.folder(output)
    kept = folder / "frames.npy"
    if not kept.exists():  # if only facts.json was deleted, the kept frames are measured again
        folder.mkdir(parents=True, exist_ok=True)
        np.save(kept, np.stack(made(task, output, clip, recipe)))
    images = list(np.load(kept))
    seams = sorted(
        {c.start for c in planned(clip, recipe).chunks if isinstance(c, VideoChunk)} - {0}
    )
    facts = measured(clip, images, task.instruction, seams)
    facts |= {"frames": len(images)}
    (folder / "facts.json").write_text(json.dumps(facts))
    return f"{task}: {facts['excess']:.3f} above the reference edit's, {facts['psnr']:.2f} dB"


def made(task: Task, output: Path, clip: Clip, recipe: Recipe) -> list[Image]:
    base = ROWS[task.row].base
    if base is None:
        return edit(_STATE["editor"], task.row, clip, recipe)
    finished = np.load(task._replace(row=base).folder(output) / "frames.npy")
    return apply(list(finished), clip, recipe)


def measured(
    clip: Clip, images: Sequence[Image], instruction: str, seams: Sequence[int]
) -> dict[str, Any]:
    """Return the measures of one edited clip; warp errors times 1000."""
    references = [REFERENCE_EDITS[instruction](image) for image in clip.images]
    motions = motions_of(clip)
    pairs = [n for n in range(len(images) - 1) if n + 1 not in clip.cuts]
    errors = {
        name: [
            1000 * warp_error(video[n], video[n + 1], motions[n]) if n in pairs else 0.0
            for n in range(len(images) - 1)
        ]
        for name, video in (("output", images), ("reference", references), ("source", clip.images))
    }
    means = {name: statistics.fmean(values[n] for n in pairs) for name, values in errors.items()}
    return {
        "warp_error": means["output"],
        "reference_warp_error": means["reference"],
        "source_warp_error": means["source"],
        "excess": means["output"] - means["reference"],
        "edit_ssim": statistics.fmean(ssim(o, t) for o, t in zip(images, references, strict=True)),
        "seam_ratio": seam_ratio(errors["output"], seams, clip.cuts),
        "reference_seam_ratio": seam_ratio(errors["reference"], seams, clip.cuts),
        "flicker": 1 - statistics.fmean(video_flicker(images[n], images[n + 1]) for n in pairs),
        "psnr": statistics.fmean(psnr(o, t) for o, t in zip(images, references, strict=True)),
        "source_ssim": statistics.fmean(
            ssim(o, s) for o, s in zip(images, clip.images, strict=True)
        ),
        "errors": errors["output"],
        "psnrs": [psnr(o, t) for o, t in zip(images, references, strict=True)],
    }


def motions_of(clip: Clip) -> list[Any]:
    from ip2p_batch.temporal.flow import measured_flow

    key = id(clip)
    if _STATE.get("motions_of") != key:
        pairs = zip(clip.images, clip.images[1:], strict=False)
        _STATE["motions"] = [measured_flow(a, b) for a, b in pairs]
        _STATE["motions_of"] = key
    found: list[Any] = _STATE["motions"]
    return found


# -- seconds per frame ------------------------------------------------------------------------


def timed(clips: dict[str, Clip], settings: Settings, rows: Sequence[str]) -> dict[str, float]:
    """Return CPU seconds per frame in one thread: rows in turn, means over the clips.

    CPU time depends less on other load than wall time. Filters count in full, although a worker
    runs them in another thread.
    """
    begin(clips, settings)
    found: dict[str, list[float]] = {}
    for clip in clips.values():
        for row in rows:
            recipe = recipe_for(row, "pencil", settings)
            start = time.process_time()
            edit(_STATE["editor"], row, clip, recipe)
            found.setdefault(row, []).append((time.process_time() - start) / len(clip.images))
            print(f"{row}: {found[row][-1]:.3f} s", file=sys.stderr, flush=True)
    return {row: statistics.fmean(values) for row, values in found.items()}


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--rows", default=";".join(ROWS), help="separated by semicolons")
    parser.add_argument("--clips", default=",".join(CLIPS))
    parser.add_argument("--instructions", default=",".join(INSTRUCTIONS))
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--image-guidance-scale", type=float, default=1.0)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--media", type=Path, default=Path("build/clips"))
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--timing", action="store_true")
    arguments = parser.parse_args()
    if not arguments.report:
        run(arguments)
    print(report(arguments.output, INSTRUCTIONS))
    print(", ".join(machine("torch", "diffusers", "opencv-python-headless").values()))


def run(arguments: argparse.Namespace) -> None:
    paths = find_clips(arguments.media)
    clips = {
        name: Clip(*read_clip(paths[name], arguments.frames, arguments.size))
        for name in arguments.clips.split(",")
    }
    settings = Settings(
        arguments.size, arguments.image_guidance_scale, arguments.dtype, arguments.batch
    )
    if arguments.timing:
        found = timed(clips, settings, arguments.rows.split(";"))
        (arguments.output / TIMING).write_text(json.dumps(found, indent=1))
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.processes, begin, (clips, settings)) as pool:
        for row in arguments.rows.split(";"):  # in order: a row may start from another row's frames
            tasks = [
                Task(row, clip, instruction)
                for instruction in arguments.instructions.split(",")
                for clip in clips
            ]
            jobs = [
                (task, arguments.output)
                for task in tasks
                if not (task.folder(arguments.output) / "facts.json").exists()
            ]
            for n, line in enumerate(pool.imap_unordered(work, jobs), 1):
                print(f"{n}/{len(jobs)} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
