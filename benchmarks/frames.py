"""Frames per second, file to file: a plain loop over the diffusers pipeline, and this project.

Both edit the same clip with the same model, size, steps and scales, one after the other in one
run, and both encode with libx264. The plain loop is what a user would write: a PIL picture in, one
pipeline call a frame, PyAV out; torch takes all the threads it wants there.

    python benchmarks/frames.py [--clip FILE] [--size 384] [--runs 3] [--json out.json]

Prints a Markdown table with medians; nothing is downloaded (``--model tiny`` is bundled).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import machine

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT / "ip2p_batch" / "demo" / "clip.mp4"
INSTRUCTION = "make it winter with snow"  # what `ip2p-batch demo` does

# Runs in a process of its own, like the command it is compared with: imports and loading count.
PLAIN_LOOP = """
import sys, av, torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from PIL import Image
model, clip, out, instruction, size, steps, s_t, s_i = sys.argv[1:]
pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(
    model, safety_checker=None, torch_dtype=torch.float32)
pipe.set_progress_bar_config(disable=True)
source = av.open(clip)
stream = source.streams.video[0]
target = av.open(out, "w")
video = target.add_stream("libx264", rate=stream.average_rate, options={"crf": "18"})
video.width, video.height, video.pix_fmt = stream.width, stream.height, "yuv420p"
scale = int(size) / max(stream.width, stream.height)
small = [max(8, round(n * scale / 8) * 8) for n in (stream.width, stream.height)]
for frame in source.decode(stream):
    picture = frame.to_image().resize(small, Image.LANCZOS)
    edited = pipe(instruction, image=picture, num_inference_steps=int(steps),
                  guidance_scale=float(s_t), image_guidance_scale=float(s_i),
                  generator=torch.Generator().manual_seed(0)).images[0]
    edited = edited.resize((stream.width, stream.height), Image.LANCZOS)
    for packet in video.encode(av.VideoFrame.from_image(edited)):
        target.mux(packet)
for packet in video.encode():
    target.mux(packet)
target.close()
"""


def timed(command: list[str], env: dict[str, str]) -> float:
    """Wall seconds of one command.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    start = time.perf_counter()
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def frames_of(path: Path) -> int:
    import av

    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--size", type=int, default=384, help="longest side edited, in pixels")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model = ROOT / "ip2p_batch" / "models" / "tiny"
    defaults = json.loads((model / "ip2p_defaults.json").read_text())
    settings = [str(arguments.size)]
    settings += [
        str(defaults[name])
        for name in ("num_inference_steps", "guidance_scale", "image_guidance_scale")
    ]
    clip = str(arguments.clip.absolute())
    frames = frames_of(arguments.clip)
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"XDG_STATE_HOME": f"{folder}/state"}
        plain = [sys.executable, "-W", "ignore", "-c", PLAIN_LOOP, str(model), clip]
        ours = [sys.executable, "-m", "ip2p_batch", "edit", clip, INSTRUCTION]
        ours += ["--model", "tiny", "--size", str(arguments.size), "--overwrite", "--quiet"]
        rows = {
            "plain diffusers loop": [*plain, f"{folder}/plain.mp4", INSTRUCTION, *settings],
            "ip2p-batch": [*ours, "-o", f"{folder}/ours.mp4"],
            "ip2p-batch, carryover off": [*ours, "-o", f"{folder}/off.mp4", "--carryover", "0"],
        }
        for _ in range(arguments.runs):
            for name, command in rows.items():
                seconds.setdefault(name, []).append(timed(command, env))
        for name in ("plain", "ours", "off"):
            assert frames_of(Path(folder) / f"{name}.mp4") == frames, name
    facts = machine("torch", "diffusers", "av", "celery")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    reference = medians["plain diffusers loop"]
    print(f"{frames} frames, runs: {arguments.runs}, " + ", ".join(map(str, facts.values())))
    print("\n| file to file | seconds | frames/s | ratio |\n|---|---|---|---|")
    for name, value in medians.items():
        print(f"| {name} | {value:.1f} | {frames / value:.2f} | {reference / value:.2f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": facts, "seconds": seconds}, indent=1))


if __name__ == "__main__":
    main()
