"""The work of a worker's CPU cores while its device edits, and how long the device waits for it.

    python -m benchmarks.host [--clip FILE] [--size 512] [--device-ms 35] [--threads 1,2,4,8]

First each piece of work on one frame, in one thread: decoding, flow, filters, encoding. Then whole
chunks of a job, as a worker runs them, from file to segment, with a simulated device that only
takes time: ``--device-ms`` milliseconds per frame, without using a core. (A fast GPU takes some
35 ms for 512x384 and 10 steps if carryover skips 7.) Chunks run with several numbers of
helper threads, and with two workers that share one device. The result is the share of the time in
which the device is idle. Prints Markdown tables.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ip2p_batch import scheduler
from ip2p_batch.editing import carryover, schedule
from ip2p_batch.editing.borders import Borders
from ip2p_batch.editing.editor import EMPTY_CONTEXT, ChunkContext, Editor, EditSession, Overrides
from ip2p_batch.editing.loading import load_pipeline
from ip2p_batch.editing.session import LARGEST_GROUP
from ip2p_batch.execution.chunk import process_chunk
from ip2p_batch.execution.worker_cache import WorkerCache
from ip2p_batch.frame import Frame
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.records import WorkerInfo
from ip2p_batch.media.resize import Resize
from ip2p_batch.media.video.reader import VideoReader
from ip2p_batch.media.video.segment import SegmentWriter
from ip2p_batch.models import catalog
from ip2p_batch.recipe import Recipe
from ip2p_batch.settings import Settings
from ip2p_batch.temporal.filter import TemporalFilter
from ip2p_batch.temporal.pipeline import TemporalPipeline

from ._common import machine, make_clip, new_parser

BATCH = 8


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--clip", type=Path, help="default: 120 frames of 512x384, of the demo's")
    parser.add_argument("--size", type=int, default=512, help="longest side edited")
    parser.add_argument("--device-ms", type=float, default=35.0, help="of the device, a frame")
    parser.add_argument("--threads", default="1,2", help="numbers of helper threads")
    parser.add_argument("--anchors", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = arguments.clip or make_clip(folder / "clip.mp4")
        recipe = Recipe(
            instruction="make it winter with snow",
            model=str(catalog.BUNDLED["tiny"]),
            size=arguments.size,
            num_inference_steps=10,
            anchors=arguments.anchors,
        )
        job = create(clip, recipe, folder / "first")
        plan = job.plan()
        pieces = piece_costs(job, folder)
        rows = []
        for threads in map(int, arguments.threads.split(",")):
            for workers in (1, 2):
                place = folder / f"{threads}-{workers}"
                rows.append(measure(clip, recipe, place, arguments.device_ms, threads, workers))
    facts = machine("av", "opencv-python-headless", "numpy")
    print(f"{plan.frames} frames, edited at {plan.size[0]}x{plan.size[1]}, ", end="")
    print(", ".join(map(str, facts.values())))
    print("\n| of one frame, in one thread | ms |\n|---|---|")
    for what, seconds in pieces.items():
        print(f"| {what} | {1000 * seconds:.1f} |")
    print(f"\n| device: {arguments.device_ms:g} ms a frame | seconds | device busy | idle |")
    print("|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['workers']} worker{'s' if row['workers'] > 1 else ''} with {row['threads']}"
            f" helper thread{'s' if row['threads'] > 1 else ''} | {row['seconds']:.2f}"
            f" | {row['busy']:.2f} | {1 - row['busy'] / row['seconds']:.0%} |"
        )
    if arguments.json:
        found = {"machine": facts, "pieces": pieces, "device_ms": arguments.device_ms}
        arguments.json.write_text(json.dumps({**found, "rows": rows}, indent=1))


def create(clip: Path, recipe: Recipe, folder: Path) -> JobFolder:
    settings = dataclasses.replace(
        Settings.from_env({}), state=folder / "state", cache=folder / "cache"
    )
    return scheduler.create_job(
        scheduler.EditRequest(source=clip, output=folder / "out.mp4", recipe=recipe), settings
    )


# -- pieces ---------------------------------------------------------------------------------------


def piece_costs(job: JobFolder, folder: Path) -> dict[str, float]:
    """Return seconds of each piece of work on one frame, medians over a chunk's frames."""
    source, edit_size = job.job().source, job.job().edit_size
    facts = source.video
    assert facts is not None
    resize = Resize.of_video(facts, edit_size(*facts.upright))
    found: dict[str, list[float]] = {}

    def timed(what: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        found.setdefault(what, []).append(time.perf_counter() - start)
        return result

    count = min(job.plan().frames, 30)
    with VideoReader(Path(source.path), facts, job.frame_table(), job.frame_ids()) as reader:
        frames = reader.frames(0, count)
        read = [timed("decode, to RGB", lambda: next(frames)) for _ in range(count)]
        found["decode, to RGB"].pop(0)  # opens and seeks
        timed("seek to a border or anchor", lambda: reader.frame(job.plan().frames - 1))
    resized = [f.with_image(timed("resize", partial(resize.apply, f.image))) for f in read]
    ends = [carryover.Border(f.index, f.image, latents_for(f)) for f in (resized[0], resized[-1])]
    blends = [
        timed("flow to both borders", partial(carryover.locate, frame, *ends))
        for frame in resized[1:-1]
    ]
    torch.set_num_threads(1)
    left, right = (end.latents for end in ends)
    for blend in blends:
        start_latents = partial(carryover.matched_state, blend, left, right, (1, 1))
        timed("start from the borders", start_latents)
    temporal_pipeline = TemporalPipeline([TemporalFilter(2)])
    for frame in resized:
        timed("temporal filter", partial(temporal_pipeline.push, frame, frame))
    del found["temporal filter"][:5]  # fewer neighboring frames
    restored = [
        f.with_image(timed("restore size", partial(resize.restore, f.image))) for f in resized
    ]
    start = time.perf_counter()
    with SegmentWriter(folder / "piece.mp4", facts, job.job().encoding) as writer:
        for frame in restored:
            writer.write(frame)
    found["to YUV, encode"] = [(time.perf_counter() - start) / count]
    return {what: statistics.median(values) for what, values in found.items()}


# -- a simulated device ---------------------------------------------------------------------------


class _Session(EditSession):
    """Everything but the model: returns the sources after the time that a device would take."""

    def __init__(self, editor: _Editor, recipe: Recipe, context: ChunkContext) -> None:
        self._editor = editor
        self._step = recipe.carried_steps()
        self._batch_size = LARGEST_GROUP if context.anchors else BATCH
        config, steps = editor.scheduler_config, recipe.num_inference_steps
        scheduler = schedule.make(recipe.scheduler, config, steps, "cpu")
        self._borders = Borders(context.borders, self._step, scheduler)

    @property
    def batch_size(self) -> int:
        return self._batch_size

    def prepare(self, frame: Frame) -> Frame:
        return self._borders.locate(frame)

    def edit(
        self, frames: Sequence[Frame], *, overrides: Sequence[Overrides] | None = None
    ) -> list[Frame]:
        for frame in frames:
            if self._borders.start_step(frame):
                self._borders.start(frame, None)
        self._editor.compute(len(frames))
        return [frame.with_image(frame.image) for frame in frames]

    def border_latents(self, frames: Sequence[Frame]) -> list[bytes]:
        self._editor.compute(2.0 * len(frames))  # borders run seven steps of ten, not three
        return [carryover.to_bytes(frame, self._step, latents_for(frame)) for frame in frames]


def latents_for(frame: Frame) -> carryover.BorderLatents:
    """Of Stable Diffusion's shape: 4 channels, an eighth of each side."""
    height, width = (side // 8 for side in frame.image.shape[:2])
    return carryover.BorderLatents(*torch.randn(2, 4, height, width))


class _Editor(Editor):
    """A simulated device that takes ``seconds`` a frame.

    Args:
        device_lock: held while the device computes.
    """

    def __init__(self, seconds: float, device_lock: AbstractContextManager[Any]) -> None:
        self.scheduler_config = load_pipeline("tiny", dtype=torch.float32).scheduler.config
        self.busy = 0.0
        self._seconds = seconds
        self._device_lock = device_lock

    @property
    def device(self) -> str:
        return "simulated"

    def compute(self, frames: float) -> None:
        with self._device_lock:
            time.sleep(frames * self._seconds)
        self.busy += frames * self._seconds

    def session(
        self, recipe: Recipe, context: ChunkContext = EMPTY_CONTEXT, **options: Any
    ) -> EditSession:
        return _Session(self, recipe, context)


def measure(
    clip: Path, recipe: Recipe, folder: Path, device_ms: float, threads: int, workers: int
) -> dict[str, Any]:
    """Wall seconds of all chunks, and those in which the device computed."""
    job = create(clip, recipe, folder)
    plan = job.plan()
    context = multiprocessing.get_context("spawn")
    lock, barrier = context.Lock(), context.Barrier(workers + 1)
    results, following = context.Queue(), context.Value("i", 0)
    options = (str(job.path), device_ms / 1000, threads, lock, barrier, following, results)
    found = [context.Process(target=work_on, args=options) for _ in range(workers)]
    for process in found:
        process.start()
    barrier.wait()
    start = time.perf_counter()
    for _ in range(plan.waves):
        barrier.wait()
    seconds = time.perf_counter() - start
    busy = sum(results.get() for _ in found)
    for process in found:
        process.join()
    return {"workers": workers, "threads": threads, "seconds": seconds, "busy": busy}


def work_on(
    path: str,
    seconds: float,
    threads: int,
    lock: Any,
    barrier: Any,
    following: Any,
    results: Any,
) -> None:
    """Run one worker: it takes the next chunk that is not taken."""
    torch.set_num_threads(1)
    made = _Editor(seconds, lock)
    job = JobFolder(Path(path))
    worker_cache = WorkerCache(threads)
    worker = WorkerInfo(host="bench", pid=os.getpid())
    chunks = job.plan().chunks
    done = 0
    barrier.wait()
    for wave in range(1, job.plan().waves + 1):
        done += len(job.plan().wave(wave))
        while True:
            with following.get_lock():
                number = following.value
                if number >= done:
                    break
                following.value += 1
            process_chunk(
                job,
                chunks[number],
                editor_for=lambda _: made,
                worker=worker,
                worker_cache=worker_cache,
            )
        barrier.wait()
    results.put(made.busy)


if __name__ == "__main__":
    main()
