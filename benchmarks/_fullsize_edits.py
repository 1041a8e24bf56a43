"""What the parts of ``benchmarks.fullsize`` share: sources, edits of the bundled model, truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image as Pillow

from ip2p_batch.editing.editor import Overrides
from ip2p_batch.execution.full_size import transferred
from ip2p_batch.frame import Frame, Image
from ip2p_batch.jobs.spec import table_edit_size
from ip2p_batch.media.gradient import busiest_window
from ip2p_batch.media.resize import Resize
from ip2p_batch.models import catalog
from ip2p_batch.planning.recipes import recipe_for
from ip2p_batch.training.instructions import PHRASES
from ip2p_batch.training.reference_edits import REFERENCE_EDITS

from ._common import decoded

#: Edits that change colours, light or softness.
PHOTOMETRIC = (
    "black_and_white", "sepia", "negative", "night", "winter", "autumn", "sunset", "contrast",
    "thermal", "fog", "underwater",
)  # fmt: skip
#: Edits that draw or paint.
DRAWN = ("pencil", "cartoon", "watercolor", "oil", "blueprint", "neon")
KINDS: Mapping[str, tuple[str, ...]] = {"photometric": PHOTOMETRIC, "drawn": DRAWN}
#: The default edit size of ``--detail edit`` with the bundled model: its training size.
TODAY = 256
#: The usual edit size of a large model.
LARGE = 512
#: Frames of clips that count as images.
_STILLS = {"bunny": (10, 100), "clip1080": (20,)}
#: Pixels around an area that the reference edits of its pixels depend on; more than their reach.
_MARGIN = 48


class Area(NamedTuple):
    """A rectangle of an image, in pixels."""

    left: int
    top: int
    width: int
    height: int

    def of(self, image: Image) -> Image:
        rows = slice(self.top, self.top + self.height)
        return np.ascontiguousarray(image[rows, self.left : self.left + self.width])


class Small(NamedTuple):
    """An image before and after the edit, at the edit size, with padding."""

    resize: Resize
    source: Image
    edited: Image

    def enlarged(self) -> Image:
        """The result of ``--detail edit``."""
        return self.resize.restore(self.edited)

    def transferred(self, full: Image) -> Image:
        """The result of ``--detail source``."""
        return np.asarray(transferred(self.resize, self.source, self.edited, full), np.uint8)


class Edits:
    """Edits of the bundled model; kept in a folder, so that an interrupted run resumes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def editor(self) -> Any:
        from ip2p_batch.editing.loading import load_editor

        # One thread, as each worker has.
        return load_editor("tiny", device="cpu", threads=1)

    def small(self, name: str, image: Image, edit: str, size: int) -> Small:
        """Edit an image, which is the source ``name``, at an edit size."""
        height, width = image.shape[:2]
        resize = Resize.for_size(width, height, size)
        source = resize.apply(image)
        return Small(resize, source, self._edited(f"{name}-{edit}-{size}", source, edit, size))

    def _edited(self, name: str, source: Image, edit: str, size: int) -> Image:
        path = self._folder / f"{name}.png"
        if not path.exists():
            session = self.editor.session(recipe_for("tiny", "x", batch_size=1, size=size))
            override = Overrides(instruction=PHRASES[edit].canonical)
            (frame,) = session.edit([Frame(0, 0, source)], overrides=[override])
            Pillow.fromarray(frame.image).save(path)
        return read_image(path)

    def video(self, name: str, make: Callable[[], list[Image]]) -> list[Image]:
        """The frames that ``make`` returns, computed once."""
        path = self._folder / f"{name}.npy"
        if not path.exists():
            np.save(path, np.stack(make()))
        return list(np.load(path))


def default_size(longest: int) -> int:
    """What ``--size auto`` means for a source with this longest side."""
    return table_edit_size(catalog.edit_sizes("tiny").table(), longest)


def read_image(path: Path) -> Image:
    with Pillow.open(path) as image:
        return np.asarray(image.convert("RGB"), np.uint8)


def stills(files: Mapping[str, Path]) -> Iterator[tuple[str, Image]]:
    """Yield names and images: the photographs, and frames of the clips."""
    for name, path in files.items():
        if path.suffix != ".mp4":
            yield name, read_image(path)
            continue
        numbers = _STILLS[name]
        frames = decoded(path, count=max(numbers) + 1)
        for number in numbers:
            yield f"{name}-{number}", frames[number]


def most_detailed(image: Image, side: int) -> Area:
    """The area of at most ``side`` x ``side`` pixels with the largest sum of gradients."""
    height, width = (min(side, length) for length in image.shape[:2])
    return Area(*busiest_window(image, (width, height)), width, height)


def truth(image: Image, edit: str, area: Area) -> Image:
    """The reference edit at full size, in an area."""
    left, top = max(0, area.left - _MARGIN), max(0, area.top - _MARGIN)
    right, bottom = area.left + area.width + _MARGIN, area.top + area.height + _MARGIN
    around = np.ascontiguousarray(image[top:bottom, left:right])
    inside = area._replace(left=area.left - left, top=area.top - top)
    return inside.of(REFERENCE_EDITS[edit](around))
