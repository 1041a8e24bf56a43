"""The frames of a source: of a video file, or of an image sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, cast, overload

from ..errors import RecipeError
from ..frame import Frame, FullFrame
from ..jobs.coding import Decoding
from ..jobs.video_facts import VideoFacts
from ..storage.sequence import is_sequence
from .sequence.probe import index_sequence
from .sequence.reader import SequenceReader
from .video.index import VideoIndex
from .video.probe import index_video
from .video.reader import AnyFrame, VideoReader
from .video.scan import Progress
from .video.timestamps import Times
from .video.types import VideoFrame

_DEFAULT_DECODING = Decoding()


class FrameReader(Protocol[AnyFrame]):
    """Reads frames by their numbers; see :class:`.video.reader.VideoReader`."""

    warnings: list[str]
    captions: dict[int, VideoFrame]

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def frame(self, number: int) -> AnyFrame: ...
    def frames(self, start: int, stop: int) -> Iterator[AnyFrame]: ...
    def frames_at(self, numbers: Sequence[int]) -> Iterator[AnyFrame]: ...


def index_frames(
    path: Path,
    *,
    decoding: Decoding = _DEFAULT_DECODING,
    scenes: bool = True,
    progress: Progress = lambda *_: None,
) -> VideoIndex:
    """Read a source once; see :func:`.video.probe.index_video`.

    Raises:
        SourceError: it cannot be read.
        RecipeError: ``decoding.fps`` is set for a video file, or another option for a sequence.
    """
    if is_sequence(path):
        return index_sequence(path, decoding=decoding, scenes=scenes, progress=progress)
    if decoding.fps is not None:
        raise RecipeError(
            f"--fps is for image sequences, and {path.name} is a file with times of its own.",
            hint="Omit --fps.",
        )
    return index_video(path, decoding=decoding, scenes=scenes, progress=progress)


def _any_path(path: Path) -> Path:
    return path


@overload
def open_frames(
    path: Path,
    facts: VideoFacts,
    pts: Times,
    ids: Times | None = None,
    *,
    deep: Literal[False] = False,
    allow: Callable[[Path], Path] = ...,
) -> FrameReader[Frame]: ...
@overload
def open_frames(
    path: Path,
    facts: VideoFacts,
    pts: Times,
    ids: Times | None = None,
    *,
    deep: bool,
    allow: Callable[[Path], Path] = ...,
) -> FrameReader[FullFrame]: ...
def open_frames(
    path: Path,
    facts: VideoFacts,
    pts: Times,
    ids: Times | None = None,
    *,
    deep: bool = False,
    allow: Callable[[Path], Path] = _any_path,
) -> FrameReader[Frame] | FrameReader[FullFrame]:
    """A reader for the frames of an indexed source; arguments as of ``VideoReader``.

    Args:
        allow: resolves the path of each file of a sequence before it is opened.
    """
    if facts.is_sequence:
        return cast(
            FrameReader[FullFrame], SequenceReader(path, facts, pts, deep=deep, allow=allow)
        )
    return VideoReader(path, facts, pts, ids, deep=deep)
