"""``dataset``: make paired data, or check what is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..jobs.events import Event
from . import exits
from .help_format import PAIRS, RESULT
from .options import ReportOptions
from .report import Reporter, reporter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..training.pairs import BadRow, Pair

#: Bad rows told one by one; the rest is counted.
_TOLD = 20
#: Pairs on a sheet.
_SHOWN = 6

SourceArgument = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        help="A dataset to check (folder, CSV or JSONL); with -o, a folder of photos.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="DIR", help="Make a dataset here.", rich_help_panel=RESULT
    ),
]
SheetOption = Annotated[
    Path | None,
    typer.Option(
        "--sheet",
        metavar="FILE.png",
        help="Draw some of the pairs, source left, result right.",
        rich_help_panel=RESULT,
    ),
]
SizeOption = Annotated[
    int,
    typer.Option("--size", metavar="PIXELS", help="Longest side of pairs.", rich_help_panel=PAIRS),
]
PerPhotoOption = Annotated[
    int,
    typer.Option("--per-photo", metavar="N", help="Edits of each photo.", rich_help_panel=PAIRS),
]
EditsOption = Annotated[
    str,
    typer.Option(
        "--edits",
        metavar="NAMES",
        help="Teachers to draw from, with commas between them. [default: all]",
        rich_help_panel=PAIRS,
        show_default=False,
    ),
]
SeedOption = Annotated[
    int,
    typer.Option("--seed", metavar="N", help="Decides what is drawn.", rich_help_panel=PAIRS),
]


def dataset(
    source: SourceArgument,
    reports: ReportOptions,
    output: OutputOption = None,
    sheet: SheetOption = None,
    size: SizeOption = 256,
    per_photo: PerPhotoOption = 4,
    edits: EditsOption = "",
    seed: SeedOption = 0,
) -> int:
    """Make training pairs from photos with programmed edits, or check a dataset of pairs.

    A dataset is a table, pairs.csv or pairs.jsonl, with the columns input, instruction and
    edited; rows that cannot be learned from are listed and do no harm.

    Examples:
      ip2p-batch dataset photos/ -o pairs/
      ip2p-batch dataset photos/ -o pairs/ --edits night,winter --per-photo 2
      ip2p-batch dataset pairs/ --sheet pairs.png
    """
    from ..training.pairs import read_pairs

    say = reporter(json=reports.json, quiet=reports.quiet)
    say.noun = "pair"
    bad: Sequence[BadRow] = ()
    try:
        if output is not None:
            bad = _make(source, output, (size, per_photo, edits, seed), say)
            source = output
        found = read_pairs(source, progress=_progress(say, "checking pairs"))
    finally:
        say.close()
    bad = (*bad, *found.bad)
    if sheet is not None:
        _draw(found.good, sheet)
    if reports.json:
        facts = {"pairs": len(found.good), "instructions": _instructions(found.good)}
        rows = [msgspec.to_builtins(row) for row in bad]
        typer.echo(msgspec.json.encode(facts | {"bad": rows}))
    else:
        for row in bad[:_TOLD]:
            exits.warn(f"{row.where}: {row.why}")
        if len(bad) > _TOLD:
            exits.warn(f"and {len(bad) - _TOLD} others")
        typer.echo(f"{len(found.good)} pairs, {_instructions(found.good)} different instructions")
        if sheet is not None:
            typer.echo(f"{sheet.absolute()}: source left, result right")
    return exits.SOME_FAILED if bad else exits.DONE


def _make(
    photos: Path, output: Path, asked: tuple[int, int, str, int], say: Reporter
) -> Sequence[BadRow]:
    from ..training.making import Making, make_pairs

    size, per_photo, edits, seed = asked
    names = tuple(name.strip() for name in edits.split(",") if name.strip())
    making = Making(size=size, per_photo=per_photo, edits=names, seed=seed)

    def progress(done: int, total: int) -> None:
        say(Event(kind="planning", stage="making pairs", done=done, total=total))

    return make_pairs(photos, output, making, progress=progress).bad


def _progress(say: Reporter, stage: str) -> Callable[[int], None]:
    def progress(done: int) -> None:
        if done % 50 == 0:
            say(Event(kind="planning", stage=stage, done=done))

    return progress


def _instructions(pairs: Sequence[Pair]) -> int:
    return len({pair.instruction for pair in pairs})


def _draw(pairs: Sequence[Pair], path: Path) -> None:
    """A sheet of pairs spread over the dataset."""
    from ..media.contact_sheet import write_before_after
    from ..media.images.codec import read_still
    from .demo import spread_over

    chosen = [pairs[n] for n in spread_over(0, len(pairs), _SHOWN)]
    rows = [(read_still(Path(p.input)).image, read_still(Path(p.edited)).image) for p in chosen]
    write_before_after(rows, path, title="Pairs", captions=[p.instruction for p in chosen])
