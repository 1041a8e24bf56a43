"""The job folder: what is on disk, under which name.

::

    JOB/job.json                Job
    JOB/recipe.toml             Recipe, for --recipe
    JOB/plan.json               Plan
    JOB/frames.npy              frame table of a video
    JOB/frame-ids.npy           what identifies its frames, if their times do not
    JOB/items.jsonl             one Item a line, for images
    JOB/reference.png           --reference-image
    JOB/masks.zip               masks that planning made, of boxes or by following a drawn one
    JOB/inference-config.json   InferenceConfig, found by the first worker
    JOB/compute-profile.json    ComputeProfile of the first worker
    JOB/segments/ID.mp4         encoded frames of chunk ID
    JOB/borders/N.safetensors   latents of border frame N
    JOB/receipts/ID.json        Receipt of a finished chunk
    JOB/heartbeats/ID.json      Heartbeat, while a worker edits the chunk
    JOB/attempts/ID.N.json      Attempt N at chunk ID
    JOB/attempts/ID.N.end       marker: attempt N ended, well or badly
    JOB/failures/ID.json        Failure, after the last attempt
    JOB/published/ID.jsonl      Publication of each result of chunk ID, before it gets its name
    JOB/kept/N.png              result of image N, whose name a file took meanwhile
    JOB/failed-items/ID.json    marker: some images of chunk ID failed, see its receipt
    JOB/poisoned/N              marker: frame or image N crashes its worker
    JOB/inflight/wave.json      chunks in flight
    JOB/inflight/assembly       marker: the assembly was dispatched; assembly.sent: its message, too
    JOB/redispatched/N          marker: segments were missing N times
    JOB/refusals/NODE.json      Refusal of an incompatible worker
    JOB/cancel, JOB/pause       markers: stop, pause
    JOB/superseded.json         Superseded, if another job writes its results since
    JOB/on-broker               marker: workers of a broker run the job
    JOB/result.json             Result, when the job has ended
    JOB/lock                    lock of assembly and retry
    JOB/dispatch.lock           lock of those who dispatch
    JOB/leader.lock             lock of the leader
    JOB/owner.lock              lock of the command that planned the job
    JOB/workers.log             output of local workers

Disk is the truth and Redis is transport: a chunk is finished when its receipt exists, and a
receipt is written after the files that it vouches for. Every file appears under its name only
when it is complete.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..storage.atomic import write_atomic, write_error
from ..storage.roots import ANYWHERE, Roots
from .files import PROCESS_CACHES, FileCaches
from .parts import DispatchState, Failures, Hardware, Heartbeats, PoisonedFrames, Receipts
from .plan import Chunk, Plan
from .planned_files import PlannedFiles
from .publications import Publications
from .records import InferenceConfig, Result, Superseded
from .spec import Item, Job, Priority

if TYPE_CHECKING:  # numpy takes a tenth of a second to load, and `status` does not need it
    from ..frame import FrameTable

#: Subfolders that are not needed after the output is complete.
_MEDIA = ("segments", "borders", "heartbeats", "attempts", "poisoned")


class JobFolder(PlannedFiles):
    """A job folder by its path; opens no file before a method needs it.

    Attributes:
        receipts: of finished chunks.
        heartbeats: of chunks that workers edit now.
        failures: of chunks that failed at their last attempt.
        poisoned: frames or images that crash their worker.
        published: results that have their final names.
        dispatch: what was dispatched since the job was last started.
        hardware: which workers may edit the job.
    """

    def __init__(
        self, path: Path | str, roots: Roots = ANYWHERE, caches: FileCaches = PROCESS_CACHES
    ) -> None:
        super().__init__(path, roots, caches)
        self.receipts = Receipts(self)
        self.heartbeats = Heartbeats(self)
        self.failures = Failures(self, self.receipts)
        self.poisoned = PoisonedFrames(self)
        self.published = Publications(self)
        self.dispatch = DispatchState(self)
        self.hardware = Hardware(self, self.receipts)

    # -- job -------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: Path,
        job: Job,
        plan: Plan,
        *,
        frames: FrameTable | None = None,
        frame_ids: FrameTable | None = None,
        items: Iterable[Item] = (),
        reference: bytes = b"",
        masks: bytes = b"",
    ) -> JobFolder:
        """Write a new job folder. ``job.json`` comes last: a folder that has it is complete."""
        folder = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(path, error) from error
        write_atomic(path / "recipe.toml", job.recipe.to_toml().encode())
        if reference:
            write_atomic(folder.reference_image_path, reference)
        if masks:
            write_atomic(folder.masks_path, masks)
        folder.write_tables(frames, frame_ids)
        folder.write_plan(plan, items)
        folder.write("job.json", job)
        return folder

    def set_priority(self, priority: Priority) -> None:
        """Change the job's priority; messages sent from now on have it."""
        job = self.job()
        if job.priority != priority:
            self.write("job.json", msgspec.structs.replace(job, priority=priority))

    def permit_mixed_hardware(self) -> None:
        """Let workers with other compute profiles edit the rest of the job."""
        job = self.job()
        if not job.allow_mixed_hardware:
            self.write("job.json", msgspec.structs.replace(job, allow_mixed_hardware=True))

    def permit_replacing(self, stamp: str) -> None:
        """Let the result of a video replace the file that has its name and this stamp now."""
        job = self.job()
        self.write("job.json", msgspec.structs.replace(job, overwrite=True, replaces=stamp))

    # -- what workers agree on ----------------------------------------------------------

    def inference_config(self) -> InferenceConfig | None:
        """The inference config of the job; None before a worker proposed one."""
        return self.read_cached("inference-config.json", InferenceConfig)

    def propose_inference_config(self, config: InferenceConfig) -> InferenceConfig:
        """Propose an inference config; returns the one that was proposed first."""
        self.write_first("inference-config.json", config)
        return self.inference_config() or config

    # -- media ---------------------------------------------------------------------------

    def segment_path(self, chunk: Chunk, suffix: str) -> Path:
        return self.at(f"segments/{chunk.id}{suffix}")

    def border_path(self, frame: int) -> Path:
        return self.at(f"borders/{frame:08d}.safetensors")

    def attempt_path(self, chunk_id: str, number: int) -> Path:
        """File of attempt ``number``, from 1; see ``ip2p_batch.jobs.attempts``."""
        return self.at(f"attempts/{chunk_id}.{number}.json")

    def drop_media(self) -> None:
        """Delete segments and border latents after the output is complete; records stay."""
        for name in _MEDIA:
            self.delete_tree(name)

    # -- progress ------------------------------------------------------------------------

    def pending(self, plan: Plan, wave: int | None = None) -> list[Chunk]:
        """Planned chunks without a receipt, in order."""
        done = self.receipts.ids()
        return [c for c in plan.chunks if c.id not in done and wave in (None, c.wave)]

    def is_settled(self, chunk_id: str) -> bool:
        """Whether a chunk has a receipt or a failure."""
        return self.receipts.exists(chunk_id) or self.failures.exists(chunk_id)

    def write_result(self, result: Result) -> None:
        """Record that the job has ended. Its output must be on disk before."""
        self.write("result.json", result)

    def drop_result(self) -> None:
        """Undo :meth:`write_result`, for a retry."""
        self.delete("result.json")

    @property
    def ended(self) -> bool:
        """Whether the job has a result."""
        return self.marked("result.json") and self.result() is not None

    def result(self) -> Result | None:
        return self.read_if_complete("result.json", Result)

    # -- control: markers that every worker and follower checks ---------------------------

    def cancel(self) -> None:
        """Stop the job: workers drop their chunks before the next denoising step."""
        if not self.ended:
            self.mark_once("cancel")

    def pause(self) -> None:
        """Pause the job: workers finish their chunks and take no more.

        Its messages in the queue are dropped as they come up, so other jobs are not delayed.
        """
        if not self.ended:
            self.mark_once("pause")

    def resume(self) -> None:
        """Lift a pause or a cancellation. The scheduler dispatches the rest of the job."""
        self.unmark("cancel")
        self.unmark("pause")

    def supersede(self, by: str) -> None:
        """Stop the job for good, since the job of id ``by`` writes its results from now on."""
        self.write("superseded.json", Superseded(by=by, at=time.time()))
        self.mark_once("cancel")

    @property
    def superseded(self) -> Superseded | None:
        """By which job this one was superseded; None if it was not."""
        return self.read_if_complete("superseded.json", Superseded)

    @property
    def cancelled(self) -> bool:
        return self.marked("cancel")

    @property
    def paused(self) -> bool:
        return self.marked("pause")
