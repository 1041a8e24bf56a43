"""Measure whether a long shot drifts: warp error and fidelity by quarter of 600 frames.

    python -m benchmarks.drift [--frames 600] [--instructions pencil,winter] [--plot FILE.png]

The clip is vtest.avi, a street scene from a fixed camera. Its content changes from quarter to
quarter, and the measures change with it. A fixed seed, which carries nothing from frame to frame
and therefore cannot drift, is the reference.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
from pathlib import Path
from typing import Any

from ._common import find_clips, machine, new_parser, read_clip
from ._methods import Clip, Settings, edit, recipe_for
from .consistency import begin, measured

ROWS = ("fixed seed", "default")
QUARTERS = 4


def work(job: tuple[str, str, Clip, Settings]) -> dict[str, Any]:
    row, instruction, clip, settings = job
    begin({"vtest": clip}, settings)
    from .consistency import _STATE

    images = edit(_STATE["editor"], row, clip, recipe_for(row, instruction, settings))
    facts = measured(clip, images, instruction, [])
    print(f"{row}, {instruction}: {facts['psnr']:.2f} dB", file=sys.stderr, flush=True)
    return {"row": row, "instruction": instruction} | facts


def quarters(values: list[float]) -> list[float]:
    size = len(values) // QUARTERS
    return [statistics.fmean(values[n * size : (n + 1) * size]) for n in range(QUARTERS)]


def table(found: list[dict[str, Any]]) -> str:
    lines = [
        "| | E_warp by quarter | last compared with first | ... relative to the fixed seed's"
        " | PSNR to the reference edit's by quarter | last compared with first"
        " | ... relative to the fixed seed's |",
        "|---|---|---|---|---|---|---|",
    ]
    for facts in found:
        base = next(
            f for f in found if f["row"] == ROWS[0] and f["instruction"] == facts["instruction"]
        )
        errors, psnrs = quarters(facts["errors"]), quarters(facts["psnrs"])
        change, gain = errors[-1] / errors[0] - 1, psnrs[-1] - psnrs[0]
        own = quarters(base["errors"])
        its_gain = quarters(base["psnrs"])
        lines.append(
            f"| {facts['row']}, {facts['instruction']}"
            f" | {', '.join(f'{e:.3f}' for e in errors)} | {change:+.1%}"
            f" | {(1 + change) / (own[-1] / own[0]) - 1:+.1%}"
            f" | {', '.join(f'{p:.2f}' for p in psnrs)} | {gain:+.2f} dB"
            f" | {gain - (its_gain[-1] - its_gain[0]):+.2f} dB |"
        )
    return "\n".join(lines)


def draw(found: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for n, facts in enumerate(found):
        name = f"{facts['row']}, {facts['instruction']}"
        style = {"label": name, "color": f"C{n}", "linewidth": 0.9}
        upper.plot(facts["errors"], **style)
        lower.plot(facts["psnrs"], **style)
    upper.set(ylabel="warp error x 1000", ylim=(0, None))
    lower.set(ylabel="PSNR to the reference edit's, dB", xlabel="frame")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    upper.legend(fontsize=8, ncols=2)
    figure.savefig(path)


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--image-guidance-scale", type=float, default=1.0)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--instructions", default="pencil,winter")
    parser.add_argument("--media", type=Path, default=Path("build/clips"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    path = find_clips(arguments.media)["vtest"]
    clip = Clip(*read_clip(path, arguments.frames, arguments.size))
    settings = Settings(
        arguments.size, arguments.image_guidance_scale, arguments.dtype, arguments.batch
    )
    jobs = [
        (row, instruction, clip, settings)
        for instruction in arguments.instructions.split(",")
        for row in ROWS
    ]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(work, jobs, chunksize=1)
    print(f"{len(clip.images)} frames, cuts at {clip.cuts}\n\n{table(found)}\n")
    print(", ".join(machine("torch", "diffusers", "opencv-python-headless").values()))
    if arguments.json:
        arguments.json.write_text(json.dumps(found))
    if arguments.plot:
        draw(found, arguments.plot)


if __name__ == "__main__":
    main()
