"""Control nets of the bundled model: edges of the source at a strong text scale.

    python -m benchmarks.control [-o DIR] [--model tiny] [--photos DIR] [--count 6]
    python -m benchmarks.control --video [-o DIR] [--frames 32]

Held-out photographs are edited with a strong text scale and the weakest image scale, without a
control net, with the ControlNet and with the T2I-Adapter. Measured are the F1 of the edges against
the source's, and the number of outputs whose nearest reference edit is the one that was asked for.
Writes results.json, table.md and sheet.jpg (rows: source, hint, without,
with each net). --video measures warp error and seam ratio of the demo's clip instead, and writes
video.json.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ip2p_batch.editing.editor import Editor, Overrides
from ip2p_batch.editing.loading import load_editor, quiet_libraries
from ip2p_batch.evaluation import psnr
from ip2p_batch.evaluation.sharpness import edge_f1
from ip2p_batch.frame import Frame, Image
from ip2p_batch.hints.make import make_hint
from ip2p_batch.hints.steady import HintFilter
from ip2p_batch.jobs.plan import VideoChunk
from ip2p_batch.models import catalog
from ip2p_batch.recipe import Recipe
from ip2p_batch.recipe_parts import Control
from ip2p_batch.threads import CpuPool
from ip2p_batch.training.instructions import PHRASES
from ip2p_batch.training.reference_edits import REFERENCE_EDITS

from ._common import CLIP, ROOT, machine, new_parser, read_clip
from ._methods import Clip, planned, planned_edit
from .consistency import measured
from .model import held_out, middle, nearest

SIDE = 256
KIND = "canny"
#: Edits that keep the source's edges, and edits that draw their own.
EDITS: Mapping[str, Sequence[str]] = {
    "edges kept": ("night", "winter", "sepia", "autumn", "sunset", "underwater"),
    "drawn": ("pencil", "cartoon"),
}
#: The default text scale of diffusers' InstructPix2Pix pipeline, and the weakest image scale.
TEXT_SCALE, IMAGE_SCALE = 7.5, 1.0


class Net(NamedTuple):
    """A net of the model, and how it is used.

    Attributes:
        folder: in the model's folder.
        scale: of the net.
        blank: whether all hints are black, which shows what the hint contributes.
    """

    folder: str
    scale: float
    blank: bool = False


#: Nets by name in the tables.
NETS: Mapping[str, Net | None] = {
    "none": None,
    "ControlNet": Net("control", 1.0),
    "ControlNet, black hints": Net("control", 1.0, blank=True),
    "T2I-Adapter": Net("adapter", 0.3),
    "T2I-Adapter, black hints": Net("adapter", 0.3, blank=True),
}
VIDEO_EDITS = ("winter", "night")


def edited(
    editor: Editor,
    recipe: Recipe,
    images: Sequence[Image],
    instructions: Sequence[str],
    hints: Sequence[Image],
) -> list[Image]:
    """Edit images, each with its own instruction and hint; without nets, hints are not used."""
    frames = [
        Frame(number, 0, image, hints=(hint,) * len(recipe.control))
        for number, (image, hint) in enumerate(zip(images, hints, strict=True))
    ]
    overrides = [Overrides(instruction=instruction) for instruction in instructions]
    session = editor.session(recipe)
    results: list[Image] = []
    for at in range(0, len(frames), 8):
        part = slice(at, at + 8)
        results += [f.image for f in session.edit(frames[part], overrides=overrides[part])]
    return results


def measure(
    outputs: Sequence[Image],
    sources: Sequence[Image],
    taught: Sequence[dict[str, Image]],
    edits: Sequence[str],
) -> dict[str, Any]:
    """Figures of outputs, in the order of all edits of the first source, then the second.

    ``taught`` are the reference edits of each source, by name.
    """
    places = [(at, name) for at in range(len(sources)) for name in edits]
    both = list(zip(outputs, places, strict=True))
    f1 = [edge_f1(output, sources[at]) for output, (at, _) in both]
    right = [nearest(output, taught[at]) == name for output, (at, name) in both]
    distance = [psnr(output, taught[at][name]) for output, (at, name) in both]
    return {
        "edge_f1": statistics.median(f1),
        "edge_f1_mean": statistics.fmean(f1),
        "nearest": sum(right),
        "of": len(right),
        "reference_psnr": statistics.median(distance),
        "by_edit": {
            edit: [round(statistics.median(f1[n :: len(edits)]), 3), sum(right[n :: len(edits)])]
            for n, edit in enumerate(edits)
        },
    }


def still_images(
    editor: Editor, model: str, squares: Sequence[Image], output: Path, groups: Sequence[str]
) -> dict[str, Any]:
    """Measure all nets on groups of edits, and draw the sheet; outputs are kept in ``output``."""
    found: dict[str, Any] = {}
    made_hints = [make_hint(KIND, square) for square in squares]
    rows = [squares, made_hints]
    taught = [{name: make(s) for name, make in REFERENCE_EDITS.items()} for s in squares]
    for group in groups:
        edits = EDITS[group]
        instructions = [PHRASES[edit].canonical for _ in squares for edit in edits]
        images = [square for square in squares for _ in edits]
        found[group] = {}
        for name, net in NETS.items():
            kept = output / f"{group}-{name}-{len(squares)}.npy".replace(" ", "-")
            if not kept.exists():
                recipe = recipe_for(model, net, size=SIDE)
                hints = [hint for hint in made_hints for _ in edits]
                if net is not None and net.blank:
                    hints = [np.zeros_like(hint) for hint in hints]
                made = edited(editor, recipe, images, instructions, hints)
                np.save(kept, np.stack(made))
            outputs = list(np.load(kept))
            found[group][name] = measure(outputs, squares, taught, edits)
            print(group, name, found[group][name], flush=True)
            if group == groups[0] and not (net and net.blank):
                # Each column of the sheet shows another edit.
                rows.append([outputs[n * len(edits) + n % len(edits)] for n in range(len(squares))])
    sheet = np.vstack([np.hstack(row) for row in rows])
    sheet = cv2.resize(sheet, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(output / "sheet.jpg"), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return found


def recipe_for(model: str, net: Net | None, **values: Any) -> Recipe:
    """The model's defaults with the scales of this benchmark."""
    nets = () if net is None else (Control(kind=KIND, model=net.folder, scale=net.scale),)
    return Recipe(
        **{
            **catalog.defaults(model),
            "model": model,
            "instruction": "",
            "guidance_scale": TEXT_SCALE,
            "image_guidance_scale": IMAGE_SCALE,
            "carryover": 0.0,
            "control": nets,
        }
        | values
    )


def video(editor: Editor, model: str, count: int) -> dict[str, Any]:
    """Measure the first frames of the demo's clip, as a job edits them, with and without nets."""
    clip = Clip(*read_clip(CLIP, count, SIDE))
    size = max(clip.images[0].shape[:2])
    found: dict[str, Any] = {}
    for edit in VIDEO_EDITS:
        found[edit] = {}
        for name, net in NETS.items():
            if net is not None and net.blank:
                continue
            recipe = recipe_for(
                model, net, size=size, instruction=PHRASES[edit].canonical, carryover=0.7,
                chunk_frames=16,
            )  # fmt: skip
            frames = [
                Frame(n, n, image, hints=tuple(make_hint(c.kind, image) for c in recipe.control))
                for n, image in enumerate(clip.images)
            ]
            hints = HintFilter(recipe.temporal_filter if recipe.control else 0, CpuPool(1))
            frames = list(hints.apply(frames, range(len(frames))))
            plan = planned(clip, recipe)
            images = planned_edit(editor, frames, recipe, plan)
            seams = sorted({c.start for c in plan.chunks if isinstance(c, VideoChunk)} - {0})
            facts = measured(clip, images, edit, seams)
            found[edit][name] = {
                key: facts[key] for key in ("warp_error", "reference_warp_error", "seam_ratio")
            } | {
                "seams": len(seams),
                "edge_f1": statistics.median(
                    edge_f1(image, source)
                    for image, source in zip(images, clip.images, strict=True)
                ),
            }
            print(edit, name, found[edit][name], flush=True)
    return found


def table(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = []
    for group, rows in found.items():
        plain = rows["none"]["edge_f1"]
        lines += [
            f"| {group}: net | edge F1 to the source | gain | nearest reference"
            " | PSNR to the reference |",
            "|---|---|---|---|---|",
        ]
        for name, row in rows.items():
            gain = 100 * (row["edge_f1"] / plain - 1)
            lines.append(
                f"| {_described(name)} | {row['edge_f1']:.3f} | {gain:+.0f} % |"
                f" {row['nearest']}/{row['of']} | {row['reference_psnr']:.1f} dB |"
            )
        lines.append("")
    return "\n".join(lines)


def _described(name: str) -> str:
    net = NETS[name]
    return name if net is None else f"{name}, scale {net.scale:g}"


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--photos", type=Path, help="folder of held-out photographs")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build/control")
    parser.add_argument("--count", type=int, default=6, help="photographs")
    parser.add_argument("--groups", default=",".join(EDITS), help="groups of edits")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--video", action="store_true", help="measure a clip instead")
    parser.add_argument("--frames", type=int, default=32)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    quiet_libraries()
    facts = machine("torch", "diffusers")
    facts |= {"text_scale": str(TEXT_SCALE), "image_scale": str(IMAGE_SCALE)}
    editor = load_editor(arguments.model, device="cpu", threads=arguments.threads)
    if arguments.video:
        results = {"machine": facts, "frames": arguments.frames}
        results["results"] = video(editor, arguments.model, arguments.frames)
        (arguments.output / "video.json").write_text(json.dumps(results, indent=1))
        return
    photos = held_out(arguments.photos, arguments.output / "photos")
    step = max(1, len(photos) // arguments.count)
    squares = [middle(image, SIDE, SIDE) for image in photos.values()][::step][: arguments.count]
    found = still_images(
        editor, arguments.model, squares, arguments.output, arguments.groups.split(",")
    )
    results = {"machine": facts, "photos": len(squares), "results": found}
    (arguments.output / "results.json").write_text(json.dumps(results, indent=1))
    (arguments.output / "table.md").write_text(table(found))
    print(table(found))


if __name__ == "__main__":
    main()
