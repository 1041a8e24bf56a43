"""Masks that planning makes, in one file of the job folder: a ZIP of PNG files.

The file ``START-STOP.png`` is the mask of these frames, half-open. Frames without a file have an
empty mask.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from ..errors import JobError
from ..frame import Mask


def pack(runs: Iterable[tuple[range, Mask]]) -> bytes:
    """The content of the file; equal masks give equal bytes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for frames, mask in runs:
            _, encoded = cv2.imencode(".png", mask)
            name = zipfile.ZipInfo(f"{frames.start}-{frames.stop}.png")  # without a date
            archive.writestr(name, encoded.tobytes())
    return target.getvalue()


def digest(packed: bytes) -> str:
    """SHA-256 of the file."""
    return hashlib.sha256(packed).hexdigest()


class PlannedMasks:
    """Reads the masks of single frames.

    Args:
        size: width and height of the masks.
    """

    def __init__(self, packed: bytes, size: tuple[int, int]) -> None:
        self._archive = zipfile.ZipFile(io.BytesIO(packed))
        width, height = size
        self._empty = np.zeros((height, width), np.uint8)
        names = self._archive.namelist()
        self._runs = sorted(map(_run, names))
        self._starts = [start for start, _, _ in self._runs]

    def at(self, number: int) -> Mask:
        """The mask of frame ``number``."""
        place = bisect_right(self._starts, number) - 1
        if place < 0 or number >= self._runs[place][1]:
            return self._empty
        data = np.frombuffer(self._archive.read(self._runs[place][2]), np.uint8)
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def _run(name: str) -> tuple[int, int, str]:
    """The frames of a file, half-open, and its name."""
    start, stop = name.removesuffix(".png").split("-")
    return int(start), int(stop), name


@lru_cache(maxsize=2)
def load(path: Path, expected: str, size: tuple[int, int]) -> PlannedMasks:
    """Read the file that has this digest; chunks of a job share it.

    Raises:
        JobError: it is missing or damaged.
    """
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror}.") from error
    if digest(packed) != expected:
        raise JobError(f"{path} is damaged.", hint="Start the job again with `--overwrite`.")
    return PlannedMasks(packed, size)
