"""Estimate the cost of a chunk before anything is measured."""

from __future__ import annotations

from ..jobs.plan import Chunk, ImageChunk, Plan
from ..jobs.spec import Job

#: Seconds allowed for any chunk, in addition to the time for its frames.
MIN_CHUNK_SECONDS = 600.0
#: TFLOP per UNet call at 512x512 for Stable Diffusion 1.5, including its share of all other work.
_CALL = 1.0
#: TFLOP per second of the slowest supported device of each kind.
_SLOWEST = {"cpu": 0.005, "cuda": 1.0}


def cost(job: Job, plan: Plan, chunk: Chunk) -> float:
    """Estimate the computation of a chunk in TFLOP, for a model of the size of SD 1.5."""
    recipe = job.recipe
    width, height = plan.size
    anchors = () if isinstance(chunk, ImageChunk) else chunk.anchors
    attention_factor = 2 if anchors or job.reference_digest else 1
    calls = chunk.edited * attention_factor * 3 * (recipe.num_inference_steps + 1)
    return calls * _CALL * width * height / 512**2


def planned_seconds(job: Job, plan: Plan, chunk: Chunk, device: str) -> float:
    """Estimate the seconds for a chunk on the slowest ``device``, ``cpu`` or ``cuda``."""
    return cost(job, plan, chunk) / _SLOWEST[device]
