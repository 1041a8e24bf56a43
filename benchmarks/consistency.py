"""How steady edited videos are: this project's mechanisms, alone and together, and its peers.

    python benchmarks/consistency.py -o DIR [--rows NAME,...] [--clips NAME,...] [--frames 96]
    python benchmarks/consistency.py -o DIR --report        # tables and plots of what is there
    python benchmarks/consistency.py -o DIR --timing        # seconds a frame, alone, side by side

Each (row, clip, instruction) is edited once, by one of two processes with one thread each, and
kept under DIR, so an interrupted run goes on. Everything is measured on the edited pictures
themselves, not on a video file. The bundled model's teachers are deterministic functions of a
picture: they give fidelity (PSNR to the teacher's edit) and the floor of the warp error.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from clips import find_clips, read_clip
from machine import machine

from ip2p_batch import models
from ip2p_batch.frame import Frame, Image
from ip2p_batch.job import Plan
from ip2p_batch.metrics import psnr, seam_ratio, ssim, video_flicker, warp_error
from ip2p_batch.plan import plan_video
from ip2p_batch.recipe import Recipe
from ip2p_batch.training.grammar import GRAMMAR
from ip2p_batch.training.teachers import TEACHERS

INSTRUCTIONS = ("pencil", "watercolor", "cartoon", "night", "autumn", "winter")
#: Recipes of our own rows: what differs from a fixed seed with nothing else.
OFF: dict[str, Any] = {"carryover": 0.0, "anchors": 0, "temporal_filter": 0}
ROWS: dict[str, dict[str, Any]] = {
    "fresh seed": OFF,
    "fixed seed": OFF,
    "cross-frame attention": OFF,
    "anchors": {**OFF, "anchors": 3},
    "anchors, decoder": {**OFF, "anchors": 3, "anchor_layers": "decoder"},
    "carryover": {**OFF, "carryover": 0.6},
    "carryover 0.8": {**OFF, "carryover": 0.8},
    "carryover 0.7": {**OFF, "carryover": 0.7},
    "carryover 0.9": {**OFF, "carryover": 0.9},
    "carryover and anchors": {**OFF, "carryover": 0.6, "anchors": 3},
    "warped noise": {**OFF, "noise": "warped"},
    "carryover, warped noise": {**OFF, "carryover": 0.6, "noise": "warped"},
    "renoised": {**OFF, "carryover": 0.6, "carry": "renoised"},
    "correction": {**OFF, "correction": 0.5},
    "renoised and correction": {
        **OFF,
        "carryover": 0.6,
        "carry": "renoised",
        "correction": 0.5,
    },
    "carryover and correction": {**OFF, "carryover": 0.6, "correction": 0.5},
    "temporal filter": {**OFF, "temporal_filter": 2},
    "default": {},
}


class Task(NamedTuple):
    row: str
    clip: str
    instruction: str

    def folder(self, output: Path) -> Path:
        return output / self.row.replace(" ", "-").replace(",", "") / self.clip / self.instruction


class Clip(NamedTuple):
    images: list[Image]
    cuts: list[int]


# -- editing ------------------------------------------------------------------------------


def recipe_for(row: str, instruction: str, size: int) -> Recipe:
    values = {
        "model": "tiny",
        **models.defaults("tiny"),
        "size": size,
        **ROWS[row],
        "instruction": GRAMMAR[instruction].canonical,
    }
    return msgspec.convert(values, Recipe)


def planned(clip: Clip, recipe: Recipe) -> Plan:
    height, width = clip.images[0].shape[:2]
    return plan_video(0, len(clip.images), clip.cuts, recipe, (width, height))


def edit(editor: Any, row: str, clip: Clip, recipe: Recipe) -> list[Image]:
    frames = [Frame(n, n, image) for n, image in enumerate(clip.images)]
    if row == "fresh seed":
        return [
            editor.session(recipe).edit([f], seeds=[recipe.seed + 1000 + f.index])[0].image
            for f in frames
        ]
    if row == "cross-frame attention":
        return cross_frame(editor, frames, recipe)
    return planned_edit(editor, frames, recipe, planned(clip, recipe))


def planned_edit(editor: Any, frames: list[Frame], recipe: Recipe, plan: Plan) -> list[Image]:
    """What the workers do with a plan, without decoding and encoding."""
    edited: dict[int, Image] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{frame.index}.safetensors" for frame in frames]
        for chunk in plan.chunks:
            session = editor.session(recipe)
            anchors = [frames[n] for n in chunk.anchors]
            if chunk.kind == "borders":
                session.anchor([(frame, None) for frame in anchors])
                session.save_borders([(frames[n], paths[n]) for n in chunk.borders])
                continue
            made = chunk.borders and recipe.edits_borders
            if chunk.borders:
                session.tie([(frames[n], paths[n] if made else None) for n in chunk.borders])
            session.anchor([(f, paths[f.index] if made else None) for f in anchors])
            sources = frames[slice(*chunk.reach)]
            steady = [
                frame
                for pair in zip(sources, session.edit(sources), strict=True)
                for frame in session.steady(*pair)
            ]
            for frame in [*steady, *session.rest()]:
                if chunk.start <= frame.index < chunk.stop:
                    edited[frame.index] = frame.image
    return [edited[frame.index] for frame in frames]


def cross_frame(editor: Any, frames: list[Frame], recipe: Recipe) -> list[Image]:
    """Video Instruct-Pix2Pix as diffusers' documentation has it, after Text2Video-Zero.

    diffusers' own pipeline and CrossFrameAttnProcessor: keys and values of all self-attention
    layers are the first frame's; chunks of 8, each the first frame of all and 7 others; every
    chunk seeded anew.
    """
    import torch
    from diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero import (
        CrossFrameAttnProcessor2_0,
    )
    from PIL import Image as Pillow

    pipe = editor.pipe
    before = dict(pipe.unet.attn_processors)
    pipe.unet.set_attn_processor(CrossFrameAttnProcessor2_0(batch_size=3))
    pipe.set_progress_bar_config(disable=True)
    edited: list[Image] = []
    try:
        for start in range(0, len(frames), 7):
            part = frames[start : start + 7]
            chunk = [frames[0], *part]
            found = pipe(
                [recipe.instruction] * len(chunk),
                image=[Pillow.fromarray(frame.image) for frame in chunk],
                num_inference_steps=recipe.num_inference_steps,
                guidance_scale=recipe.guidance_scale,
                image_guidance_scale=recipe.image_guidance_scale,
                generator=torch.Generator().manual_seed(recipe.seed),
                output_type="np",
            ).images
            edited += [(image * 255).round().astype(np.uint8) for image in found[1:]]
    finally:
        pipe.unet.set_attn_processor(before)
    return edited


# -- one task, in a process of its own ------------------------------------------------------

_STATE: dict[str, Any] = {}


def begin(clips: dict[str, Clip], size: int, dtype: str) -> None:
    import torch

    from ip2p_batch.edit.loading import load_editor

    torch.set_num_threads(1)
    _STATE.update(clips=clips, size=size)
    _STATE["editor"] = load_editor("tiny", device="cpu", dtype=dtype, threads=1)


def work(job: tuple[Task, Path]) -> str:
    task, folder = job
    clip: Clip = _STATE["clips"][task.clip]
    recipe = recipe_for(task.row, task.instruction, _STATE["size"])
    start = time.perf_counter()
    images = edit(_STATE["editor"], task.row, clip, recipe)
    spent = time.perf_counter() - start
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "frames.npy", np.stack(images))
    seams = sorted({c.start for c in planned(clip, recipe).chunks if c.kind == "frames"} - {0})
    facts = measured(clip, images, task.instruction, seams)
    facts |= {"seconds": spent / len(images), "frames": len(images)}
    (folder / "facts.json").write_text(json.dumps(facts))
    return f"{task}: {facts['excess']:.3f} above the teacher's, {facts['psnr']:.2f} dB"


def measured(
    clip: Clip, images: Sequence[Image], instruction: str, seams: Sequence[int]
) -> dict[str, Any]:
    """Figures of one edited clip; warp errors times 1000."""
    taught = [TEACHERS[instruction](image) for image in clip.images]
    motions = motions_of(clip)
    pairs = [n for n in range(len(images) - 1) if n + 1 not in clip.cuts]
    errors = {
        name: [
            1000 * warp_error(video[n], video[n + 1], motions[n]) if n in pairs else 0.0
            for n in range(len(images) - 1)
        ]
        for name, video in (("output", images), ("teacher", taught), ("source", clip.images))
    }
    means = {name: statistics.fmean(values[n] for n in pairs) for name, values in errors.items()}
    return {
        "warp_error": means["output"],
        "teacher_warp_error": means["teacher"],
        "source_warp_error": means["source"],
        "excess": means["output"] - means["teacher"],
        "seam_ratio": seam_ratio(errors["output"], seams, clip.cuts),
        "teacher_seam_ratio": seam_ratio(errors["teacher"], seams, clip.cuts),
        "flicker": 1 - statistics.fmean(video_flicker(images[n], images[n + 1]) for n in pairs),
        "psnr": statistics.fmean(psnr(o, t) for o, t in zip(images, taught, strict=True)),
        "source_ssim": statistics.fmean(
            ssim(o, s) for o, s in zip(images, clip.images, strict=True)
        ),
        "errors": errors["output"],
        "psnrs": [psnr(o, t) for o, t in zip(images, taught, strict=True)],
    }


def motions_of(clip: Clip) -> list[Any]:
    from ip2p_batch.flow import measured_flow

    key = id(clip)
    if _STATE.get("motions_of") != key:
        pairs = zip(clip.images, clip.images[1:], strict=False)
        _STATE["motions"] = [measured_flow(a, b) for a, b in pairs]
        _STATE["motions_of"] = key
    found: list[Any] = _STATE["motions"]
    return found


# -- the table ------------------------------------------------------------------------------


def report(output: Path) -> str:
    """Markdown: one line a row, over the clips and instructions that all rows have."""
    found: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for row in ROWS:
        base = Task(row, "", "").folder(output)
        for path in sorted(base.glob("*/*/facts.json")):
            key = (path.parts[-3], path.parts[-2])
            found.setdefault(row, {})[key] = json.loads(path.read_text())
    keys = sorted(set.intersection(*(set(rows) for rows in found.values())))
    lines = [
        f"{len(keys)} pairs of clip and instruction",
        "",
        "| | E_warp | above the source's | excess over the teacher's, summed | seam ratio |"
        " flicker (VBench) | PSNR to the teacher's | s a frame |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row, all_facts in found.items():
        facts = [all_facts[key] for key in keys]

        def mean(name: str, facts: list[dict[str, Any]] = facts) -> float:
            return statistics.fmean(f[name] for f in facts)

        seams = [f["seam_ratio"] for f in facts if f["seam_ratio"] is not None]
        lines.append(
            f"| {row} | {mean('warp_error'):.3f} |"
            f" {mean('warp_error') - mean('source_warp_error'):+.3f} |"
            f" {sum(max(0.0, f['excess']) for f in facts):.3f} |"
            f" {statistics.fmean(seams) if seams else float('nan'):.3f} |"
            f" {mean('flicker'):.4f} | {mean('psnr'):.2f} | {mean('seconds'):.2f} |"
        )
    lines += ["", "| excess, mean over clips | " + " | ".join(INSTRUCTIONS) + " |"]
    lines.append("|---" * (len(INSTRUCTIONS) + 1) + "|")
    for row, all_facts in found.items():
        cells = []
        for name in INSTRUCTIONS:
            some = [all_facts[key] for key in keys if key[1] == name]
            cells.append(
                f"{statistics.fmean(f['excess'] for f in some):+.3f} /"
                f" {statistics.fmean(f['psnr'] for f in some):.2f}"
                if some
                else "-"
            )
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--rows", default=",".join(ROWS).replace(", ", "; "))
    parser.add_argument("--clips", default="bigbuckbunny,bikes,carphone,vtest")
    parser.add_argument("--instructions", default=",".join(INSTRUCTIONS))
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--media", type=Path, default=Path("build/clips"))
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    if not arguments.report:
        run(arguments)
    print(report(arguments.output))
    print(", ".join(machine("torch", "diffusers", "opencv-python-headless").values()))


def run(arguments: argparse.Namespace) -> None:
    paths = find_clips(arguments.media)
    clips = {
        name: Clip(*read_clip(paths[name], arguments.frames, arguments.size))
        for name in arguments.clips.split(",")
    }
    rows = [row.replace("; ", ", ") for row in arguments.rows.split(",")]
    tasks = [
        Task(row, clip, instruction)
        for row in rows
        for instruction in arguments.instructions.split(",")
        for clip in clips
    ]
    jobs = [(task, task.folder(arguments.output)) for task in tasks]
    jobs = [job for job in jobs if not (job[1] / "facts.json").exists()]
    context = multiprocessing.get_context("spawn")
    start = (clips, arguments.size, arguments.dtype)
    with context.Pool(arguments.processes, begin, start) as pool:
        for n, line in enumerate(pool.imap_unordered(work, jobs), 1):
            print(f"{n}/{len(jobs)} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
