"""``plan``: what ``edit`` would do, without loading a model or writing anything."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import typer

from ..planning.memory import memory
from . import exits, formatting
from .edit import InstructionArgument, SourceArgument
from .options import RecipeOptions, ReportOptions, Result, recipe_from
from .report import Reporter, reporter

if TYPE_CHECKING:
    from ..jobs.plan import Plan
    from ..jobs.spec import Job, VideoFacts
    from ..planning.prepare import PreparedJob

#: Shots and failed pictures listed before "and N more".
LISTED = 12
#: Stands in where no instruction is given: a dry run does not need one.
_ANY = "(none given)"


def plan(
    source: SourceArgument,
    look: RecipeOptions,
    result: Result,
    reports: ReportOptions,
    instruction: InstructionArgument = None,
) -> int:
    """Say what `edit` would do: shots, chunks, waves, sizes, memory. A dry run.

    Takes the options of `edit`. No model is loaded and nothing is written.

    Examples:
      ip2p-batch plan clip.mp4
      ip2p-batch plan catalog/ --size 768 --json
    """
    from .. import scheduler

    recipe = recipe_from(instruction, look)
    if not recipe.instruction.strip():
        recipe = msgspec.structs.replace(recipe, instruction=_ANY)
    request = scheduler.EditRequest(
        source=source,
        recipe=recipe,
        output=result.output,
        encoding=result.encoding(),
        start=result.start,
        end=result.end,
        overwrite=result.overwrite,
    )
    say = Reporter() if reports.json else reporter(json=False, quiet=reports.quiet)
    try:
        survey = scheduler.prepare_job(request, say)
    finally:
        say.close()
    if reports.json:
        sys.stdout.write(as_json(survey).decode() + "\n")
        return exits.DONE
    for line in describe(survey):
        typer.echo(line)
    for warning in survey.plan.warnings:
        exits.warn(warning)
    return exits.DONE


def as_json(survey: PreparedJob) -> bytes:
    """The whole plan as one JSON object: job, plan, items and estimated memory."""
    width, height = _edit_size(survey)
    recipe = survey.job.recipe
    return msgspec.json.encode(
        {
            "job": survey.job,
            "plan": survey.plan,
            "items": survey.items,
            "frames": survey.plan.frames,
            "waves": survey.plan.waves,
            "memory": [memory(recipe, width, height, gpu=gpu) for gpu in (True, False)],
        }
    )


def describe(survey: PreparedJob) -> list[str]:
    """The plan for a reader."""
    job, plan = survey.job, survey.plan
    facts = job.source.video
    pairs = [("source", job.source.path)]
    if facts is not None:
        pairs += [("", _video(facts)), ("edit", _what(plan, job, "frame"))]
        pairs += [("shots", _shots(plan, facts))]
    else:
        pairs += [("edit", _what(plan, job, "picture"))]
    pairs += [
        ("chunks", _chunks(plan, job)),
        ("memory", _memory(survey)),
        ("output", job.output),
    ]
    if facts is not None:
        width, height = facts.upright
        pairs += [("", f"{width}x{height}, {job.encoding.codec}"), ("copied", _copied(facts))]
    bad = [i for i in survey.items if i.error is not None]
    if bad:
        lines = [f"{i.source}: {i.error}" for i in bad[:LISTED]]
        pairs.append(("left out", "\n".join(lines + _more(len(bad)))))
    return formatting.facts(pairs)


def _what(plan: Plan, job: Job, noun: str) -> str:
    recipe = job.recipe
    size = f" at {plan.size[0]}x{plan.size[1]}" if all(plan.size) else f" at up to {recipe.size} px"
    words = "" if recipe.instruction == _ANY else f"\n{recipe.instruction!r}"
    return (
        f"{formatting.plural(plan.frames, noun)}{size}; model {recipe.model}, {recipe.scheduler},"
        f" {recipe.num_inference_steps} steps,\ns_T {recipe.guidance_scale:g},"
        f" s_I {recipe.image_guidance_scale:g}, seed {recipe.seed},"
        f" carryover {recipe.carryover:g}, {formatting.plural(recipe.anchors, 'anchor')}{words}"
    )


def _video(facts: VideoFacts) -> str:
    rate = facts.frame_rate[0] / facts.frame_rate[1] if facts.frame_rate[1] else 0.0
    turned = f", shown turned by {facts.rotation} degrees" if facts.rotation else ""
    sar = f", samples {facts.sar[0]}:{facts.sar[1]}" if facts.sar[0] != facts.sar[1] else ""
    return (
        f"{facts.width}x{facts.height}{turned}{sar}, {facts.frames} frames, {rate:.5g} a second,"
        f" {formatting.duration(facts.duration)}, {facts.codec} in {facts.container}"
    )


def _shots(plan: Plan, facts: VideoFacts) -> str:
    rate = facts.frame_rate[0] / facts.frame_rate[1] if facts.frame_rate[1] else 0.0
    lines = [str(len(plan.shots))]
    for shot in plan.shots[:LISTED]:
        at = f"  from {formatting.duration(shot.start / rate)}" if rate else ""
        lines.append(f"[{shot.start}, {shot.stop})  {shot.stop - shot.start} frames{at}")
    return "\n".join(lines + _more(len(plan.shots)))


def _chunks(plan: Plan, job: Job) -> str:
    kinds = Counter((c.wave, c.noun) for c in plan.chunks)
    lines = [f"{len(plan.chunks)} in {formatting.plural(plan.waves, 'wave')}"]
    for (wave, noun), count in sorted(kinds.items()):
        held = formatting.plural(sum(len(c) for c in plan.wave(wave) if c.noun == noun), noun)
        lines.append(f"wave {wave}: {formatting.plural(count, 'chunk')} with {held}")
    if job.source.is_video:
        lines.append("then the segments are joined")
    return "\n".join(lines)


def _edit_size(survey: PreparedJob) -> tuple[int, int]:
    """Size at which frames are edited; for pictures the largest that can come."""
    width, height = survey.plan.size
    longest = survey.job.recipe.size
    return (width, height) if width and height else (longest, longest)


def _memory(survey: PreparedJob) -> str:
    recipe = survey.job.recipe
    width, height = _edit_size(survey)
    lines = []
    for name, gpu in (("GPU", True), ("CPU", False)):
        need = memory(recipe, width, height, gpu=gpu)
        if need is None:
            return f"not known: {recipe.model} is not on this machine"
        batch = max(1, recipe.batch_size)
        frames = "one frame" if batch == 1 else f"{batch} frames"
        lines.append(
            f"about {formatting.size(need.weights + batch * need.frame)} a worker on a {name}"
            f" ({need.dtype}: weights {formatting.size(need.weights)}, {frames} at a time"
            f" {formatting.size(batch * need.frame)})"
        )
    return "\n".join(lines)


def _copied(facts: VideoFacts) -> str:
    parts = []
    for count, noun in ((facts.audio_streams, "sound"), (facts.subtitle_streams, "subtitle")):
        if count:
            parts.append(formatting.plural(count, f"{noun} stream"))
    return ", ".join([*parts, "chapters and metadata"]) + (
        " (what the output cannot hold is named below)" if parts else ""
    )


def _more(count: int) -> list[str]:
    return [f"... and {count - LISTED} more"] if count > LISTED else []
