"""All measurements that need a GPU, in one command; for the GPU part of docs/performance.md.

    python -m benchmarks.gpu [--folder DIR]

Makes a model of Stable Diffusion 1.5's size with random weights (``random_model``) and a clip of
120 frames of 512x384 from the demo's; then runs ``host``, ``unet``, ``switches`` and ``frames``
with 10 Euler-ancestral steps and three anchors, at s_I 1.5 and 1.0. Nothing is downloaded. Takes
about ten minutes on an H100. Results in ``--folder`` are kept and not measured again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ._common import FRAMES, HEIGHT, ROOT, WIDTH, make_clip, new_parser
from ._plain import PLAIN, Run, warm_seconds

OURS = "... with --anchors 3"
#: With warm workers, for comparison with the warm plain loop.
READY = (f"{OURS}, workers waiting", f"{OURS}, one worker waiting")
#: Seconds, file to file, at s_I 1.5 and 1.0; times the plain loop; share of a matrix product.
BARS = {"1.5": 8.0, "1.0": 5.6}
TIMES_PLAIN = 6.0
SHARE = 0.45


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/gpu"))
    folder = parser.parse_args().folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    model, clip = folder / "sd15-random", folder / "clip.mp4"
    if not (model / "model_index.json").exists():
        bench("random_model", str(model))
    if not clip.exists():
        make_clip(clip)
    measured(folder / "host.json", "host", "--clip", str(clip), "--threads", "1,8")
    unet = folder / "unet.json"
    batches = ("--batches", "3,6,12,24,48,72", "--compile")
    measured(unet, "unet", "--model", "sd15", "--device", "cuda", *batches,
             "--plot", str(folder / "unet.png"))  # fmt: skip
    measured(folder / "switches.json", "switches", "--model", str(model), "--device", "cuda",
             "--clip", str(clip), "--size", f"{WIDTH}x{HEIGHT}", "--frames", "24")  # fmt: skip
    rows = (PLAIN, "diffusers, the whole clip at once", "diffusers, CrossFrameAttnProcessor",
            "ip2p-batch", OURS, *READY)  # fmt: skip
    for s_i in BARS:
        measured(folder / f"frames-{s_i}.json", "frames", "--clip", str(clip),
                 "--model", str(model), "--size", str(WIDTH), "--steps", "10", "--s-t", "7.5",
                 "--s-i", s_i, "--rows", ";".join(rows))  # fmt: skip
    print_results(folder)


def bench(name: str, *arguments: str) -> None:
    """Run another benchmark."""
    line = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    subprocess.run(line, cwd=ROOT, check=True)


def measured(result: Path, name: str, *arguments: str) -> None:
    """Run a benchmark whose JSON ``result`` does not exist yet."""
    if not result.exists():
        bench(name, *arguments, "--json", str(result))


def print_results(folder: Path) -> None:
    """Print the target values and the measured ones."""
    print("\n| measure | target | measured |\n|---|---|---|")
    for s_i, most in BARS.items():
        runs = json.loads((folder / f"frames-{s_i}.json").read_text())["runs"]
        found = {name: [Run(**r) for r in some] for name, some in runs.items()}
        plain = warm_seconds(found[PLAIN], FRAMES)
        for name in READY:
            ours = warm_seconds(found[name], FRAMES)
            print(f"| {FRAMES} frames, s_I {s_i}, {name} | {most} s | {ours:.1f} s |")
            print(f"| ... times the plain loop, warm | {TIMES_PLAIN} | {plain / ours:.1f} |")
    rows = json.loads((folder / "unet.json").read_text())["rows"]
    best = max((r["share"] for r in rows if r["dtype"] == "bfloat16"), default=0.0)
    print(f"| UNet against a bf16 matrix product | {SHARE:.0%} | {best:.0%} |")


if __name__ == "__main__":
    main()
