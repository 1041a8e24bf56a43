"""Making paired data with the teachers: photos in, a dataset of :mod:`.pairs` out.

A row also says what made it (``made_by``), so that pairs made in other ways, by a text-to-image
model with shared attention for one, can stand in the same table.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from ..errors import OutputError, RecipeError, SourceError
from ..frame import Image
from ..jobs.spec import Encoding
from ..media.images.codec import Still, read_still, write_still
from ..media.images.listing import find_items
from ..media.resize import Resize
from ..storage.atomic import atomic_path, write_atomic
from .grammar import instruction
from .pairs import BadRow
from .teachers import TEACHERS

TABLE = "pairs.jsonl"
Progress = Callable[[int, int], None]


class Making(msgspec.Struct, frozen=True, kw_only=True):
    """What to make of each photo.

    Attributes:
        size: longest side of the pictures, in pixels, 64 to 2048.
        per_photo: different edits of each photo, at least 1.
        edits: names of teachers to draw from; empty means all.
        seed: decides which edits and sentences are drawn.
    """

    size: int = 256
    per_photo: int = 4
    edits: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.edits if name not in TEACHERS]
        if unknown:
            raise RecipeError(
                f"There is no teacher called {unknown[0]!r}.",
                hint=f"Teachers are: {', '.join(TEACHERS)}.",
            )
        if not 64 <= self.size <= 2048:
            raise RecipeError(f"--size is {self.size}; it must be from 64 to 2048.")
        if self.per_photo < 1:
            raise RecipeError("--per-photo must be at least 1.")

    @property
    def names(self) -> tuple[str, ...]:
        """The teachers to draw from."""
        return self.edits or tuple(TEACHERS)


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    pairs: int
    photos: int
    bad: tuple[BadRow, ...]


def make_pairs(
    photos: Path, output: Path, making: Making, *, progress: Progress = lambda *_: None
) -> Made:
    """Edit every photo below ``photos`` by teachers drawn at random, and write a dataset.

    Which ones are drawn for a photo depends on its name and the seed, and not on the others: a
    photo more or less changes nothing else. The table is written last, so that a folder with one
    is whole.

    Raises:
        SourceError: there is no photo that can be read.
        OutputError: ``output`` holds a dataset already, or cannot be written.
    """
    photos, output = photos.expanduser().absolute(), output.expanduser().absolute()
    if (output / TABLE).exists():
        raise OutputError(
            f"{output} holds a dataset already.", path=output, hint="Choose another folder with -o."
        )
    items = find_items(photos, output)
    lines: list[str] = []
    bad: list[BadRow] = []
    for number, item in enumerate(items):
        name = Path(item.source).relative_to(photos).as_posix()
        if item.error is not None:
            bad.append(BadRow(where=name, why=item.error))
            continue
        try:
            still = read_still(Path(item.source))
        except SourceError as error:
            bad.append(BadRow(where=name, why=error.message.removeprefix(f"{item.source}: ")))
            continue
        lines += _of_one(name, still.image, output, making)
        progress(number + 1, len(items))
    if not lines:
        raise SourceError(
            f"{photos}: it holds no photo that can be read.",
            path=photos,
            hint="JPEG, PNG, WebP, TIFF, BMP and AVIF files are looked for, in all subfolders.",
        )
    write_atomic(output / TABLE, "".join(f"{line}\n" for line in lines).encode())
    return Made(pairs=len(lines), photos=len(items) - len(bad), bad=tuple(bad))


def _of_one(name: str, image: Image, output: Path, making: Making) -> list[str]:
    """Write the pairs of one photo; their rows."""
    height, width = image.shape[:2]
    source = Resize.for_size(width, height, making.size).apply(image)
    rng = random.Random(f"{making.seed}:{name}")  # noqa: S311 - nothing secret is drawn
    # The suffix stays in the name: a.png and a.jpg are two photos.
    stem = name.replace("/", "__")
    path = f"input/{stem}.png"
    _save(output / path, source, {"photo": name})
    lines = []
    for edit in _drawn(making.names, making.per_photo, rng):
        row = {
            "input": path,
            "instruction": instruction(edit, rng),
            "edited": f"edited/{stem}.{edit}.png",
            "made_by": {"teacher": edit, "seed": making.seed},
            "photo": name,
        }
        _save(output / f"edited/{stem}.{edit}.png", TEACHERS[edit](source), row)
        lines.append(json.dumps(row, ensure_ascii=False))
    return lines


def _drawn(names: Sequence[str], count: int, rng: random.Random) -> list[str]:
    return rng.sample(list(names), min(count, len(names)))


def _save(path: Path, image: Image, facts: Mapping[str, object]) -> None:
    with atomic_path(path) as temporary:
        write_still(
            temporary,
            image,
            Still(image=image, alpha=None, format="png"),
            comment=json.dumps(facts),
            encoding=Encoding(format="png"),
        )
