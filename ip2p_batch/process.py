"""One chunk, from its message to its receipt. Local and distributed runs share this file.

Decoding runs ahead in one thread and encoding behind in another, with the editor between them
in the caller's thread; the queues are bounded, so memory depends on the chunk's frame size only.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec

from .edit.editor import Editor, EditSession
from .errors import EditError, Ip2pError, JobCancelled, OutputError, SourceError
from .frame import Frame
from .job import Chunk, Claim, Failure, Item, ItemResult, Job, Receipt, WorkerInfo
from .jobdir import JobDir, atomic_path
from .media.fit import Fit
from .media.segment import SegmentWriter, segment_suffix
from .media.stills import Still, read_still, write_still
from .media.video import VideoReader
from .overlap import Background, prefetched
from .recipe import Recipe

T = TypeVar("T")

#: Gives the loaded editor of a recipe; keeps it between chunks.
EditorFor = Callable[[Recipe], Editor]

#: A chunk that fails this often is given up.
MAX_ATTEMPTS = 3
_HEARTBEAT_SECONDS = 1.0
_READ_AHEAD = 2  # batches decoded before the editor asks for them


def process_chunk(
    job_dir: JobDir,
    chunk: Chunk,
    *,
    editor_for: EditorFor,
    worker: WorkerInfo,
) -> Receipt:
    """Do one chunk and write its receipt; a chunk that has a valid receipt is left alone.

    Raises:
        JobCancelled: the job's folder says so; checked between denoising steps.
        Ip2pError: what went wrong; ``retryable`` says whether another try makes sense.
    """
    job = job_dir.job()
    fingerprint = job.fingerprint()
    done = job_dir.receipt(chunk.id)
    if done is not None and done.fingerprint == fingerprint:
        return done
    work = _Work(job_dir, job, chunk, worker)
    with work.claimed():
        work.checkpoint()
        with work.timed("load"):
            editor = editor_for(job.recipe)
        work.worker = msgspec.structs.replace(worker, device=editor.device)
        session = editor.session(job.recipe, checkpoint=work.checkpoint)
        items: tuple[ItemResult, ...] = ()
        if chunk.kind == "stills":
            digest, items = _edit_stills(work, session)
        elif chunk.kind == "borders":
            digest = _edit_borders(work, session)
        else:
            digest = _edit_frames(work, session)
        work.checkpoint()
        receipt = Receipt(
            chunk=chunk.id,
            fingerprint=fingerprint,
            frames=len(chunk),
            digest=digest,
            seconds=work.seconds(),
            worker=work.worker,
            finished=time.time(),
            items=items,
            warnings=tuple(dict.fromkeys([*work.warnings, *session.warnings])),
        )
        job_dir.write_receipt(receipt)
    return receipt


def give_up(
    job_dir: JobDir, chunk_id: str, error: BaseException, *, attempts: int, worker: WorkerInfo
) -> None:
    """Record that a chunk could not be done, so that the job can end and say why."""
    message = error.message if isinstance(error, Ip2pError) else f"{type(error).__name__}: {error}"
    job_dir.drop_claim(chunk_id)
    job_dir.write_failure(
        Failure(
            chunk=chunk_id,
            error=type(error).__name__,
            message=message,
            hint=error.hint if isinstance(error, Ip2pError) else "",
            attempts=attempts,
            worker=worker,
        )
    )


class _Work:
    """One chunk in hand: its claim with a heartbeat, its clock, its warnings."""

    def __init__(self, job_dir: JobDir, job: Job, chunk: Chunk, worker: WorkerInfo) -> None:
        self.job_dir = job_dir
        self.job = job
        self.chunk = chunk
        self.worker = worker
        self.warnings: list[str] = []
        self._done = 0
        self._clock: dict[str, float] = {}
        self._started = time.perf_counter()
        self._stop = threading.Event()
        self._cancelled = False

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the chunk: a claim on disk, renewed while this process lives."""
        self._beat()
        thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            self.job_dir.drop_claim(self.chunk.id)

    def checkpoint(self) -> None:
        """Raise where the job was cancelled; cheap, the heartbeat looks at the disk."""
        if self._cancelled:
            raise JobCancelled(f"{self.job.id} was cancelled.")

    def advance(self, frames: int) -> None:
        self._done += frames

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self._clock[stage] = self._clock.get(stage, 0.0) + spent

    def seconds(self) -> dict[str, float]:
        total = time.perf_counter() - self._started
        return {k: round(v, 4) for k, v in {**self._clock, "total": total}.items()}

    def _keep_beating(self) -> None:
        while not self._stop.wait(_HEARTBEAT_SECONDS):
            self._beat()

    def _beat(self) -> None:
        self._cancelled = self._cancelled or self.job_dir.cancelled
        claim = Claim(chunk=self.chunk.id, worker=self.worker, done=self._done, at=time.time())
        try:
            self.job_dir.write_claim(claim)
        except Ip2pError:
            # A full disk must not end the chunk here: the segment's own write says it better.
            return


# -- video --------------------------------------------------------------------------------


def _edit_frames(work: _Work, session: EditSession) -> str:
    """A segment of video: decode, fit, edit, unfit, encode once. Returns its SHA-256."""
    job, chunk = work.job, work.chunk
    facts = job.source.video
    assert facts is not None
    fit = Fit.for_size(*facts.upright, job.recipe.size, facts.upright_sar)
    target = work.job_dir.segment_path(chunk, segment_suffix(job.encoding))
    source = Path(job.source.path)
    table = work.job_dir.frame_table()
    with VideoReader(source, facts, table) as reader:
        if chunk.borders:
            with work.timed("decode"):
                left, right = (_fitted(reader.frame(n), fit) for n in chunk.borders)
            _tie(work, session, left, right)
        frames = (_fitted(f, fit) for f in reader.frames(chunk.start, chunk.stop))
        with (
            atomic_path(target) as temporary,
            prefetched(_batches(frames, session.batch_size), _READ_AHEAD) as batches,
        ):
            with SegmentWriter(temporary, facts, job.encoding) as writer:

                def finish(edited: Sequence[Frame]) -> None:
                    for frame in edited:
                        writer.write(frame.with_image(fit.unfit(frame.image)))
                    work.advance(len(edited))

                with Background(finish, depth=_READ_AHEAD) as encoder:
                    for batch in _clocked(work, batches, "decode"):
                        with work.timed("edit"):
                            edited = session.edit(batch)
                        with work.timed("encode"):  # waiting only, where encoding keeps up
                            encoder.put(edited)
            digest = _sha256(temporary)
        work.warnings += reader.warnings
    return digest


def _edit_borders(work: _Work, session: EditSession) -> str:
    """Border frames of wave 1, up to the step at which they are handed over."""
    job, chunk = work.job, work.chunk
    facts = job.source.video
    assert facts is not None
    fit = Fit.for_size(*facts.upright, job.recipe.size, facts.upright_sar)
    digests = hashlib.sha256()
    with VideoReader(Path(job.source.path), facts, work.job_dir.frame_table()) as reader:
        for number in chunk.borders:
            with work.timed("decode"):
                frame = _fitted(reader.frame(number), fit)
            digests.update(_save_border(work, session, frame).encode())
            work.advance(1)
        work.warnings += reader.warnings
    return digests.hexdigest()


def _save_border(work: _Work, session: EditSession, frame: Frame) -> str:
    path = work.job_dir.border_path(frame.index)
    with work.timed("edit"), atomic_path(path) as temporary:
        session.save_border(frame, temporary)
        return _sha256(temporary)


def _tie(work: _Work, session: EditSession, left: Frame, right: Frame) -> None:
    """Tie the session to its borders; a latents file that is damaged or gone is made again.

    Where and when a border is edited does not change it, so mending it here is the same as
    doing wave 1 again.
    """
    ends = [(frame, work.job_dir.border_path(frame.index)) for frame in (left, right)]
    try:
        session.tie(*ends)
    except EditError as error:
        work.warnings.append(f"{error.message} It was made again.")
        for frame, _ in ends:
            _save_border(work, session, frame)
        session.tie(*ends)


def _fitted(frame: Frame, fit: Fit) -> Frame:
    return frame.with_image(fit.fit(frame.image))


# -- stills -------------------------------------------------------------------------------


def _edit_stills(work: _Work, session: EditSession) -> tuple[str, tuple[ItemResult, ...]]:
    """Pictures of one bucket. A bad one is named in the receipt, and the others go on."""
    chunk = work.chunk
    items = list(work.job_dir.items(chunk.start, chunk.stop))
    results: dict[int, ItemResult] = {}
    digests = hashlib.sha256()

    def refuse(index: int, error: Ip2pError) -> None:
        results[index] = ItemResult(index=index, error=error.message)
        work.advance(1)

    def loaded() -> Iterator[tuple[int, Item, Still | SourceError]]:
        for offset, item in enumerate(items):
            try:
                still: Still | SourceError = read_still(Path(item.source))
            except SourceError as error:
                still = error
            yield chunk.start + offset, item, still

    def finish(done: tuple[int, Item, Still, Frame, Fit]) -> None:
        index, item, still, frame, fit = done
        output = Path(item.output)
        try:
            with atomic_path(output) as temporary:
                digest = write_still(
                    temporary,
                    fit.unfit(frame.image),
                    still,
                    comment=_comment(work.job, item),
                    encoding=work.job.encoding,
                )
        except OutputError as error:
            if isinstance(error.__cause__, OSError):
                raise  # the disk or the folder: the next picture would fare no better
            message = error.message.removeprefix(f"{temporary}: ")
            refuse(index, OutputError(message, path=output))
            return
        digests.update(digest.encode())
        results[index] = ItemResult(index=index, warning="; ".join(still.warnings))
        work.advance(1)

    size = session.batch_size
    with (
        prefetched(loaded(), 2 * size) as ready,
        Background(finish, depth=2 * size) as writer,
    ):
        for batch in _batches(_clocked(work, ready, "decode"), size):
            good: list[tuple[int, Item, Still]] = []
            for index, item, still in batch:
                if isinstance(still, SourceError):
                    refuse(index, still)
                else:
                    good.append((index, item, still))
            for (index, item, still), fit, edited in _edit_each(work, session, good):
                if isinstance(edited, Ip2pError):
                    refuse(index, edited)
                else:
                    with work.timed("encode"):
                        writer.put((index, item, still, edited, fit))
    return digests.hexdigest(), tuple(results[i] for i in sorted(results))


def _edit_each(
    work: _Work, session: EditSession, good: Sequence[tuple[int, Item, Still]]
) -> Iterator[tuple[tuple[int, Item, Still], Fit, Frame | EditError]]:
    """Edit a batch; where that fails, each picture alone, so that only the guilty one is lost."""
    recipe = work.job.recipe
    # A picture that changed its size since planning would not fit its bucket: group by shape.
    shapes: dict[tuple[int, ...], list[tuple[tuple[int, Item, Still], Fit, Frame]]] = {}
    for entry in good:
        index, _, still = entry
        height, width = still.image.shape[:2]
        fit = Fit.for_size(width, height, recipe.size)
        frame = Frame(index, 0, fit.fit(still.image))
        shapes.setdefault(frame.image.shape, []).append((entry, fit, frame))

    def edit(group: Sequence[tuple[tuple[int, Item, Still], Fit, Frame]]) -> list[Frame]:
        own = [entry[1] for entry, _, _ in group]
        with work.timed("edit"):
            return session.edit(
                [frame for _, _, frame in group],
                instructions=[_or(i.instruction, recipe.instruction) for i in own],
                negative_prompts=[_or(i.negative_prompt, recipe.negative_prompt) for i in own],
                seeds=[_or(i.seed, recipe.seed) for i in own],
            )

    for group in shapes.values():
        try:
            for (entry, fit, _), edited in zip(group, edit(group), strict=True):
                yield entry, fit, edited
        except EditError as error:
            for one in group:
                if len(group) == 1:
                    yield one[0], one[1], error
                    continue
                try:
                    yield one[0], one[1], edit([one])[0]
                except EditError as own_error:
                    yield one[0], one[1], own_error


def _comment(job: Job, item: Item) -> str:
    """The recipe that made this picture, as JSON text for its metadata."""
    own = {
        "instruction": item.instruction,
        "negative_prompt": item.negative_prompt,
        "seed": item.seed,
    }
    values = msgspec.to_builtins(job.recipe) | {k: v for k, v in own.items() if v is not None}
    return msgspec.json.encode({"ip2p_batch": values}).decode()


# -- small parts --------------------------------------------------------------------------


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def _batches(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while batch := list(islice(items, size)):
        yield batch


def _clocked(work: _Work, items: Iterator[T], stage: str) -> Iterator[T]:
    """Count the time spent waiting for the next item to ``stage``."""
    while True:
        with work.timed(stage):
            item = next(items, None)
        if item is None:
            return
        yield item


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
