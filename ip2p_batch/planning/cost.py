"""Estimated cost of a chunk, before anything was measured."""

from __future__ import annotations

from ..jobs.plan import Chunk, ImageChunk, Plan
from ..jobs.spec import Job

#: Seconds that any chunk may take, beside the time for its frames.
LEAST_SECONDS = 600.0
#: TFLOP of one call of the UNet at 512x512, of Stable Diffusion 1.5 and everything beside it.
_CALL = 1.0
#: TFLOP a second of the slowest device of a kind that we would wait for.
_SLOWEST = {"cpu": 0.005, "cuda": 1.0}


def cost(job: Job, plan: Plan, chunk: Chunk) -> float:
    """Roughly what a chunk takes to compute, in TFLOP, if the model is a large one."""
    recipe = job.recipe
    width, height = plan.max_edit_size(recipe)
    anchors = () if isinstance(chunk, ImageChunk) else chunk.anchors
    looks = 2 if anchors or job.reference_digest else 1
    calls = chunk.edited * looks * 3 * (recipe.num_inference_steps + 1)
    return calls * _CALL * width * height / 512**2


def planned_seconds(job: Job, plan: Plan, chunk: Chunk, device: str) -> float:
    """What the slowest ``device`` (``cpu`` or ``cuda``) would need."""
    return cost(job, plan, chunk) / _SLOWEST[device]
