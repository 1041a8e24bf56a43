"""``control``: write the hints that control nets will see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..hints import depth_model
from ..hints.kinds import ALL_KINDS
from ..planning.recipes import resolve_recipe
from ..recipe import DEFAULT_MODEL, FIELDS
from . import exits, terminal
from .command import OptionGroup
from .help_format import OUTPUT, RECIPE
from .media_options import SourceOptions
from .options import ReportOptions, option
from .param_types import choice, number_or, path_name
from .report import reporter_for

if TYPE_CHECKING:
    from ..execution.hint_files import HintFiles


@dataclass(frozen=True, kw_only=True)
class HintOptions(OptionGroup):
    """Which hints are made, and where they go."""

    kind: Annotated[
        str,
        option(
            "--kind",
            "-k",
            metavar="KIND",
            help="What the hints show.",
            values=ALL_KINDS,
            panel=RECIPE,
            default="canny",
            **choice(ALL_KINDS),
        ),
    ] = "canny"
    size: Annotated[
        str | None,
        option(
            "--size",
            metavar="PX",
            help="Edit size: the longest side of the hints.",
            panel=RECIPE,
            default="auto",
            **number_or(("auto",)),
        ),
    ] = None
    model: Annotated[
        str | None,
        option(
            "--model",
            "-m",
            metavar="MODEL",
            help="The model whose edit sizes `--size auto` means. It is not loaded.",
            panel=RECIPE,
            default=DEFAULT_MODEL,
        ),
    ] = None
    preprocessor: Annotated[
        str | None,
        option(
            "--preprocessor",
            metavar="MODEL",
            help="The estimator of `depth`: a folder of transformers or a hub id.",
            panel=RECIPE,
            default=depth_model.DEFAULT_MODEL,
        ),
    ] = None
    temporal_filter: Annotated[
        int | None,
        option(
            "--temporal-filter",
            metavar="N",
            min=0,
            max=4,
            help="Radius, in frames, of the average of hints along the source's motion.",
            panel=RECIPE,
            default=str(FIELDS["temporal_filter"].default),
        ),
    ] = None
    output: Annotated[
        Path | None,
        option(
            "--output",
            "-o",
            metavar="PATH",
            parser=path_name,
            help="A video as .mp4, .mkv (lossless) or image sequence (h_%05d.png); a .png file or"
            " a folder for images.",
            panel=OUTPUT,
            default="next to the source, with the kind in its name",
        ),
    ] = None
    overwrite: Annotated[
        bool, option("--overwrite", help="Replace files that exist.", panel=OUTPUT)
    ] = False


def control(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            readable=False,
            help="A video, an image, an image sequence, a folder of images or a manifest.",
        ),
    ],
    options: HintOptions,
    source_options: SourceOptions,
    report_options: ReportOptions,
) -> int:
    """Write the hints that a control net will see, such as the edges of each frame.

    The pixels are those that `edit --control KIND` uses with the same source, size and temporal
    filter. Change them in another program, and give them back: --control canny,hints=FILE.

    Examples:
      ip2p-batch control clip.mp4 --kind canny -o hints.mp4
      ip2p-batch control photos/ --kind lineart --size 768
    """
    from ..api_hints import make_hints

    names = ("size", "model", "temporal_filter")
    fields = {name: getattr(options, name) for name in names}
    recipe = resolve_recipe({name: v for name, v in fields.items() if v is not None})
    reporter = reporter_for(ReportOptions(quiet=report_options.quiet or report_options.json))
    try:
        made = make_hints(
            source,
            options.kind,
            output=options.output,
            recipe=recipe,
            preprocessor=options.preprocessor,
            progress=reporter,
            decoding=source_options.decoding(),
            start=source_options.start,
            end=source_options.end,
            overwrite=options.overwrite,
        )
    finally:
        reporter.close()
    if report_options.json:
        terminal.say_json(msgspec.to_builtins(made, enc_hook=str))
    else:
        _report(made, options.kind, quiet=report_options.quiet)
    return exits.SOME_FAILED if made.failed else exits.DONE


def _report(made: HintFiles, kind: str, *, quiet: bool) -> None:
    for path, reason in made.failed:
        exits.warn(f"{path}: {reason}")
    for warning in made.warnings:
        exits.warn(warning)
    if not quiet:
        size = f", {made.width}x{made.height}" if made.width else ""
        terminal.say(f"{made.output}: {kind} hints of {made.count} {made.noun}{size}")
