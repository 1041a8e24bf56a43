"""``plan``: print what ``edit`` would do, without loading a model or writing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..planning import pace
from ..planning.memory import memory
from ..settings import Settings
from . import exits, terminal
from .inputs import InputArguments, request_from, split_arguments
from .media_options import OutputOptions, SourceOptions
from .options import ReportOptions
from .plan_hints import hints_on
from .plan_text import NO_INSTRUCTION, describe, largest_input, tile_counts
from .recipe_options import RecipeOptions
from .report import Reporter, reporter_for

if TYPE_CHECKING:
    from ..planning.request import PreparedJob


def plan(
    inputs: InputArguments,
    recipe_options: RecipeOptions,
    source_options: SourceOptions,
    output_options: OutputOptions,
    report_options: ReportOptions,
) -> int:
    """Show what `edit` would do: shots, chunks, waves, sizes and memory. A dry run.

    It takes the options of `edit`. It loads no model and writes nothing.

    Examples:
      ip2p-batch plan clip.mp4
      ip2p-batch plan catalog/ --size 768 --json
    """
    from .. import scheduler

    arguments = split_arguments(inputs)
    request = request_from(
        arguments,
        recipe_options,
        source_options,
        output_options,
        default_instruction=NO_INSTRUCTION,
    )
    # Progress is no part of the JSON, which is one object for each job.
    reporter = Reporter() if report_options.json else reporter_for(report_options)
    try:
        jobs = scheduler.prepare_jobs(request, arguments.sources, reporter)
    finally:
        reporter.close()
    for number, prepared in enumerate(jobs.made):
        if report_options.json:
            terminal.say_json(as_json(prepared))
            continue
        for line in [*([""] if number else []), *describe(prepared)]:
            terminal.say(line)
        for warning in prepared.plan.warnings:
            exits.warn(warning)
    if report_options.json:
        for note in jobs.notes:
            terminal.say_json({"warning": note})
        for source in jobs.refused:
            terminal.say_json({"source": source.path, "error": source.reason})
        for request in jobs.skipped:
            terminal.say_json({"source": str(request.source), "skipped": str(request.output)})
    return exits.SOME_FAILED if jobs.refused else exits.DONE


def as_json(prepared: PreparedJob) -> dict[str, Any]:
    """The plan as an object for JSON: job, plan, items, edit size, hints and estimated memory."""
    recipe, plan = prepared.job.recipe, prepared.plan
    return {
        "job": prepared.job,
        "plan": plan,
        "items": prepared.items,
        "frames": plan.frames,
        "waves": plan.waves,
        "edit": plan.edit_method(recipe),
        "tiles": tile_counts(prepared) if recipe.detail == "tiles" else [],
        "hints": hints_on(prepared),
        "estimate": pace.estimate(prepared.job, plan, prepared.items, Settings.from_env().cache),
        "memory": [memory(recipe, *largest_input(prepared), gpu=gpu) for gpu in (True, False)],
    }
