"""A plan as text for the terminal."""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..editing.tile_options import TileOptions
from ..models import catalog
from ..planning import pace
from ..planning.memory import memory
from ..planning.nets import NetWork, net_work
from ..settings import Settings
from ..storage.sequence import pattern_of
from . import formatting
from .plan_hints import hints_on

if TYPE_CHECKING:
    from ..jobs.plan import Plan
    from ..jobs.spec import Job
    from ..jobs.video_facts import VideoFacts
    from ..planning.request import PreparedJob
    from ..recipe import Recipe

#: Shots and failed images that are listed; the rest is counted.
LISTED = 12
#: Replaces a missing instruction: a dry run does not need one.
NO_INSTRUCTION = "(none given)"


def describe(prepared: PreparedJob) -> list[str]:
    """The plan as text."""
    job, plan = prepared.job, prepared.plan
    facts = job.source.video
    pairs = [("source", _source(prepared))]
    if facts is not None:
        pairs += [("", _video(facts)), ("edit", _edit(prepared, "frame"))]
        pairs += [("shots", _shots(plan, facts))]
    else:
        pairs += [("edit", _edit(prepared, "image"))]
    if nets := net_work(job.recipe):
        pairs += [("control", "\n".join(map(_net, nets)))]
    if job.recipe.mask is not None:
        pairs += [("mask", _mask(job.recipe))]
    if job.recipe.detail == "tiles":
        pairs += [("tile pass", _tile_pass(prepared))]
    pairs += [
        ("chunks", _chunks(plan, job)),
        ("memory", _memory(prepared)),
        ("estimate", _estimate(prepared)),
        ("output", job.output),
    ]
    if facts is not None:
        width, height = facts.upright
        pattern = pattern_of(job.output)
        result = job.encoding.codec if pattern is None else "a file for each frame"
        pairs.append(("", f"{width}x{height}, {result}"))
        if pattern is None and not facts.is_sequence:
            pairs.append(("copied", _copied(facts)))
    bad = [i for i in prepared.items if i.error is not None]
    if bad:
        lines = [f"{i.source}: {i.error}" for i in bad[:LISTED]]
        pairs.append(("excluded", "\n".join(lines + _more(len(bad)))))
    pairs += [("hint", hint) for hint in hints_on(prepared)]
    return formatting.facts(pairs)


def _source(prepared: PreparedJob) -> str:
    """The source; the number of the others, too, where images are named one by one."""
    path, items = prepared.job.source.path, prepared.items
    if len(items) < 2 or all(item.source != path for item in items):
        return path
    return f"{path} and {formatting.plural(len(items) - 1, 'other image')}"


def _net(net: NetWork) -> str:
    """A control net, where its hints come from, and its work."""
    control = net.control
    made = "made from the source" if control.hints is None else f"from {control.hints}"
    if net.share is None:
        work = "not on this machine yet"
    else:
        work = f"about {net.share:+.0%} work" if net.share else "nearly no work"
    scale = f"scale {control.scale:g}"
    if (control.start, control.end) != (0.0, 1.0):
        scale += f" from {control.start:g} to {control.end:g} of the steps"
    return f"{net.sort} {net.place}, {scale},\n{control.kind} hints {made}; {work}"


def _mask(recipe: Recipe) -> str:
    """What may change. Notes on the plan say how many frames are not edited, where it is known."""
    parts = [f"{'all but ' if recipe.mask_invert else ''}{recipe.mask}"]
    if recipe.mask_grow:
        parts.append(f"{recipe.mask_grow:+d} pixels")
    return ", ".join([*parts, f"soft edge {recipe.mask_feather}"])


def _tile_pass(prepared: PreparedJob) -> str:
    """What ``--detail tiles`` adds to the work of a frame or image."""
    job = prepared.job
    options = TileOptions.of_job(job)
    counts = tile_counts(prepared)
    steps = job.recipe.num_inference_steps
    tiles = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    drawn = counts[-1] * options.size**2 * options.steps(steps)
    factor = drawn / (math.prod(prepared.plan.size) * steps)
    most = "up to" if len(counts) > 1 else "about"
    of_all = formatting.plural(steps, "step")
    return (
        f"{tiles} tiles of {options.size}x{options.size} pixels for each {job.source.noun},"
        f" {options.steps(steps)} of {of_all} each:\n{most} {factor:.0f} times the work of the"
        " edit itself"
    )


def tile_counts(prepared: PreparedJob) -> list[int]:
    """Numbers of tiles that frames or images have, ascending."""
    job = prepared.job
    options = TileOptions.of_job(job)
    if job.source.video is not None:
        sizes = [job.source.video.upright]
    else:
        sizes = [(item.width, item.height) for item in prepared.items if item.error is None]
    return sorted({options.tile_count(*size) for size in sizes})


def _edit(prepared: PreparedJob, noun: str) -> str:
    recipe, plan = prepared.job.recipe, prepared.plan
    method = plan.edit_method(recipe)
    size = f" {formatting.edit_method(method)}" if method is not None else ""
    lines = [f"{formatting.plural(plan.frames, noun)}{size}", *_sizes(prepared)]
    steps = formatting.plural(recipe.num_inference_steps, "step")
    lines += [
        f"model {recipe.model}, {recipe.scheduler}, {steps},"
        f" s_T {recipe.guidance_scale:g}, s_I {recipe.image_guidance_scale:g},",
        f"seed {recipe.seed}, {_carryover(recipe)}, {formatting.plural(recipe.anchors, 'anchor')}",
    ]
    lines += [f"LoRA {formatting.lora(lora)}" for lora in recipe.lora]
    if recipe.instruction != NO_INSTRUCTION:
        lines.append(repr(recipe.instruction))
    return "\n".join(lines)


def _carryover(recipe: Recipe) -> str:
    """The carryover and, where it acts, the first step of a frame between borders."""
    step = recipe.carried_steps(catalog.scheduler_config(recipe.model))
    if recipe.carryover and not step:
        return "carryover off"
    return f"carryover {recipe.carryover:g}" + (f" (from step {step})" if step else "")


def _sizes(prepared: PreparedJob) -> list[str]:
    """How many images are edited at which size, if there are several."""
    edit_size = prepared.job.edit_size
    editable = (item for item in prepared.items if item.error is None)
    counts = Counter(edit_size(item.width, item.height) for item in editable)
    if len(counts) < 2:
        return []
    parts = (f"{formatting.plural(counts[px], 'image')} at {px} px" for px in sorted(counts))
    return [", ".join(parts)]


def _video(facts: VideoFacts) -> str:
    rate = facts.frame_rate[0] / facts.frame_rate[1] if facts.frame_rate[1] else 0.0
    sar = (
        f", pixel aspect ratio {facts.sar[0]}:{facts.sar[1]}"
        if facts.sar[0] != facts.sar[1]
        else ""
    )
    frames = formatting.plural(facts.frames, "frame")
    return (
        f"{facts.width}x{facts.height}{orientation_of(facts)}{sar}{fields_of(facts)},"
        f" {frames}, {rate:.5g} fps, {formatting.duration(facts.duration)},"
        f" {facts.codec} in {facts.container}"
    )


def orientation_of(facts: VideoFacts) -> str:
    """How stored frames are turned, as a part of a sentence; empty if they are not."""
    if facts.mirrored and facts.rotation == 180:
        return ", mirrored top to bottom"
    turned = f", rotated by {facts.rotation} degrees" if facts.rotation else ""
    return turned + (", mirrored left to right" if facts.mirrored else "")


def fields_of(facts: VideoFacts) -> str:
    """What becomes of interlaced frames, as a part of a sentence; empty without any."""
    if facts.deinterlace == "ivtc":
        return ", film frames of telecined video (fieldmatch, decimate)"
    if not facts.interlaced:
        return ""
    done = "deinterlaced (bwdif)" if facts.deinterlace == "auto" else "fields kept"
    return f", interlaced ({facts.field_order}): {done}"


def _shots(plan: Plan, facts: VideoFacts) -> str:
    rate = facts.frame_rate[0] / facts.frame_rate[1] if facts.frame_rate[1] else 0.0
    lines = [str(len(plan.shots))]
    for shot in plan.shots[:LISTED]:
        at = f"  from {formatting.duration(shot.start / rate)}" if rate else ""
        frames = formatting.plural(shot.stop - shot.start, "frame")
        lines.append(f"[{shot.start}, {shot.stop})  {frames}{at}")
    return "\n".join(lines + _more(len(plan.shots)))


def _chunks(plan: Plan, job: Job) -> str:
    kinds = Counter((c.wave, c.noun) for c in plan.chunks)
    lines = [f"{len(plan.chunks)} in {formatting.plural(plan.waves, 'wave')}"]
    for (wave, noun), count in sorted(kinds.items()):
        counted = formatting.plural(sum(len(c) for c in plan.wave(wave) if c.noun == noun), noun)
        lines.append(f"wave {wave}: {formatting.plural(count, 'chunk')} with {counted}")
    if job.source.is_video:
        joins = pattern_of(job.output) is None
        lines.append(f"then the segments are {'joined' if joins else 'written as images'}")
    return "\n".join(lines)


def largest_input(prepared: PreparedJob) -> tuple[int, int]:
    """Width and height of the largest frame or tile that the model gets."""
    tile = prepared.job.tile_size
    return max(prepared.plan.size, (tile, tile), key=math.prod)


def _memory(prepared: PreparedJob) -> str:
    recipe = prepared.job.recipe
    lines = []
    for name, gpu in (("GPU", True), ("CPU", False)):
        need = memory(recipe, *largest_input(prepared), gpu=gpu)
        if recipe.model == "identity":
            return "little: the identity model copies frames"
        if need is None:
            lacks = "has no weights" if Path(recipe.model).is_dir() else "is not on this machine"
            return f"unknown: {recipe.model} {lacks}"
        batch = max(1, recipe.batch_size)
        frames = "one frame" if batch == 1 else f"{batch} frames"
        lines.append(
            f"about {formatting.size(need.weights + batch * need.frame)} per worker on a {name}"
            f" ({need.dtype}: {formatting.size(need.weights)} of weights,"
            f" {formatting.size(batch * need.frame)} for {frames} at a time)"
        )
    return "\n".join(lines)


def _estimate(prepared: PreparedJob) -> str:
    """Time and disk space, from the pace of an earlier job."""
    job = prepared.job
    found = pace.estimate(job, prepared.plan, prepared.items, Settings.from_env().cache)
    if found is None:
        return "unknown until a job with these settings has run on this machine"
    measured = found.pace
    on = datetime.fromtimestamp(measured.at).astimezone().date()
    lines = [
        f"about {formatting.duration(found.seconds)}, measured on {on}: {measured.fps:.3g}"
        f" {job.source.noun}s/s with {formatting.plural(measured.workers, 'worker')}",
        f"about {formatting.size(found.work_bytes)}"
        + (" while it runs, half of it for the result" if job.source.is_video else ""),
    ]
    free = pace.free_bytes(Path(job.output))
    if free is not None and free < found.work_bytes:
        lines[-1] += f"; only {formatting.size(free)} are free"
    return "\n".join(lines)


def _copied(facts: VideoFacts) -> str:
    parts = []
    for count, noun in ((facts.audio_streams, "audio"), (facts.subtitle_streams, "subtitle")):
        if count:
            parts.append(formatting.plural(count, f"{noun} stream"))
    return ", ".join([*parts, "chapters and metadata"]) + (
        " (warnings name what the output cannot hold)" if parts else ""
    )


def _more(count: int) -> list[str]:
    return [f"... and {count - LISTED} more"] if count > LISTED else []
