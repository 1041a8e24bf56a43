"""Make a dataset of image pairs from photos, with the reference edits.

Each row also records how the pair was made (``made_by``), so that a table can combine pairs from
several sources, such as a text-to-image model with shared attention.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ..errors import OutputError, RecipeError, SourceError
from ..frame import Image
from ..jobs.coding import Encoding
from ..media.images.formats import FORMATS_TEXT
from ..media.images.listing import list_folder
from ..media.images.reader import Still, read_image
from ..media.images.writer import write_still
from ..media.resize import Resize
from ..storage.atomic import atomic_path, write_atomic
from .instructions import sample_instruction
from .pairs import BadRow
from .reference_edits import REFERENCE_EDITS

TABLE = "pairs.jsonl"
#: Called with the number of photos done and of all photos.
Progress = Callable[[int, int], None]


class DatasetConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a dataset.

    Attributes:
        size: longest side of the images in pixels, 64 to 2048.
        per_photo: different edits per photo, at least 1.
        edits: names of the reference edits to draw from; empty means all.
        seed: seed of the drawn edits and instructions.
        follow_links: follow the links of the folder of photos to files and folders outside of it.

    Raises:
        RecipeError: an option is out of range, or an edit is unknown.
    """

    size: int = 256
    per_photo: int = 4
    edits: tuple[str, ...] = ()
    seed: int = 0
    follow_links: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.edits if name not in REFERENCE_EDITS]
        if unknown:
            raise RecipeError(
                f"--edits: unknown edit {unknown[0]!r}.",
                hint=f"Available edits: {', '.join(REFERENCE_EDITS)}.",
            )
        if not 64 <= self.size <= 2048:
            raise RecipeError(f"--size is {self.size}; it must be from 64 to 2048.")
        if self.per_photo < 1:
            raise RecipeError(f"--per-photo is {self.per_photo}; it must be at least 1.")

    @property
    def available_edits(self) -> tuple[str, ...]:
        """The names to draw from."""
        return self.edits or tuple(REFERENCE_EDITS)


class DatasetResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of :func:`make_dataset`: numbers of pairs and photos, and unreadable photos."""

    pairs: int
    photos: int
    bad: tuple[BadRow, ...]


def make_dataset(
    photos: Path, output: Path, config: DatasetConfig, *, progress: Progress = lambda *_: None
) -> DatasetResult:
    """Apply random reference edits to all photos in ``photos`` and its subfolders.

    The edits of a photo depend on its name and the seed only, so adding or removing a photo does
    not change the others. The table is written last: a folder with a table is complete.

    Args:
        photos: folder of the photos.
        output: folder of the dataset.
        config: options.
        progress: called after each photo.

    Raises:
        SourceError: there is no readable photo.
        OutputError: ``output`` already contains a dataset, or cannot be written.
    """
    photos, output = photos.expanduser().absolute(), output.expanduser().absolute()
    if (output / TABLE).exists():
        raise OutputError(
            f"{output} already contains a dataset.",
            path=output,
            hint="Choose another folder with -o.",
        )
    items = list_folder(photos, output, follow_links=config.follow_links).items
    lines: list[str] = []
    bad: list[BadRow] = []
    for number, item in enumerate(items):
        name = Path(item.source).relative_to(photos).as_posix()
        if item.error is not None:
            bad.append(BadRow(location=name, reason=item.error))
            continue
        try:
            image = read_image(Path(item.source))
        except SourceError as error:
            reason = error.message.removeprefix(f"{item.source}: ")
            bad.append(BadRow(location=name, reason=reason))
            continue
        lines += _write_pairs(name, image, output, config)
        progress(number + 1, len(items))
    if not lines:
        raise SourceError(
            f"{photos}: it contains no readable photo.",
            path=photos,
            hint=f"{FORMATS_TEXT} files are read, in all subfolders.",
        )
    write_atomic(output / TABLE, "".join(f"{line}\n" for line in lines).encode())
    return DatasetResult(pairs=len(lines), photos=len(items) - len(bad), bad=tuple(bad))


def _write_pairs(name: str, image: Image, output: Path, config: DatasetConfig) -> list[str]:
    """Write the images of one photo's pairs; return their rows."""
    height, width = image.shape[:2]
    source = Resize.for_size(width, height, config.size).apply(image)
    rng = random.Random(f"{config.seed}:{name}")  # noqa: S311 - not used for security
    # The suffix stays in the name: a.png and a.jpg are two photos.
    stem = name.replace("/", "__")
    path = f"input/{stem}.png"
    _write_image(output / path, source, {"photo": name})
    lines = []
    edits = config.available_edits
    for edit in rng.sample(edits, min(config.per_photo, len(edits))):
        row = {
            "input": path,
            "instruction": sample_instruction(edit, rng),
            "edited": f"edited/{stem}.{edit}.png",
            "made_by": {"reference_edit": edit, "seed": config.seed},
            "photo": name,
        }
        _write_image(output / f"edited/{stem}.{edit}.png", REFERENCE_EDITS[edit](source), row)
        lines.append(json.dumps(row, ensure_ascii=False))
    return lines


def _write_image(path: Path, image: Image, metadata: Mapping[str, object]) -> None:
    """Write a PNG with ``metadata`` as its comment."""
    with atomic_path(path) as temporary:
        write_still(
            temporary,
            image,
            Still(image=image, alpha=None, format="png"),
            comment=json.dumps(metadata),
            encoding=Encoding(format="png"),
        )
