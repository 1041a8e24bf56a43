"""The plain loop that a user writes first, and the command, timed in turn with the same settings.

Each runs in a process of its own: imports and loading the model count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from machine import machine

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "ip2p_batch" / "models" / "tiny"
INSTRUCTION = "make it winter with snow"  # what `ip2p-batch demo` does
PLAIN = "plain diffusers loop"

#: A script's beginning: ``edited(picture)`` gives a PIL picture of the same size. What follows
#: it finds its own arguments in ``rest``.
_LOOP = """
import sys, torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from PIL import Image
model, instruction, size, steps, s_t, s_i, *rest = sys.argv[1:]
pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(
    model, safety_checker=None, torch_dtype=torch.float32)
pipe.set_progress_bar_config(disable=True)
def edited(picture):
    scale = int(size) / max(picture.size)
    small = [max(8, round(n * scale / 8) * 8) for n in picture.size]
    result = pipe(instruction, image=picture.resize(small, Image.LANCZOS),
                  num_inference_steps=int(steps), guidance_scale=float(s_t),
                  image_guidance_scale=float(s_i),
                  generator=torch.Generator().manual_seed(0)).images[0]
    return result.resize(picture.size, Image.LANCZOS)
"""


def options(description: str) -> argparse.ArgumentParser:
    """Those that such a benchmark has in any case."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--size", type=int, default=384, help="longest side edited, in pixels")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    return parser


def plain_loop(rest_of_script: str, size: int, *rest: str) -> list[str]:
    """The command line of a plain loop with the bundled model and its own defaults."""
    own = json.loads((MODEL / "ip2p_defaults.json").read_text())
    names = ("num_inference_steps", "guidance_scale", "image_guidance_scale")
    settings = [str(MODEL), INSTRUCTION, str(size), *(str(own[name]) for name in names)]
    return [sys.executable, "-W", "ignore", "-c", _LOOP + rest_of_script, *settings, *rest]


def command(source: str, output: str, size: int, *more: str) -> list[str]:
    """The command line of this project for the same."""
    start = [sys.executable, "-m", "ip2p_batch", "edit", source, INSTRUCTION, "-o", output]
    return [*start, "--model", "tiny", "--size", str(size), "--overwrite", "--quiet", *more]


def in_turn(rows: Mapping[str, list[str]], runs: int, state: str) -> dict[str, list[float]]:
    """Wall seconds of each command, ``runs`` times, one after the other.

    Raises:
        subprocess.CalledProcessError: one failed.
    """
    env = os.environ | {"XDG_STATE_HOME": state}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(runs):
        for name, line in rows.items():
            start = time.perf_counter()
            subprocess.run(
                line, check=True, env=env | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL
            )
            seconds[name].append(time.perf_counter() - start)
    return seconds


def tell(seconds: Mapping[str, Sequence[float]], count: int, noun: str, where: Path | None) -> None:
    """A Markdown table with medians on stdout, and all values as JSON."""
    facts = machine("torch", "diffusers", "av", "pillow", "celery")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    reference = medians[PLAIN]
    runs = len(next(iter(seconds.values())))
    print(f"{count} {noun}s, runs: {runs}, " + ", ".join(map(str, facts.values())))
    print(f"\n| file to file | seconds | {noun}s/s | ratio |\n|---|---|---|---|")
    for name, value in medians.items():
        print(f"| {name} | {value:.1f} | {count / value:.2f} | {reference / value:.2f} |")
    if where is not None:
        where.write_text(
            json.dumps({"machine": facts, f"{noun}s": count, "seconds": dict(seconds)}, indent=1)
        )
