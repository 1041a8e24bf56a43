"""Square crops of photographs, each with several reference edits: the training images."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from ip2p_batch.errors import SourceError
from ip2p_batch.frame import Image
from ip2p_batch.media.images.reader import read_image
from ip2p_batch.storage.atomic import atomic_path
from ip2p_batch.training.reference_edits import REFERENCE_EDITS

#: Reference edits by number, as crops store them; ``keep`` is 0.
EDITS: tuple[str, ...] = tuple(REFERENCE_EDITS)


class CropConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the crops.

    Attributes:
        size: side of a crop in pixels.
        per_photo: crops per photo.
        edits_per_crop: different edits per crop, without ``keep``.
        jitter: fraction of the crops whose colors are changed before editing, so that a few
            photos cover more colors than they contain.
        seed: seed of all random choices.
    """

    size: int = 256
    per_photo: int = 6
    edits_per_crop: int = 8
    jitter: float = 0.6
    seed: int = 0


class Crops:
    """Memory-mapped crops.

    Attributes:
        sources: uint8, shape ``(crops, size, size, 3)``.
        edited: uint8, shape ``(crops, edits, size, size, 3)``.
        edits: indices into :data:`EDITS`, shape ``(crops, edits)``.
    """

    def __init__(self, folder: Path) -> None:
        self.sources: npt.NDArray[np.uint8] = np.load(folder / "sources.npy", mmap_mode="r")
        self.edited: npt.NDArray[np.uint8] = np.load(folder / "edited.npy", mmap_mode="r")
        self.edits: npt.NDArray[np.int64] = np.load(folder / "edits.npy")

    def __len__(self) -> int:
        return len(self.sources)

    def subset(self, every: int, edits: int) -> Crops:
        """Every so-many-th crop, and the first so many of its edits."""
        part = copy.copy(self)
        part.sources = self.sources[::every]
        part.edited, part.edits = self.edited[::every, :edits], self.edits[::every, :edits]
        return part


def make_crops(
    photos: Sequence[Path],
    folder: Path,
    config: CropConfig,
    *,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Crops:
    """Cut and edit crops, or read the crops that ``folder`` already contains.

    The crops of a photo depend on its name and the seed only.

    Args:
        photos: paths of the photos.
        folder: folder of the crops.
        config: options.
        progress: called with the number of photos done and of all photos.

    Raises:
        SourceError: no photo can be used.
        OutputError: ``folder`` cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "edits.npy").exists():
        parts: list[tuple[npt.NDArray[np.uint8], ...]] = []
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            for done, part in enumerate(pool.map(_crop_photo, photos, [config] * len(photos)), 1):
                if part is not None:
                    parts.append(part)
                progress(done, len(photos))
        if not parts:
            raise SourceError("No photo can be cropped: all crops are nearly uniform.")
        # `edits` is written last: a folder with it is complete.
        for position, name in enumerate(("sources", "edited", "edits")):
            with atomic_path(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, np.concatenate([part[position] for part in parts]))
    return Crops(folder)


def _crop_photo(photo: Path, config: CropConfig) -> tuple[npt.NDArray[np.uint8], ...] | None:
    image = read_image(photo)
    rng = random.Random(f"{config.seed}:{photo.name}")  # noqa: S311 - not used for security
    sources, edited, edits = [], [], []
    for _ in range(config.per_photo):
        crop = _random_crop(image, config.size, rng)
        if rng.random() < config.jitter:
            crop = jitter_colors(crop, rng)
        if crop.std() < 12:  # nearly uniform, such as a patch of sky
            continue
        drawn = rng.sample(range(1, len(EDITS)), config.edits_per_crop)
        sources.append(crop)
        edits.append(drawn)
        edited.append(np.stack([REFERENCE_EDITS[EDITS[number]](crop) for number in drawn]))
    if not sources:
        return None
    return np.stack(sources), np.stack(edited), np.array(edits)


def _random_crop(image: Image, size: int, rng: random.Random) -> Image:
    height, width = image.shape[:2]
    shortest = min(height, width)
    # Crops are not enlarged by more than a third: a model trained on blurred crops blurs.
    side = max(round(shortest * rng.uniform(0.45, 1.0)), min(shortest, round(size * 0.75)))
    top, left = rng.randint(0, height - side), rng.randint(0, width - side)
    square = image[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    square = cv2.resize(square, (size, size), interpolation=method)
    return np.ascontiguousarray(square[:, ::-1] if rng.random() < 0.5 else square)


def jitter_colors(image: Image, rng: random.Random) -> Image:
    """Change hue, saturation, exposure, white balance and gamma at random."""
    values = image.astype(np.float32) / 255
    if rng.random() < 0.35:
        hsv = cv2.cvtColor(values, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + rng.uniform(-180, 180)) % 360
        values = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * rng.uniform(0.7, 1.7)
    balance = np.array([rng.uniform(0.9, 1.1) for _ in range(3)], np.float32)
    values = np.clip(values * rng.uniform(0.8, 1.25) * balance, 0, 1) ** rng.uniform(0.7, 1.35)
    return np.ascontiguousarray((values * 255 + 0.5).astype(np.uint8))
