"""Read the reference image (``--reference-image``) and keep it in the job folder."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from ..errors import EditError, SourceError
from ..frame import Image
from .frames import index_frames, open_frames
from .images.opening import open_image
from .images.reader import read_image
from .resize import Resize
from .source import classify_source


def read_reference_image(path: Path, size: int) -> Image:
    """Read a finished image, or the middle frame of a finished video, at the size of the edit.

    Args:
        size: longest side in pixels, as for frames; both sides become multiples of 8.

    Raises:
        SourceError: the file is neither, or cannot be read.
    """
    kind = classify_source(path)
    if kind == "still":
        image = read_image(path)
        resize = Resize.for_size(image.shape[1], image.shape[0], size)
    elif kind == "video":
        index = index_frames(path, scenes=False)
        with open_frames(path, index.facts, index.pts, index.ids) as reader:
            image = reader.frame(len(index.pts) // 2).image
        resize = Resize.of_video(index.facts, size)
    else:
        raise SourceError(
            f"{path} is neither an image nor a video, so it cannot be a reference image.",
            path=path,
            hint="Give --reference-image one edited image, or a video (its middle frame is used).",
        )
    return resize.apply(image)


def digest(image: Image) -> str:
    """SHA-256 of an image's pixels and shape."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def to_png(image: Image) -> bytes:
    """Encode an image as PNG, lossless."""
    data = io.BytesIO()
    Pillow.fromarray(image).save(data, format="PNG")
    return data.getvalue()


def load_reference_image(path: Path, expected: str) -> Image:
    """Read the image that :func:`to_png` wrote.

    Args:
        expected: its :func:`digest`.

    Raises:
        EditError: the file is missing or damaged, or has another digest.
    """
    try:
        with open_image(path) as (picture, _):
            image = np.ascontiguousarray(np.asarray(picture.convert("RGB"), dtype=np.uint8))
    except (SourceError, OSError) as error:
        raise EditError(
            f"The reference image {path} cannot be read: {error}.",
            hint="Delete the job folder and run the command again.",
        ) from error
    if digest(image) != expected:
        raise EditError(
            f"{path} is not the reference image that the job was planned with.",
            hint="Delete the job folder and run the command again.",
        )
    return image
