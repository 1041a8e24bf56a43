"""Format numbers and tables for a terminal; pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

#: The values of a recipe's ``detail``, in words.
_DETAIL = {
    "source": "detail from the source",
    "edit": "detail from the edit",
    "tiles": "drawn again in tiles",
}

if TYPE_CHECKING:
    from ..jobs.records import EditMethod
    from ..recipe_parts import Lora


def duration(seconds: float | None) -> str:
    """Seconds as ``M:SS`` or ``H:MM:SS``; ``?`` for None."""
    if seconds is None:
        return "?"
    hours, rest = divmod(max(0, round(seconds)), 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


def age(seconds: float) -> str:
    """Seconds in the largest unit that fits: ``40 s``, ``5 min``, ``3 h``, ``2 d``."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def size(count: float) -> str:
    """Bytes in binary units with three digits: ``1.91 GiB``."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    power = 0
    while count >= 1000 and power < len(units) - 1:
        count /= 1024
        power += 1
    return f"{count:.0f} B" if power == 0 else f"{count:.3g} {units[power]}"


def edit_method(method: EditMethod) -> str:
    """Edit size and method: ``at 256x144 (auto), detail from the source``.

    Several sizes are ``at up to 256 px``.
    """
    shape = f"{method.width}x{method.height}"
    size = shape if method.one_size else f"up to {max(method.width, method.height)} px"
    return f"at {size}{' (auto)' if method.auto else ''}, {_DETAIL[method.detail]}"


def plural(count: int, noun: str) -> str:
    """``1 frame``, ``2 frames``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def progress(done: int, total: int, noun: str = "") -> str:
    """``12/40 (30 %)``, with a noun ``12/40 frames (30 %)``; ``12`` if the total is not known."""
    if not total:
        return plural(done, noun) if noun else str(done)
    counted = f"/{plural(total, noun)}" if noun else f"/{total}"
    return f"{done}{counted} ({100 * done // total} %)"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Left-aligned columns, two spaces apart."""
    everything = [head, *rows]
    widths = [max(len(row[i]) for row in everything) for i in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in everything
    ]


def facts(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Names and values in two columns; all lines of a value are aligned."""
    width = max((len(name) for name, _ in pairs), default=0)
    lines = []
    for name, value in pairs:
        first, *more = value.splitlines() or [""]
        lines.append(f"{name.ljust(width)}  {first}".rstrip())
        lines += [" " * (width + 2) + line for line in more]
    return lines


def lora(value: Lora) -> str:
    """A LoRA: its file or hub id, its weight, and the first digits of its digest if known."""
    digest = f", SHA-256 {value.digest[:12]}" if value.digest is not None else ""
    return f"{value.model}, weight {value.weight:g}{digest}"
