"""The arguments of ``edit`` and ``plan``: one or more sources, then the instruction."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..errors import RecipeError
from .media_options import OutputOptions, SourceOptions
from .recipe_options import RecipeOptions, recipe_from

if TYPE_CHECKING:
    from ..planning.request import EditRequest

InputArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT... [INSTRUCTION]",
        help="One or more videos, images, image sequences (frames/f_%05d.png), folders of videos"
        " and images, or .csv, .jsonl or .parquet lists with"
        " the columns path and, optionally, instruction, output, seed, negative_prompt,"
        " guidance_scale, image_guidance_scale and num_inference_steps; then what to change, in a"
        " sentence. Leave the instruction out if the recipe file or the list has it.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The sources of a command, and its instruction."""

    sources: tuple[Path, ...]
    instruction: str | None


def split_arguments(arguments: Sequence[str]) -> Inputs:
    """The last argument is the instruction, unless it names a file or folder.

    A name with the suffix of an image, a video or a list counts as a file that is missing.

    Raises:
        RecipeError: an argument is empty.
    """
    *before, last = arguments
    if before and not _is_path(last):
        sources, instruction = before, last
    else:
        sources, instruction = [*before, last], None
    if "" in sources:
        raise RecipeError("An input has an empty name.", hint="Check the variable that holds it.")
    return Inputs(tuple(Path(source) for source in sources), instruction)


def request_from(
    inputs: Inputs,
    recipe: RecipeOptions,
    source: SourceOptions,
    output: OutputOptions,
    *,
    default_instruction: str = "",
) -> EditRequest:
    """What the options of ``edit`` and ``plan`` request for each of the sources.

    Args:
        default_instruction: replaces a missing one.

    Raises:
        RecipeError: a value is unknown or out of range, or the last argument is a file where an
            instruction is needed.
    """
    from ..media.table import TABLES
    from ..planning.request import EditRequest

    merged = recipe_from(inputs.instruction, recipe)
    if not merged.instruction.strip() and default_instruction:
        merged = msgspec.structs.replace(merged, instruction=default_instruction)
    needs_one = any(path.suffix.lower() not in TABLES for path in inputs.sources)
    if len(inputs.sources) > 1 and needs_one and not merged.instruction.strip():
        raise RecipeError(
            f"There is no instruction: the last argument, {inputs.sources[-1]}, is a file.",
            hint='End the command with the instruction, such as "make it snow".',
        )
    return EditRequest(
        source=inputs.sources[0],
        recipe=merged,
        output=output.output,
        decoding=source.decoding(),
        encoding=output.encoding(),
        start=source.start,
        end=source.end,
        overwrite=output.overwrite,
        reads=recipe.reads,
    )


def _is_path(text: str) -> bool:
    """Whether an argument is a source and not the instruction."""
    from ..media.images.formats import SUFFIXES, UNSUPPORTED
    from ..media.table import TABLES
    from ..media.video.suffixes import VIDEO_SUFFIXES
    from ..storage.sequence import pattern_of

    try:
        if os.path.lexists(os.path.expanduser(text)):  # noqa: PTH111 - text of any kind
            return True
    except ValueError:
        return False
    suffix = os.path.splitext(text)[1].lower()  # noqa: PTH122 - text of any kind
    known = suffix in (*SUFFIXES, *UNSUPPORTED, *VIDEO_SUFFIXES, *TABLES)
    known = known or pattern_of(text) is not None
    return known and not any(c.isspace() for c in text)
