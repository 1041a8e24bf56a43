"""Part of ``benchmarks.fullsize``: 1:1 crops of source, today's result, the new one and truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from ip2p_batch.frame import Image

from ._fullsize_edits import TODAY, Area, Edits, default_size, most_detailed, stills, truth

SIDE = 300
_LABELS = ("source", "today", "default", "truth")
_BAR, _GAP, _FONT_SIZE = 20, 4, 14
_QUALITY = 90


class Crop(NamedTuple):
    """One image of the documentation.

    Attributes:
        place: ``(left, top)`` of the crop, as shares of the source's sides; None is the area with
            most detail.
    """

    source: str
    edit: str
    place: tuple[float, float] | None = None


#: Each edit once; together they show cables, hair-thin seeds, faces, text, flat skies, dark noise.
CROPS = (
    Crop("dandelion", "black_and_white"),
    Crop("boats", "sepia", (0.03, 0.68)),
    Crop("city", "negative"),
    Crop("noise", "night", (0.27, 0.55)),
    Crop("fur", "winter"),
    Crop("foliage", "autumn"),
    Crop("faces", "sunset", (0.45, 0.45)),
    Crop("forest", "contrast"),
    Crop("bird", "thermal"),
    Crop("sky", "fog", (0.53, 0.22)),
    Crop("clip1080-20", "underwater"),
    Crop("faces", "pencil", (0.45, 0.45)),
    Crop("bunny-10", "cartoon", (0.35, 0.3)),
    Crop("foliage", "watercolor"),
    Crop("boats", "oil", (0.03, 0.68)),
    Crop("sky", "blueprint"),
    Crop("dandelion", "neon"),
)


def write_crops(edits: Edits, files: Mapping[str, Path], folder: Path) -> list[str]:
    """Write the crops; return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for name, image in stills(files):
        for crop in (crop for crop in CROPS if crop.source == name):
            path = folder / f"full-size-{name}-{crop.edit.replace('_', '-')}.jpg"
            _row(edits, crop, image).save(path, quality=_QUALITY)
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)
            names.append(path.name)
    return names


def _row(edits: Edits, crop: Crop, image: Image) -> Pillow.Image:
    area = _area(crop, image)
    size = default_size(max(image.shape[:2]))
    old, new = (edits.small(crop.source, image, crop.edit, n) for n in (TODAY, size))
    results = (image, old.enlarged(), new.transferred(image))
    parts = [*map(area.of, results), truth(image, crop.edit, area)]
    width = len(parts) * (area.width + _GAP) - _GAP
    row = Pillow.fromarray(np.full((area.height + _BAR, width, 3), 255, np.uint8))
    draw, font = ImageDraw.Draw(row), ImageFont.load_default(_FONT_SIZE)
    for number, (label, part) in enumerate(zip(_LABELS, parts, strict=True)):
        left = number * (area.width + _GAP)
        row.paste(Pillow.fromarray(part), (left, _BAR))
        draw.text((left + _GAP, 1), label, fill=(0, 0, 0), font=font)
    return row


def _area(crop: Crop, image: Image) -> Area:
    if crop.place is None:
        return most_detailed(image, SIDE)
    height, width = image.shape[:2]
    left, top = round(crop.place[0] * width), round(crop.place[1] * height)
    return Area(min(left, width - SIDE), min(top, height - SIDE), SIDE, SIDE)
