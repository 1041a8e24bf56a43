"""``dataset``: make a dataset of training pairs, or check one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..jobs.events import Event
from . import exits, formatting, terminal
from .command import OptionGroup
from .help_format import OUTPUT, PAIRS
from .options import ReportOptions, option
from .report import Reporter, reporter_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..training.pairs import BadRow, Pair

#: Bad rows that are listed one by one; the rest is counted.
_LISTED_ROWS = 20
#: Pairs on a contact sheet.
_SHEET_PAIRS = 6

SourceArgument = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        readable=False,
        help="A dataset to check (folder, CSV or JSONL); with -o, a folder of photos.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Path | None,
    option(
        "--output",
        "-o",
        metavar="DIR",
        help="Make a dataset of the photos here.",
        panel=OUTPUT,
    ),
]
SheetOption = Annotated[
    Path | None,
    option(
        "--sheet",
        metavar="FILE.png",
        help="Draw a contact sheet of some pairs: sources on the left, results on the right.",
        panel=OUTPUT,
    ),
]


@dataclass(frozen=True, kw_only=True)
class DatasetOptions(OptionGroup):
    """The pairs of a new dataset."""

    size: Annotated[
        int,
        option(
            "--size",
            metavar="PX",
            help="Longest side of the images, in pixels.",
            panel=PAIRS,
            default="256",
        ),
    ] = 256
    per_photo: Annotated[
        int,
        option("--per-photo", metavar="N", help="Edits of each photo.", panel=PAIRS, default="4"),
    ] = 4
    edits: Annotated[
        str,
        option(
            "--edits",
            metavar="NAMES",
            help="Kinds of edits to choose from, such as night,winter.",
            panel=PAIRS,
            default="all",
        ),
    ] = ""
    seed: Annotated[
        int, option("--seed", metavar="N", help="Random seed.", panel=PAIRS, default="0")
    ] = 0
    follow_links: Annotated[
        bool,
        option(
            "--follow-links",
            help="Follow the links of the folder of photos to files and folders outside of it.",
            panel=PAIRS,
        ),
    ] = False


def dataset(
    source: SourceArgument,
    dataset_options: DatasetOptions,
    report_options: ReportOptions,
    output: OutputOption = None,
    sheet: SheetOption = None,
) -> int:
    """Make training pairs from photos with programmed edits, or check a dataset of pairs.

    A dataset is a table, pairs.csv or pairs.jsonl, with the columns input, instruction and
    edited. Rows that cannot be used are listed; `train` ignores them.

    Examples:
      ip2p-batch dataset photos/ -o pairs/
      ip2p-batch dataset photos/ -o pairs/ --edits night,winter --per-photo 2
      ip2p-batch dataset pairs/ --sheet pairs.png
    """
    from ..training.pairs import read_pairs

    reporter = reporter_for(report_options)
    reporter.noun = "pair"
    bad: Sequence[BadRow] = ()
    try:
        if output is not None:
            bad = _make(source, output, dataset_options, reporter)
            source = output
        dataset = read_pairs(source, progress=_progress(reporter, "checking pairs"))
    finally:
        reporter.close()
    bad = (*bad, *dataset.bad)
    if sheet is not None:
        _draw(dataset.good, sheet)
    if report_options.json:
        facts = {"pairs": len(dataset.good), "instructions": _instructions(dataset.good)}
        rows = [msgspec.to_builtins(row) for row in bad]
        terminal.say_json(facts | {"bad": rows, "warnings": dataset.notes})
    else:
        for note in dataset.notes:
            exits.warn(note)
        for row in bad[:_LISTED_ROWS]:
            exits.warn(f"{row.location}: {row.reason}")
        if len(bad) > _LISTED_ROWS:
            exits.warn(f"{len(bad) - _LISTED_ROWS} more rows cannot be used")
        instructions = formatting.plural(_instructions(dataset.good), "different instruction")
        terminal.say(f"{formatting.plural(len(dataset.good), 'pair')}, {instructions}")
        if sheet is not None:
            terminal.say(f"{sheet.absolute()}: sources on the left, results on the right")
    return exits.SOME_FAILED if bad else exits.DONE


def _make(
    photos: Path, output: Path, options: DatasetOptions, reporter: Reporter
) -> Sequence[BadRow]:
    from ..training.dataset import DatasetConfig, make_dataset

    names = tuple(name.strip() for name in options.edits.split(",") if name.strip())
    config = DatasetConfig(
        size=options.size,
        per_photo=options.per_photo,
        edits=names,
        seed=options.seed,
        follow_links=options.follow_links,
    )

    def progress(done: int, total: int) -> None:
        reporter(Event(kind="planning", stage="making pairs", done=done, total=total))

    return make_dataset(photos, output, config, progress=progress).bad


def _progress(reporter: Reporter, stage: str) -> Callable[[int], None]:
    def progress(done: int) -> None:
        if done % 50 == 0:
            reporter(Event(kind="planning", stage=stage, done=done))

    return progress


def _instructions(pairs: Sequence[Pair]) -> int:
    return len({pair.instruction for pair in pairs})


def _draw(pairs: Sequence[Pair], path: Path) -> None:
    """Draw a contact sheet of pairs that are spread over the dataset."""
    from ..media.contact_sheet import write_before_after
    from ..media.images.reader import read_image
    from .demo import spread_over

    chosen = [pairs[n] for n in spread_over(0, len(pairs), _SHEET_PAIRS)]
    rows = [(read_image(Path(p.input)), read_image(Path(p.edited))) for p in chosen]
    write_before_after(rows, path, title="Pairs", captions=[p.instruction for p in chosen])
