"""Estimate the cost of a chunk before anything is measured."""

from __future__ import annotations

from ..editing.tile_options import TileOptions
from ..jobs.plan import BorderChunk, Chunk, ImageChunk, Plan
from ..jobs.spec import Job

#: Seconds allowed for any chunk, in addition to the time for its frames.
MIN_CHUNK_SECONDS = 600.0
#: TFLOP per UNet call at 512x512 for Stable Diffusion 1.5, including its share of all other work.
_CALL = 1.0
#: Share of a UNet call that a ControlNet takes; a T2I-Adapter takes less.
_NET = 0.4
#: Pixels of an image, for the estimate of its tile pass.
_LARGE_IMAGE = (6000, 4000)
#: TFLOP per second of the slowest supported device of each kind.
_SLOWEST = {"cpu": 0.005, "cuda": 1.0}


def cost(job: Job, plan: Plan, chunk: Chunk) -> float:
    """Estimate the computation of a chunk in TFLOP, for a model of the size of SD 1.5."""
    recipe = job.recipe
    width, height = plan.size
    anchors = () if isinstance(chunk, ImageChunk) else chunk.anchors
    attention_factor = 2 if anchors or job.reference_digest else 1
    steps = recipe.num_inference_steps
    if isinstance(chunk, ImageChunk) and chunk.steps:
        steps = chunk.steps
    nets = 1 + _NET * len(recipe.control)
    calls = chunk.edited * attention_factor * 3 * (steps + 1) * nets
    return calls * _CALL * width * height / 512**2 + _tile_cost(job, chunk, steps)


def _tile_cost(job: Job, chunk: Chunk, steps: int) -> float:
    """TFLOP of a chunk's tile pass; images count as large ones, since the chunk has no sizes."""
    if job.recipe.detail != "tiles" or isinstance(chunk, BorderChunk):
        return 0.0
    options = TileOptions.of_job(job)
    size = _LARGE_IMAGE if job.source.video is None else job.source.video.upright
    calls = 3 * (options.steps(steps) + 1) * options.tile_count(*size)
    return len(chunk) * calls * _CALL * options.size**2 / 512**2


def planned_seconds(job: Job, plan: Plan, chunk: Chunk, device: str) -> float:
    """Estimate the seconds for a chunk on the slowest ``device``, ``cpu`` or ``cuda``."""
    return cost(job, plan, chunk) / _SLOWEST[device]
