"""Strips of neighbouring frames, a row for each way of editing, from what consistency.py kept.

python benchmarks/strips.py RESULTS CLIP INSTRUCTION FIRST FILE.png [--rows NAME,...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from clips import find_clips, read_clip
from consistency import Task

from ip2p_batch.frame import Image
from ip2p_batch.training.teachers import TEACHERS

SHOWN = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("clip")
    parser.add_argument("instruction", choices=sorted(TEACHERS))
    parser.add_argument("first", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", default="fresh seed,fixed seed,carryover,default")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--media", type=Path, default=Path("build/clips"))
    arguments = parser.parse_args()
    part = slice(arguments.first, arguments.first + SHOWN)
    path = find_clips(arguments.media)[arguments.clip]
    source = read_clip(path, part.stop, arguments.size)[0][part]
    columns = [("source", source)]
    columns += [("teacher", [TEACHERS[arguments.instruction](image) for image in source])]
    for row in arguments.rows.split(","):
        folder = Task(row, arguments.clip, arguments.instruction).folder(arguments.results)
        columns.append((row, list(np.load(folder / "frames.npy")[part])))
    strip = np.concatenate([labelled(name, images) for name, images in columns])
    cv2.imwrite(str(arguments.file), cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))


def labelled(name: str, images: list[Image]) -> Image:
    """Frames side by side under their name."""
    row = np.concatenate(
        [np.pad(i, ((0, 4), (0, 4), (0, 0)), constant_values=255) for i in images], 1
    )
    head = np.full((18, row.shape[1], 3), 255, np.uint8)
    cv2.putText(head, name, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)
    return np.concatenate([head, row])


if __name__ == "__main__":
    main()
