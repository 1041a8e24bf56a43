"""Edit one source from preparation to output, and check the output independently.

This module does not know the expected outcome. It only distinguishes "edited" from "refused", and
raises :class:`Broken` for what is never allowed: an exception that is not ours, a hang (the
caller's limit), an output that is not what its job says, or a part of one left behind.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import av
import av.logging
from PIL import Image as Pil

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import Ip2pError, OutputError, SourceError
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor
from ip2p_batch.settings import Settings

RECIPE = Recipe(instruction="leave it", model="identity", size=64, chunk_frames=12)
#: Of an image that came out; a reader's own limit, not the one that is under test.
Pil.MAX_IMAGE_PIXELS = None


class Broken(AssertionError):
    """An outcome that no input may cause."""


@dataclass(slots=True)
class Verdict:
    """The outcome.

    Attributes:
        error: class of the error that refused the source as a whole; empty where it was edited.
        message: of that error.
        hint: of that error.
        frames: frames or images that are there, counted by reading the output.
        sizes: ``(width, height)`` of each, as a set.
        failed: images that failed, by name: why.
        warnings: of the job and of its images.
    """

    error: str = ""
    message: str = ""
    hint: str = ""
    frames: int = 0
    sizes: set[tuple[int, int]] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``refused``, ``edited``, ``warned`` (edited, with warnings) or ``partly``."""
        if self.error:
            return "refused"
        return "partly" if self.failed else "warned" if self.warnings else "edited"


def judge(
    source: Path,
    output: Path,
    settings: Settings,
    *,
    recipe: Recipe = RECIPE,
    encoding: Encoding | None = None,
    end: float | None = None,
) -> Verdict:
    """Edit ``source`` into ``output`` with an editor that changes nothing.

    Raises:
        Broken: see the module; exceptions that are not ours come as they are.
    """
    request = scheduler.EditRequest(
        source=source, output=output, recipe=recipe, encoding=encoding or Encoding(), end=end
    )
    try:
        folder = scheduler.create_job(request, settings)
        events = list(scheduler.follow_job(folder, LocalExecutor(lambda _: IdentityEditor())))
    except Ip2pError as error:
        _nothing_left(output, whole=False)
        _readable(error, source)
        return Verdict(error=type(error).__name__, message=error.message, hint=error.hint)
    last = events[-1]
    if last.kind == "failed":
        _nothing_left(output, whole=folder.job().source.is_video is False)
        name = str(last.data["error"])
        if name not in ("SourceError", "OutputError", "EditError"):
            raise Broken(f"{source.name}: {name}: {last.message}")
        return Verdict(error=name, message=last.message, hint=str(last.data["hint"]))
    if last.kind != "done":
        raise Broken(f"ended with {last.kind}: {last.message}")
    _nothing_left(output, whole=True)
    result = scheduler.read_result(folder)
    warnings = tuple(result.warnings)
    failed = {os.path.basename(path): why for path, why in result.failed}
    for text in (*warnings, *failed.values()):
        if "\n" in text.replace(str(source), ""):
            raise Broken(f"more than one line: {text!r}")
    if folder.job().source.is_video:
        frames, sizes = watch(output)
    else:
        outputs = [Path(i.output) for i in folder.items() if i.error is None]
        found = [look(path) for path in outputs if path.exists()]
        frames, sizes = len(found), set(found)
    if frames != result.frames:
        raise Broken(f"{frames} came out where the job says {result.frames}")
    return Verdict(frames=frames, sizes=sizes, failed=failed, warnings=warnings)


def watch(path: Path) -> tuple[int, set[tuple[int, int]]]:
    """Frames of a video and their sizes, decoded by FFmpeg alone; every one must decode."""
    with av.open(str(path)) as container:
        sizes = [(f.width, f.height) for f in container.decode(video=0)]
    return len(sizes), set(sizes)


def look(path: Path) -> tuple[int, int]:
    """Size of an image, all of it decoded."""
    with Pil.open(path) as picture:
        picture.load()
        return picture.size


def _nothing_left(output: Path, *, whole: bool) -> None:
    """Check that no temporary file is left, and no file at all if the source was refused."""
    if output.exists() and not whole:
        raise Broken(f"{output} stands, although the source was refused")
    folder = output if output.is_dir() else output.parent
    if folder.is_dir() and (left := [p for p in folder.rglob(".ip2p-*") if p.is_file()]):
        raise Broken(f"left behind: {left}")


def _readable(error: Ip2pError, source: Path) -> None:
    """Check that an error on a source or output is one line that names a file."""
    if not isinstance(error, SourceError | OutputError):
        return
    name = source.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if not any(part in error.message for part in (source.name, name, "output", source.stem)):
        raise Broken(f"names no file: {error.message!r}")
