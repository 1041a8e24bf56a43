"""The picture that frames look at (``--reference-image``): read once, kept in the job folder."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from ..errors import EditError, SourceError
from ..frame import Image
from .images.codec import read_still
from .images.formats import opened
from .resize import Resize
from .source import classify_source
from .video.probe import index_video
from .video.reader import VideoReader


def read_reference_image(path: Path, size: int) -> Image:
    """A finished picture, or the middle frame of a finished video, at the size of the edit.

    Args:
        size: longest side in pixels, as for frames; both sides become multiples of 8.

    Raises:
        SourceError: it is neither, or cannot be read.
    """
    kind = classify_source(path)
    if kind == "still":
        image = read_still(path).image
        resize = Resize.for_size(image.shape[1], image.shape[0], size)
    elif kind == "video":
        index = index_video(path, scenes=False)
        with VideoReader(path, index.facts, index.pts) as reader:
            image = reader.frame(len(index.pts) // 2).image
        resize = Resize.of_video(index.facts, size)
    else:
        raise SourceError(
            f"{path} is no picture and no video: frames cannot look at it.",
            path=path,
            hint="Give --reference-image one edited image, or a video (its middle frame is used).",
        )
    return resize.apply(image)


def digest(look: Image) -> str:
    """SHA-256 of its pixels and shape."""
    return hashlib.sha256(repr(look.shape).encode() + look.tobytes()).hexdigest()


def to_png(look: Image) -> bytes:
    """The picture as a PNG file, without loss."""
    data = io.BytesIO()
    Pillow.fromarray(look).save(data, format="PNG")
    return data.getvalue()


def load_reference_image(path: Path, expected: str) -> Image:
    """The picture that :func:`to_png` made.

    Raises:
        EditError: it is gone, damaged, or has other pixels than ``expected``'s.
    """
    try:
        with opened(path) as (picture, _):
            look = np.ascontiguousarray(np.asarray(picture.convert("RGB"), dtype=np.uint8))
    except (SourceError, OSError) as error:
        raise EditError(
            f"{path}, which frames look at, cannot be read: {error}.",
            hint="Delete the job folder and run the command again.",
        ) from error
    if digest(look) != expected:
        raise EditError(
            f"{path} is not the picture that the job was planned with.",
            hint="Delete the job folder and run the command again.",
        )
    return look
