"""Measure edited images against their sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from ..errors import SourceError
from ..jobs.coding import Decoding, Encoding
from ..jobs.spec import Item
from ..media.images.formats import SUFFIXES
from ..media.images.reader import read_image
from ..media.source import classify_source
from ..planning.images import list_images
from .full_size import FullSizeScore, full_size_score, mean_score

#: Called with the numbers of images done and of all images.
Progress = Callable[[int, int], None]


class ImageScore(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of one image.

    Attributes:
        name: path of the source, relative to the source folder or to the manifest's folder.
        width, height: size of the source in pixels.
        scores: at that size.
    """

    name: str
    width: int
    height: int
    scores: FullSizeScore


class ImagesScore(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of all images of a source.

    Attributes:
        mean: means over the images.
        images: those compared, in the source's order.
        left_out: one line ``NAME: REASON`` for each image that was not compared.
    """

    mean: FullSizeScore
    images: tuple[ImageScore, ...]
    left_out: tuple[str, ...] = ()


def score_images(source: Path, output: Path, progress: Progress = lambda *_: None) -> ImagesScore:
    """Compare edited images with their sources, one at a time in memory.

    Outputs are found by the names that an edit gives them; one of another image format is found,
    too.

    Args:
        source: an image, a folder of images, or a manifest.
        output: the edited image, or the folder of results.

    Raises:
        SourceError: the source cannot be read, or there is no image to compare.
        OutputError: an output file has the suffix of no image format.
    """
    items = list_images(source, output, classify_source(source), Encoding(), Decoding()).items
    expected = {item.output for item in items}
    base = (source if source.is_dir() else source.parent).absolute()
    images: list[ImageScore] = []
    left_out: list[str] = []
    for done, item in enumerate(items, 1):
        name = _relative(Path(item.source), base)
        try:
            images.append(_score_item(item, name, expected))
        except SourceError as error:
            left_out.append(f"{name}: {error.message.removeprefix(f'{item.source}: ')}")
        progress(done, len(items))
    if not images:
        raise SourceError(
            f"No image of {source} can be compared: {left_out[0].rstrip('.')}.",
            path=source,
            hint=f"Check that {output} has the edited images of {source}, under the same names.",
        )
    mean = mean_score([image.scores for image in images])
    return ImagesScore(mean=mean, images=tuple(images), left_out=tuple(left_out))


def _score_item(item: Item, name: str, expected: set[str]) -> ImageScore:
    """Compare one image.

    Raises:
        SourceError: its source or its output cannot be read.
    """
    if item.error is not None:
        raise SourceError(item.error)
    source = read_image(Path(item.source))
    output = read_image(_find_output(Path(item.output), expected))
    height, width = source.shape[:2]
    return ImageScore(name=name, width=width, height=height, scores=full_size_score(source, output))


def _find_output(path: Path, expected: set[str]) -> Path:
    """The output, or the file of the same name in another image format.

    Raises:
        SourceError: there is none.
    """
    for candidate in (path, *(path.with_suffix(suffix) for suffix in SUFFIXES)):
        if candidate.is_file() and (candidate == path or str(candidate) not in expected):
            return candidate
    raise SourceError(f"it has no output {path}", path=path)


def _relative(path: Path, base: Path) -> str:
    path = path.absolute()
    return str(path.relative_to(base) if path.is_relative_to(base) else path)
