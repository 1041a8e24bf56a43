"""Draw strips of frames, one image per mechanism, from the results of ``benchmarks.consistency``.

    python -m benchmarks.strips RESULTS FOLDER [--only NAME,...]

Each row of a strip is one editing method: three neighboring frames, and on their right one pixel
row over time, first frame on top. There, static content draws vertical streaks, motion draws
slanted streaks, and flicker draws dashes.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ip2p_batch.frame import Image
from ip2p_batch.training.reference_edits import REFERENCE_EDITS

from ._common import find_clips, new_parser, read_clip
from ._consistency_report import folder_name

SHOWN = 3


class Strip(NamedTuple):
    """A clip, an instruction, the first frame to show, and the editing methods."""

    clip: str
    instruction: str
    first: int
    rows: tuple[str, ...]


STRIPS = {
    "noise": Strip("carphone", "cartoon", 12, ("fresh seed", "fixed seed")),
    "carryover": Strip("bikes", "pencil", 2, ("fixed seed", "carryover")),
    "anchors": Strip(
        "bigbuckbunny", "cartoon", 12, ("fixed seed", "anchors", "cross-frame attention")
    ),
    "filter": Strip("carphone", "pencil", 12, ("fixed seed", "temporal filter", "deflicker")),
    "default": Strip(
        "bigbuckbunny",
        "cartoon",
        12,
        ("fresh seed", "cross-frame attention", "fixed seed", "default"),
    ),
}


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default=",".join(STRIPS))
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--media", type=Path, default=Path("build/clips"))
    arguments = parser.parse_args()
    paths = find_clips(arguments.media)
    for name in arguments.only.split(","):
        strip = STRIPS[name]
        source = read_clip(paths[strip.clip], arguments.frames, arguments.size)[0]
        videos = {"source": source}
        videos["reference edit"] = [REFERENCE_EDITS[strip.instruction](image) for image in source]
        for row in strip.rows:
            kept = arguments.results / folder_name(row) / strip.clip / strip.instruction
            videos[row] = list(np.load(kept / "frames.npy"))
        picture = np.concatenate(
            [labelled(name, line(images, strip.first)) for name, images in videos.items()]
        )
        path = arguments.folder / f"strip-{name}.jpg"
        cv2.imwrite(
            str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88]
        )
        print(path)


def line(images: list[Image], first: int) -> Image:
    """Return neighboring frames, then the middle pixel row over time."""
    height, width = images[0].shape[:2]
    over_time = np.stack([image[height // 2] for image in images])
    slice_ = cv2.resize(over_time, (width, height), interpolation=cv2.INTER_NEAREST)
    parts = [*images[first : first + SHOWN], np.asarray(slice_, dtype=np.uint8)]
    padded = [np.pad(part, ((0, 0), (0, 4), (0, 0)), constant_values=255) for part in parts]
    return np.concatenate(padded, axis=1)


def labelled(name: str, row: Image) -> Image:
    """Return the row of images with its name above it."""
    head = np.full((18, row.shape[1], 3), 255, np.uint8)
    cv2.putText(head, name, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)
    return np.concatenate([head, row])


if __name__ == "__main__":
    main()
