"""Write the hints that an edit of the same source and recipe would use to files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import numpy as np

from ..errors import OutputError, SourceError
from ..frame import Frame, Image
from ..jobs.coding import Encoding
from ..jobs.results import files_of
from ..jobs.spec import Item, Job
from ..jobs.video_facts import VideoFacts
from ..media.frames import open_frames
from ..media.images.reader import Still
from ..media.images.writer import write_still
from ..media.resize import Resize
from ..media.video.output import resolved_encoding
from ..media.video.segment import SegmentWriter
from ..planning.request import PreparedJob
from ..storage.atomic import atomic_path
from ..storage.publish import NameTakenError, publish
from ..storage.sequence import pattern_of
from ..threads import CpuPool
from .crash_safe_reader import CrashSafeReader
from .full_size import keeps_depth
from .image_hints import image_hints
from .image_input import read_item, resized_still
from .masks import VideoMasks
from .video_hints import VideoHints
from .video_source import SourceVideo

#: Called with what is done and of how many.
Progress = Callable[[int, int], None]
_THREADS = 4
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)
_PNG = Encoding(metadata="none", embed_recipe=False, mark_ai=False, format="png")


class HintFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What was written.

    Attributes:
        output: the video, image or folder, or the pattern of an image sequence.
        count: of frames or images.
        noun: what ``count`` counts, in the right number.
        width, height: of all hints, in pixels; 0 if they differ.
        failed: path and reason of each image without hints.
        warnings: one line each.
    """

    output: Path
    count: int
    noun: str
    width: int = 0
    height: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()


def write_hints(prepared: PreparedJob, progress: Progress = lambda *_: None) -> HintFiles:
    """Write the hints of the first control net of a prepared job.

    Raises:
        OutputError: a file exists and the job does not overwrite, or cannot be written.
        SourceError: a frame cannot be read.
    """
    if prepared.job.source.is_video:
        return _write_video(prepared, progress)
    return _write_images(prepared, progress)


def _write_video(prepared: PreparedJob, progress: Progress) -> HintFiles:
    job, output = prepared.job, Path(prepared.job.output)
    files = [Path(file) for file in files_of(job.output, job.source)]
    for file in () if job.overwrite else files:
        if os.path.lexists(file):
            raise _taken(file)
    with _open(prepared) as video:
        resize, facts = video.resize, _plain_facts(job, video.resize)

        def shown() -> Iterator[Frame]:
            for shot in prepared.plan.shots:
                with closing(video.frames(shot.start, shot.stop)) as frames:
                    for frame in frames:
                        yield frame.with_image(resize.without_padding(frame.hints[0]))
                        progress(frame.index + 1 - job.source.start, facts.frames)

        if pattern_of(output) is None:
            _write_file(job, facts, shown())
        else:
            for file, frame in zip(files, shown(), strict=True):
                _write_png(file, frame.image, overwrite=job.overwrite)
        warnings = tuple(video.warnings)
    return HintFiles(
        output=output,
        count=facts.frames,
        noun="frame" if facts.frames == 1 else "frames",
        width=facts.width,
        height=facts.height,
        warnings=warnings,
    )


@contextmanager
def _open(prepared: PreparedJob) -> Iterator[SourceVideo]:
    """The source of a video, as the chunks of its job open it."""
    job, table, shots = prepared.job, prepared.frames, prepared.plan.shots
    facts = job.source.video
    assert facts is not None
    assert table is not None
    resize = Resize.of_video(facts, job.edit_size(*facts.upright))
    pool = CpuPool(min(_THREADS, os.cpu_count() or 1))
    with (
        open_frames(
            Path(job.source.path), facts, table, prepared.frame_ids, deep=keeps_depth(job.recipe)
        ) as reader,
        VideoHints.open(job, shots, resize, pool, Path, {}) as hints,
    ):
        safe = CrashSafeReader(reader, table, frozenset(), shots)
        yield SourceVideo(facts, lambda _: safe, resize, hints, VideoMasks(facts))


def _plain_facts(job: Job, resize: Resize) -> VideoFacts:
    """Facts of a video of hints: the source's times, and plain pixels of the edit size."""
    source = job.source
    assert source.video is not None
    width, height = resize.content
    return VideoFacts(
        width=width,
        height=height,
        time_base=source.video.time_base,
        frame_rate=source.video.frame_rate,
        frames=source.stop - source.start,
        duration=source.video.duration,
        codec="rawvideo",
        container="mp4",
        pix_fmt="rgb24",
    )


def _write_file(job: Job, facts: VideoFacts, frames: Iterator[Frame]) -> None:
    path = Path(job.output)
    plain = msgspec.structs.replace(job.encoding, pixel_format=None)
    encoding = resolved_encoding(path, facts, plain)
    with (
        _new_file(path, overwrite=job.overwrite) as temporary,
        SegmentWriter(temporary, facts, encoding) as writer,
    ):
        for frame in frames:
            writer.write(frame)


def _write_images(prepared: PreparedJob, progress: Progress) -> HintFiles:
    job, failed, sizes, count = prepared.job, [], set(), 0
    for done, item in enumerate(prepared.items, 1):
        try:
            if item.error is not None:
                raise SourceError(item.error)
            hint = _image_hint(job, item)
            _write_png(Path(item.output), hint, overwrite=job.overwrite)
        except (SourceError, OutputError) as error:
            failed.append((item.source, error.message.removeprefix(f"{item.source}: ")))
        else:
            count += 1
            sizes.add((hint.shape[1], hint.shape[0]))
        progress(done, len(prepared.items))
    width, height = sizes.pop() if len(sizes) == 1 else (0, 0)
    return HintFiles(
        output=Path(job.output),
        count=count,
        noun="image" if count == 1 else "images",
        width=width,
        height=height,
        failed=tuple(failed),
        warnings=prepared.plan.warnings,
    )


def _image_hint(job: Job, item: Item) -> Image:
    resize, small = resized_still(job, read_item(job, item, Path))
    return resize.without_padding(image_hints(job, item, small, resize, Path)[0])


def _write_png(path: Path, image: Image, *, overwrite: bool) -> None:
    with _new_file(path, overwrite=overwrite) as temporary:
        write_still(temporary, image, Still(_NO_PIXELS, None, "png"), comment="", encoding=_PNG)


@contextmanager
def _new_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary file that gets its name when the block succeeds.

    Raises:
        OutputError: another file has the name and may not be replaced, or the disk failed.
    """

    def named(temporary: Path, path: Path) -> None:
        try:
            publish(temporary, path, lambda _: overwrite)
        except NameTakenError:
            raise _taken(path) from None

    with atomic_path(path, publish=named) as temporary:
        yield temporary


def _taken(path: Path) -> OutputError:
    return OutputError(
        f"{path} exists already.",
        path=path,
        hint="Replace it with --overwrite, or choose another name with -o.",
    )
