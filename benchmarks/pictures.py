"""Pictures to edit, made on the spot: frames of the demo's clip, and large trees of small files."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT / "ip2p_batch" / "demo" / "clip.mp4"

#: Of the small pictures: several buckets, upright ones and broad ones.
_SHAPES = ((64, 48), (48, 64), (64, 64), (96, 54), (80, 60), (40, 60))
_A_FOLDER = 500


def frames_as_pictures(folder: Path, count: int, *, clip: Path = CLIP) -> list[Path]:
    """``count`` frames, evenly spread over a clip, as JPEG files."""
    folder.mkdir(parents=True, exist_ok=True)
    with av.open(str(clip)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    paths = []
    for number in range(count):
        paths.append(folder / f"{number:05d}.jpg")
        frames[number * len(frames) // count % len(frames)].save(paths[-1], quality=95)
    return paths


def make_tree(folder: Path, count: int) -> None:
    """A tree of ``count`` small JPEG files of several shapes, in subfolders of 500.

    Within a subfolder the files of one shape are one file with many names: quickly made, and no
    file system's limit of names is reached.
    """
    rng = np.random.default_rng(0)
    for first in range(0, count, _A_FOLDER):
        here = folder / f"{first // _A_FOLDER:04d}"
        here.mkdir(parents=True)
        paths = [here / f"{n:06d}.jpg" for n in range(first, min(first + _A_FOLDER, count))]
        for path, size in zip(paths, _SHAPES, strict=False):
            noise = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
            noise.resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
        for number, path in enumerate(paths[len(_SHAPES) :]):
            path.hardlink_to(paths[number % len(_SHAPES)])
