"""Time by number of frames, which must be a straight line.

    python -m benchmarks.length [--frames 24 48 96 192 384] [--size 128] [--plot length.png]

The demo's clip, forwards and backwards, with the bundled model, file to file, from the time when
the first worker has loaded the model. Prints a Markdown table and the variance that a straight line
explains.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from ip2p_batch.models import catalog
from ip2p_batch.recipe import Recipe

from ._common import INSTRUCTION, decoded, machine, new_parser, ping_pong, write_video
from .editor_alone import job_seconds, run_job


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[24, 48, 96, 192, 384])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    values = {**catalog.defaults("tiny"), "model": "tiny", "size": arguments.size, "scenes": False}
    recipe = Recipe(instruction=INSTRUCTION, **values)
    seconds, images = [], decoded()
    with tempfile.TemporaryDirectory() as name:
        for count in arguments.frames:
            arguments.clip = Path(name) / f"{count}.mp4"
            write_video(arguments.clip, ping_pong(images, count), preset="veryfast")
            seconds.append(job_seconds(run_job(arguments, recipe, Path(name) / f"job-{count}")))
            print(f"{count} frames: {seconds[-1]:.1f} s", flush=True)
    slope, start = np.polyfit(arguments.frames, seconds, 1)
    line = slope * np.array(arguments.frames) + start
    explained = 1 - np.var(np.array(seconds) - line) / np.var(seconds)
    facts = machine("torch", "diffusers", "av", "celery")
    print(f"longest side {arguments.size}, {arguments.workers} workers, ", end="")
    print(", ".join(map(str, facts.values())))
    print("\n| frames | seconds | seconds a frame |\n|---|---|---|")
    for count, value in zip(arguments.frames, seconds, strict=True):
        print(f"| {count} | {value:.1f} | {value / count:.3f} |")
    print(f"\n{start:.1f} s and {slope:.4f} s a frame explain {explained:.4%} of it.")
    if arguments.json:
        found = dict(zip(map(str, arguments.frames), seconds, strict=True))
        arguments.json.write_text(
            json.dumps({"machine": facts, "seconds": found, "explained": explained}, indent=1)
        )
    if arguments.plot:
        draw(arguments.frames, seconds, list(line), arguments.plot)


def draw(frames: list[int], seconds: list[float], line: list[float], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(frames, line, color="0.6", label="straight line")
    axes.plot(frames, seconds, "o", label="jobs")
    axes.set(xlabel="frames", ylabel="seconds", xlim=(0, None), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    main()
