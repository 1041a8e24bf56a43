"""Gain and cost of each option of the editor: seconds per frame, and PSNR to the baseline.

    python -m benchmarks.switches [--frames 12] [--model tiny] [--device cpu] [--json out.json]
        [--rows few-steps] [--sheet sheet.jpg]

The baseline is float32, eager, one frame per call, all guidance branches in all steps, no
carryover. Each option is measured in turn with the row that it changes; figures are medians of
``--runs``, in CPU time of one thread on a CPU and in wall time on a GPU. With a ``--model`` of
random weights (``benchmarks.random_model``), only the times are meaningful.

Where the instruction is that of a reference edit that the bundled model was trained on, PSNR to
that edit of the source is a second measure of fidelity. UNet calls are the branches of all steps of
a frame: they do not depend on the machine. ``--sheet`` writes the first frame of the source and of
each row, next to each other.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import msgspec
import numpy as np
import torch

from ip2p_batch.editing import guidance
from ip2p_batch.editing.loading import load_editor
from ip2p_batch.evaluation.image_metrics import psnr
from ip2p_batch.frame import Frame, Image
from ip2p_batch.models import catalog, presets
from ip2p_batch.planning.planner import plan_video
from ip2p_batch.recipe import Recipe
from ip2p_batch.training.instructions import PHRASES
from ip2p_batch.training.reference_edits import REFERENCE_EDITS

from ._common import CLIP, decoded, machine, new_parser
from ._methods import planned_edit

PLAIN: dict[str, Any] = {
    "dtype": "float32",
    "batch_size": 1,
    "carryover": 0.0,
    "temporal_filter": 0,
    "compile": "off",
}
HALF = "half precision"


class Switch(NamedTuple):
    """The recipe fields that a row changes, and the row that it is compared with.

    Attributes:
        preset: the fields are those of this preset, in addition.
    """

    values: dict[str, Any]
    against: str = HALF
    gpu_only: bool = False
    preset: str = ""


#: All later rows are compared with half precision, the default.
SWITCHES: dict[str, Switch] = {
    HALF: Switch({"dtype": "auto"}, "plain"),
    "channels_first": Switch({}),
    "s_I = 1 (a branch less)": Switch({"image_guidance_scale": 1.0}),
    "--guidance-interval 0,0.8": Switch({"guidance_interval": (0.0, 0.8)}),
    "--guidance-interval 0.1,0.8": Switch({"guidance_interval": (0.1, 0.8)}),
    "--guidance-interval 0,0.6": Switch({"guidance_interval": (0.0, 0.6)}),
    "--deepcache-interval 2": Switch({"deepcache_interval": 2}),
    "--deepcache-interval 3": Switch({"deepcache_interval": 3}),
    "--deepcache-interval 5": Switch({"deepcache_interval": 5}),
    "--batch-size 2": Switch({"batch_size": 2}),
    "--batch-size 4": Switch({"batch_size": 4}),
    "--batch-size 16": Switch({"batch_size": 16}, gpu_only=True),
    "--tiny-vae": Switch({"tiny_vae": True}, gpu_only=True),
    "--compile on": Switch({"compile": "on"}),
    "--carryover 0.7": Switch({"carryover": 0.7}),
    "--carryover 0.7 --deepcache-interval 2": Switch({"carryover": 0.7, "deepcache_interval": 2}),
    "--temporal-filter 2": Switch({"temporal_filter": 2}),
    "--anchors 3": Switch({"anchors": 3}),
}
#: Rows of ``--rows few-steps``.
FEW_STEPS: dict[str, Switch] = {
    **{f"--preset {name}": Switch({}, preset=name) for name in reversed(presets.PRESETS)},
    **{
        f"--scheduler {name} -n 4": Switch({"scheduler": name, "num_inference_steps": 4})
        for name in ("lcm", "tcd", "ddim")
    },
    "--scheduler lcm -n 4 -i 1": Switch(
        {"scheduler": "lcm", "num_inference_steps": 4, "image_guidance_scale": 1.0}
    ),
    **{
        f"--preset {name} --carryover 0.7": Switch({"carryover": 0.7}, preset=name)
        for name in reversed(presets.PRESETS)
    },
}
ALL_ROWS = SWITCHES | FEW_STEPS


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--size", default="384x216")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--rows", default=";".join(SWITCHES), help="few-steps, or rows separated by semicolons"
    )
    parser.add_argument("--instruction", default="make it winter with snow")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path, help="an image of the first frame of each row")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    images = decoded(arguments.clip, (width, height), arguments.frames)
    frames = [Frame(number, number, image) for number, image in enumerate(images)]
    bench = Bench(arguments.model, arguments.device, arguments.instruction, frames)
    rows = []
    names = FEW_STEPS if arguments.rows == "few-steps" else arguments.rows.split(";")
    for name in names:
        switch = ALL_ROWS[name]
        if switch.gpu_only and arguments.device == "cpu":
            continue
        rows.append({"switch": name, **bench.compare(name, switch, arguments.runs)})
        print(rows[-1], flush=True)
    facts = machine("torch", "diffusers")
    if arguments.device != "cpu":
        facts = {"gpu": torch.cuda.get_device_name(), **facts}
    print(
        f"\n{arguments.model}, {arguments.size}, {len(frames)} frames, runs: {arguments.runs}, "
        + ", ".join(map(str, facts.values()))
    )
    _print_table(rows)
    if arguments.sheet:
        _write_sheet(arguments.sheet, images[0], bench.first_images)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": facts, "rows": rows}, indent=1))


def _print_table(rows: list[dict[str, Any]]) -> None:
    head = "UNet calls | seconds per frame | speed-up | PSNR to it, dB | PSNR to the reference, dB"
    print(f"\n| option | compared with | {head} |\n|---|---|---|---|---|---|---|")
    for row in rows:
        reference = "" if row["reference_psnr"] is None else f"{row['reference_psnr']:.2f}"
        print(
            f"| {row['switch']} | {row['against']} | {row['calls']} | {row['seconds']:.3f}"
            f" | {row['ratio']:.2f} | {row['psnr']:.1f} | {reference} |"
        )


def _unet_calls(recipe: Recipe) -> int:
    """Branches that the UNet computes for one frame, between borders if there are borders."""
    scales = guidance.weights(recipe.guidance_scale, recipe.image_guidance_scale)
    guided = recipe.guided_steps()
    steps = range(recipe.carried_steps(), recipe.num_inference_steps)
    return sum(len(guidance.branches(scales if n in guided else guidance.OFF)) for n in steps)


def _write_sheet(path: Path, source: Image, images: dict[str, Image]) -> None:
    """The source and the first frame of each row, with their names, three in a line."""
    labelled = [_labelled(image, name) for name, image in {"source": source, **images}.items()]
    labelled += [np.full_like(labelled[0], 255)] * (-len(labelled) % 3)
    lines = [np.concatenate(labelled[at : at + 3], axis=1) for at in range(0, len(labelled), 3)]
    bgr = cv2.cvtColor(np.concatenate(lines), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])


def _labelled(image: Image, name: str) -> Image:
    strip = np.full((22, image.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, name, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([strip, image])


class Bench:
    """Edits of the same frames by recipes of one model.

    Attributes:
        first_images: the first frame of each row so far.
    """

    def __init__(self, model: str, device: str, instruction: str, frames: list[Frame]) -> None:
        self._device = device
        self._frames = frames
        self._editors: dict[tuple[str, bool], Any] = {}
        self.first_images: dict[str, Image] = {}
        edits = (n for n, phrases in PHRASES.items() if phrases.canonical == instruction)
        reference = REFERENCE_EDITS.get(next(edits, ""))
        self._reference = [reference(frame.image) for frame in frames] if reference else []
        height, width = frames[0].image.shape[:2]
        self._size = (width, height)
        self._base = {"model": model, "instruction": instruction, "size": max(width, height)}
        self._base |= {"num_inference_steps": 10, **catalog.defaults(model), **PLAIN}

    def compare(self, name: str, switch: Switch, runs: int) -> dict[str, Any]:
        """Medians of both, measured in turn."""
        before = self._base | (SWITCHES[HALF].values if switch.against == HALF else {})
        preset = presets.values(switch.preset, self._base["model"]) if switch.preset else {}
        # All rows have the size that the benchmark was given.
        after = before | {k: v for k, v in preset.items() if k != "size"} | switch.values
        seconds: dict[str, list[float]] = {"before": [], "after": []}
        images: dict[str, list[Image]] = {}
        for turn in range(runs + 1):  # the first one warms up, and compiles
            for which, values in (("before", before), ("after", after)):
                first = which == "after" and name == "channels_first"
                spent, images[which] = self._edit(values, channels_first=first)
                if turn:
                    seconds[which].append(spent / len(self._frames))
        medians = {which: statistics.median(values) for which, values in seconds.items()}
        self.first_images[name] = images["after"][0]
        fidelity = _mean_psnr(images["before"], images["after"])
        return {
            "against": switch.against,
            "calls": _unet_calls(msgspec.convert(after, Recipe)),
            "seconds": medians["after"],
            "seconds_before": medians["before"],
            "ratio": medians["before"] / medians["after"],
            "psnr": fidelity,
            "reference_psnr": _mean_psnr(images["after"], self._reference)
            if self._reference
            else None,
        }

    def _edit(self, values: dict[str, Any], *, channels_first: bool) -> tuple[float, list[Image]]:
        editor = self._editor(values["dtype"], channels_first=channels_first)
        recipe = msgspec.convert(values, Recipe)
        plan = plan_video(0, len(self._frames), [], recipe, self._size)
        clock, wait = self._clock()
        start = clock()
        images = planned_edit(editor, self._frames, recipe, plan)
        wait()
        return clock() - start, images

    def _editor(self, dtype: str, *, channels_first: bool) -> Any:
        key = (dtype, channels_first)
        if key not in self._editors:
            editor = load_editor(str(self._base["model"]), device=self._device, dtype=dtype)
            if channels_first:
                for part in (editor.pipe.unet, editor.pipe.vae):
                    part.to(memory_format=torch.contiguous_format)
            self._editors[key] = editor
        return self._editors[key]

    def _clock(self) -> tuple[Callable[[], float], Callable[[], object]]:
        if self._device == "cpu":
            return time.process_time, lambda: None
        return time.perf_counter, torch.cuda.synchronize


def _mean_psnr(one: Sequence[Image], other: Sequence[Image]) -> float:
    return float(np.mean([psnr(a, b) for a, b in zip(one, other, strict=True)]))


if __name__ == "__main__":
    main()
