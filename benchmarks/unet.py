"""Throughput of the UNet alone, by batch size, relative to one large matrix product.

    python -m benchmarks.unet                                  # the bundled model on the CPU
    python -m benchmarks.unet --model sd15 --device cuda --batches 3,6,12,24,48 --compile

``sd15`` is the architecture of timbrooks/instruct-pix2pix with random weights; the time does not
depend on them. Samples are frames times guidance branches. Figures are medians of repeated calls;
torch counts the operations, two per multiply-add.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ip2p_batch.models import catalog

from ._common import machine, new_parser

#: SD 1.5's UNet with additional input channels for the source's latents.
SD15 = {
    "in_channels": 8,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "sample_size": 64,
}
TOKENS = 77
#: Guidance branches per frame: text and image, image only, none.
BRANCHES = 3
REPEATS = 7


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--model", choices=("tiny", "sd15"), default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", default="")
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--batches", default="3,6,12,24")
    parser.add_argument("--threads", type=int, default=1, help="on a CPU")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    gpu = arguments.device != "cpu"
    dtypes = arguments.dtypes or ("float16,bfloat16" if gpu else "float32,bfloat16")
    size = (arguments.width or (512 if gpu else 256), arguments.height or (384 if gpu else 144))
    rows = []
    for name in dtypes.split(","):
        dtype = getattr(torch, name)
        unet = build(arguments.model, arguments.device, dtype)
        ceiling = matmul_flops(arguments.device, dtype)
        for batch in map(int, arguments.batches.split(",")):
            call = forward(unet, arguments.model, size, batch, arguments.device, dtype)
            with FlopCounterMode(display=False) as counter:
                call()
            count = counter.get_total_flops()
            facts = {"dtype": name, "samples": batch}
            rows.append({**facts, "way": "eager", **measure(call, count, ceiling, batch)})
            if arguments.compile:
                torch._dynamo.reset()
                fast = torch.compile(unet, dynamic=False)
                call = forward(fast, arguments.model, size, batch, arguments.device, dtype)
                start = time.perf_counter()
                call()
                facts["compile_s"] = time.perf_counter() - start
                rows.append({**facts, "way": "compiled", **measure(call, count, ceiling, batch)})
    device = torch.cuda.get_device_name() if gpu else f"{arguments.threads} thread(s)"
    print(f"{arguments.model}, {size[0]}x{size[1]}, {device}, ", end="")
    where = machine("torch", "diffusers")
    print(", ".join(where.values()))
    print("\n| type | mode | samples | ms per sample | TFLOP/s | share of a matrix product's |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['dtype']} | {row['way']} | {row['samples']} | {row['ms']:.2f}"
            f" | {row['tflops']:.3f} | {row['share']:.0%} |"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": where, "rows": rows}, indent=1))
    if arguments.plot:
        draw(rows, arguments.plot)


def build(model: str, device: str, dtype: torch.dtype) -> Any:
    from diffusers import UNet2DConditionModel

    if model == "tiny":
        unet = UNet2DConditionModel.from_pretrained(catalog.BUNDLED["tiny"] / "unet")
    else:
        torch.manual_seed(0)
        unet = UNet2DConditionModel(**SD15)
    return unet.to(device, dtype).eval().to(memory_format=torch.channels_last)


def forward(
    unet: Any, model: str, size: tuple[int, int], batch: int, device: str, dtype: torch.dtype
) -> Callable[[], Any]:
    config = unet.config
    scale = 4 if model == "tiny" else 8  # pixels a latent, along each side
    shape = (batch, config.in_channels, size[1] // scale, size[0] // scale)
    sample = torch.randn(shape, device=device, dtype=dtype)
    sample = sample.contiguous(memory_format=torch.channels_last)
    texts = torch.randn(batch, TOKENS, config.cross_attention_dim, device=device, dtype=dtype)
    step = torch.tensor(500, device=device)

    @torch.inference_mode()
    def call() -> Any:
        return unet(sample, step, encoder_hidden_states=texts, return_dict=False)

    return call


def measure(call: Callable[[], Any], count: int, ceiling: float, batch: int) -> dict[str, float]:
    """Return milliseconds per sample, TFLOP/s, and the share of the matrix product's rate."""
    seconds = timed(call)
    rate = count / seconds
    return {"ms": 1000 * seconds / batch, "tflops": rate / 1e12, "share": rate / ceiling}


def matmul_flops(device: str, dtype: torch.dtype) -> float:
    """Return the operations per second of one large matrix product."""
    n = 8192 if device != "cpu" else 1024
    a = torch.randn(n, n, device=device).to(dtype)
    return 2 * n**3 / timed(lambda: a @ a)


def timed(call: Callable[[], Any]) -> float:
    """Return the median seconds of a call, after two warm-up calls."""
    found = []
    for _ in range(2 + REPEATS):
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return statistics.median(found[2:])


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for kind in dict.fromkeys((row["dtype"], row["way"]) for row in rows):
        some = [row for row in rows if (row["dtype"], row["way"]) == kind]
        axes.plot(
            [row["samples"] / BRANCHES for row in some],
            [1000 / row["ms"] / BRANCHES for row in some],
            marker="o",
            label=", ".join(kind),
        )
    axes.set(
        xlabel=f"frames in one call, {BRANCHES} branches each",
        ylabel="frames a second, one step",
        ylim=(0, None),
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    main()
