"""The editing methods that ``benchmarks.consistency`` compares: this project's, and others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np

from ip2p_batch.editing.editor import ChunkContext, ContextFrame, Overrides
from ip2p_batch.frame import Frame, Image
from ip2p_batch.jobs.plan import BorderChunk, Chunk, Plan, VideoChunk
from ip2p_batch.models import catalog
from ip2p_batch.planning.planner import plan_video
from ip2p_batch.recipe import Recipe
from ip2p_batch.temporal.pipeline import TemporalPipeline
from ip2p_batch.temporal.stages import stages_for
from ip2p_batch.training.instructions import PHRASES


@dataclass(frozen=True)
class Row:
    """The recipe fields of a row, in addition to a fixed seed with all mechanisms off.

    Attributes:
        base: for filters, the row whose finished frames are filtered.
    """

    values: dict[str, Any] = field(default_factory=dict)
    base: str | None = None


class Settings(NamedTuple):
    """Settings that all rows share."""

    size: int
    image_guidance_scale: float
    dtype: str
    batch: int


class Clip(NamedTuple):
    """Frames at their edit size, and the numbers of the first frames of shots."""

    images: list[Image]
    cuts: list[int]


OFF: dict[str, Any] = {"carryover": 0.0, "anchors": 0, "temporal_filter": 0, "deflicker": 0}
_CARRY: dict[str, Any] = {"carryover": 0.7}
ROWS: dict[str, Row] = {
    "fixed seed": Row(),
    "fresh seed": Row(),
    "carryover": Row(_CARRY),
    "temporal filter": Row({"temporal_filter": 2}, "fixed seed"),
    "deflicker": Row({"deflicker": 2}, "fixed seed"),
    "default": Row({**_CARRY, "temporal_filter": 2}, "carryover"),
    "default and deflicker": Row({**_CARRY, "temporal_filter": 2, "deflicker": 2}, "carryover"),
    "cross-frame attention": Row(),
    "anchors": Row({"anchors": 3}),
    "carryover and anchors": Row({**_CARRY, "anchors": 3}),
    "default and anchors": Row(
        {**_CARRY, "anchors": 3, "temporal_filter": 2}, "carryover and anchors"
    ),
}


def recipe_for(row: str, instruction: str, settings: Settings) -> Recipe:
    values = {
        "model": "tiny",
        **catalog.defaults("tiny"),
        "size": settings.size,
        "image_guidance_scale": settings.image_guidance_scale,
        "batch_size": settings.batch,
        **OFF,
        **ROWS[row].values,
        "instruction": PHRASES[instruction].canonical,
    }
    return msgspec.convert(values, Recipe)


def planned(clip: Clip, recipe: Recipe) -> Plan:
    height, width = clip.images[0].shape[:2]
    return plan_video(0, len(clip.images), clip.cuts, recipe, (width, height))


def edit(editor: Any, row: str, clip: Clip, recipe: Recipe) -> list[Image]:
    frames = [Frame(n, n, image) for n, image in enumerate(clip.images)]
    if row == "fresh seed":
        overrides = [Overrides(seed=recipe.seed + 1000 + frame.index) for frame in frames]
        return [f.image for f in editor.session(recipe).edit(frames, overrides=overrides)]
    if row == "cross-frame attention":
        return cross_frame(editor, frames, recipe)
    return planned_edit(editor, frames, recipe, planned(clip, recipe))


def planned_edit(editor: Any, frames: list[Frame], recipe: Recipe, plan: Plan) -> list[Image]:
    """Run a plan as the workers do, without decoding and encoding."""
    edited: dict[int, Image] = {}
    latents: dict[int, bytes] = {}
    for chunk in plan.chunks:
        for frame in chunk_edit(editor, frames, recipe, chunk, latents):
            edited[frame.index] = frame.image
    return [edited[frame.index] for frame in frames]


def chunk_edit(
    editor: Any, frames: list[Frame], recipe: Recipe, chunk: Chunk, latents: dict[int, bytes]
) -> list[Frame]:
    """Edit one chunk; ``latents`` holds those of borders, by frame number."""
    assert isinstance(chunk, BorderChunk | VideoChunk)
    if isinstance(chunk, BorderChunk):
        anchors = [ContextFrame(frames[n]) for n in chunk.anchors]
        session = editor.session(recipe, ChunkContext(anchors=anchors))
        new = session.border_latents([frames[n] for n in chunk.frames])
        latents.update(zip(chunk.frames, new, strict=True))
        return []
    context = ChunkContext(
        borders=[ContextFrame(frames[n], latents[n]) for n in chunk.borders],
        anchors=[ContextFrame(frames[n], latents.get(n)) for n in chunk.anchors],
    )
    sources = frames[slice(*chunk.reach)]
    edited = editor.session(recipe, context).edit(sources)
    filtered = _filtered(sources, edited, recipe)
    return [frame for frame in filtered if chunk.start <= frame.index < chunk.stop]


def apply(images: Sequence[Image], clip: Clip, recipe: Recipe) -> list[Image]:
    """Finished frames through the recipe's filters, shot by shot."""
    filtered: list[Image] = []
    for shot in planned(clip, recipe).shots:
        numbers = range(shot.start, shot.stop)
        sources = [Frame(n, n, clip.images[n]) for n in numbers]
        edited = [Frame(n, n, images[n]) for n in numbers]
        filtered += [frame.image for frame in _filtered(sources, edited, recipe)]
    return filtered


def _filtered(sources: Sequence[Frame], edited: Sequence[Frame], recipe: Recipe) -> list[Frame]:
    """Frames of one shot through the recipe's filters."""
    pipeline = TemporalPipeline(stages_for(recipe))
    pairs = [p for pair in zip(sources, edited, strict=True) for p in pipeline.push(*pair)]
    return [pair.edited for pair in (*pairs, *pipeline.flush())]


def cross_frame(editor: Any, frames: list[Frame], recipe: Recipe) -> list[Image]:
    """Video Instruct-Pix2Pix as diffusers' documentation has it, after Text2Video-Zero.

    diffusers' own pipeline and CrossFrameAttnProcessor: keys and values of all self-attention
    layers are the first frame's; chunks of 8, each the first frame of all and 7 others; every
    chunk seeded anew.
    """
    import torch
    from diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero import (
        CrossFrameAttnProcessor2_0,
    )
    from PIL import Image as Pillow

    pipe = editor.pipe
    before = dict(pipe.unet.attn_processors)
    pipe.unet.set_attn_processor(CrossFrameAttnProcessor2_0(batch_size=3))
    pipe.set_progress_bar_config(disable=True)
    edited: list[Image] = []
    try:
        for start in range(0, len(frames), 7):
            part = frames[start : start + 7]
            chunk = [frames[0], *part]
            found = pipe(
                [recipe.instruction] * len(chunk),
                image=[Pillow.fromarray(frame.image) for frame in chunk],
                num_inference_steps=recipe.num_inference_steps,
                guidance_scale=recipe.guidance_scale,
                image_guidance_scale=recipe.image_guidance_scale,
                generator=torch.Generator().manual_seed(recipe.seed),
                output_type="np",
            ).images
            edited += [(image * 255).round().astype(np.uint8) for image in found[1:]]
    finally:
        pipe.unet.set_attn_processor(before)
    return edited
