"""Pictures and clips to edit, made on the spot of the demo's clip; large trees of small files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

import av
import numpy as np
from PIL import Image as Pillow

from ip2p_batch.frame import Image

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT / "ip2p_batch" / "demo" / "clip.mp4"
#: Of the clip that a GPU is measured with.
FRAMES, WIDTH, HEIGHT = 120, 512, 384

#: Of the small pictures: several buckets, upright ones and broad ones.
_SHAPES = ((64, 48), (48, 64), (64, 64), (96, 54), (80, 60), (40, 60))
_A_FOLDER = 500


def decoded(
    clip: Path = CLIP, size: tuple[int, int] | None = None, count: int | None = None
) -> list[Image]:
    """A clip's first ``count`` frames, or all, as RGB arrays; scaled to ``size``, if given."""
    width, height = size or (None, None)
    with av.open(str(clip)) as container:
        return [
            frame.to_ndarray(format="rgb24", width=width, height=height)
            for frame in islice(container.decode(video=0), count)
        ]


def to_and_fro(images: Sequence[Image], count: int) -> Iterator[Image]:
    """The images forwards and backwards, without a jump, until there are ``count``."""
    return islice(cycle([*images, *images[-2:0:-1]]), count)


def write_video(path: Path, images: Iterable[Image], *, rate: int = 24, **options: str) -> None:
    """RGB arrays of one shape as H.264; ``options`` are the encoder's."""
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
    """The demo's frames, cut to the shape of benchmarks for GPUs, until there are enough."""
    wide = decoded(size=(HEIGHT * 16 // 9, HEIGHT))
    left = (wide[0].shape[1] - WIDTH) // 2
    frames = [np.ascontiguousarray(image[:, left : left + WIDTH]) for image in wide]
    write_video(path, to_and_fro(frames, FRAMES), crf="14")
    return path


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
            noise = Pillow.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
            noise.resize(size, Pillow.Resampling.BICUBIC).save(path, quality=90)
        for number, path in enumerate(paths[len(_SHAPES) :]):
            path.hardlink_to(paths[number % len(_SHAPES)])
