"""Write the results of images at full size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from ..errors import OutputError, OutputTaken, OutsideRoots, SourceError
from ..frame import Alpha, FullImage, Mask
from ..jobs.plan import ImageChunk
from ..jobs.spec import Job
from ..masks.make import MaskMaker
from ..masks.paste import paste
from ..media.alpha import weigh_visible
from ..media.images.reader import Still
from ..media.images.writer import write_still
from ..storage.atomic import atomic_path, sync_directory, write_error
from .chunk_run import ChunkRun
from .full_size import at_full_size
from .image_input import LoadedImage, read_full_size
from .masks import item_mask
from .publication import Publisher
from .tile_pass import TilePass


def write_image(run: ChunkRun, loaded: LoadedImage, tiles: TilePass | None) -> str:
    """Write one result; returns its SHA-256.

    Raises:
        OutputError: it cannot be written, or another file has its name now.
        OutsideRoots: the output is outside of the allowed roots.
        SourceError: the source cannot be read again, or has another size now.
        EditError: the tile pass failed.
    """
    item, result_digest = loaded.item, ""
    reads = (item.source, *filter(None, (run.job.recipe.reference_image,)))
    publisher = Publisher(run.folder, run.chunk.id, item.output, item.replaces, reads)
    output = publisher.place()
    kept = f"{loaded.frame.index:06d}{output.suffix}"

    def publish(temporary: Path, path: Path) -> None:
        made = msgspec.structs.replace(loaded.made, digest=result_digest)
        try:
            publisher.publish(temporary, path, made)
        except OutputTaken as taken:
            place = publisher.keep(temporary, kept)
            raise OutputTaken(
                f"{taken.message} The result is in {place}; move the other file away, then run"
                f" `ip2p-batch retry {run.job.id}`.",
                path=output,
            ) from None
        publisher.drop_kept(kept)

    temporary = output
    check = run.lease.check
    try:
        with atomic_path(output, sync_parent=False, check=check, publish=publish) as temporary:
            image, still = _full_size(run, loaded, tiles)
            result_digest = write_still(
                temporary,
                image,
                still,
                comment=_comment(run.job, loaded),
                encoding=run.job.encoding,
            )
        return result_digest
    except OutputError as error:
        message = error.message.removeprefix(f"{temporary}: ")
        raise type(error)(message, path=output, hint=error.hint) from error.__cause__


def sync_output_folders(run: ChunkRun, chunk: ImageChunk) -> None:
    """Make the names of the results durable, once for each folder, before the receipt."""
    items = run.folder.items(chunk.start, chunk.stop)
    for folder in sorted({Path(item.output).parent for item in items}):
        try:
            if folder.is_dir():  # it does not exist if all of its images failed
                sync_directory(run.folder.roots.allow(folder))
        except OutsideRoots:
            continue  # nothing was written there
        except OSError as error:
            raise write_error(folder, error) from error


def _full_size(
    run: ChunkRun, loaded: LoadedImage, tiles: TilePass | None
) -> tuple[FullImage, Still]:
    """The result's pixels, and the source with what else the result keeps of it.

    Raises:
        SourceError: the source cannot be read again, or has another size now.
        EditError: the tile pass failed.
    """
    resize = loaded.resize
    still = loaded.still
    if not loaded.needs_source:
        return resize.restore(loaded.frame.image), still
    pixels = still.image
    if not pixels.size:
        pixels = read_full_size(run, loaded.item).image
        if (pixels.shape[1], pixels.shape[0]) != resize.stored:
            path = loaded.item.source
            raise SourceError(
                f"{path}: it changed while it was edited", path=path, hint="Run `ip2p-batch retry`."
            )
    maker = MaskMaker.of(run.job.recipe)
    mask = item_mask(run, loaded.item, replace(still, image=pixels))
    if maker is None or mask is None:
        return _transferred(loaded, tiles, pixels, still.alpha), still
    if not mask.any():
        return pixels, still
    if maker.fills_background and still.alpha is not None:
        shown, alpha = weigh_visible(pixels, still.alpha), None
    else:
        shown, alpha = pixels, still.alpha
    result = _transferred(loaded, tiles, shown, alpha, mask)
    return (
        maker.pasted(pixels, result, mask),
        replace(still, alpha=maker.opacity(still.alpha, mask)),
    )


def _transferred(
    loaded: LoadedImage,
    tiles: TilePass | None,
    pixels: FullImage,
    alpha: Alpha | None,
    mask: Mask | None = None,
) -> FullImage:
    """The edit at full size, drawn again in tiles if there is a tile pass.

    Raises:
        EditError: the tile pass failed.
    """
    edited = loaded.frame.image
    result = at_full_size(loaded.resize, loaded.source, edited, pixels, alpha, mask)
    if tiles is None:
        return result
    if mask is not None:
        result = paste(pixels, result, mask)
    return tiles.refine(pixels, result, loaded.frame, loaded.overrides, mask=mask)


def _comment(job: Job, loaded: LoadedImage) -> str:
    """The recipe of this image, as JSON text for its metadata."""
    own = {"size": job.edit_size(*loaded.resize.stored), **loaded.item.own_values()}
    values = msgspec.to_builtins(job.recipe) | own
    return msgspec.json.encode({"ip2p_batch": values}).decode()
