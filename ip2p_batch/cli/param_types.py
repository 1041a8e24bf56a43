"""How an option's text becomes a value, with one clear line where it does not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import typer


def seconds(text: str) -> float:
    """A time of ``SS``, ``MM:SS`` or ``HH:MM:SS``, each with a fraction or not, in seconds.

    Raises:
        typer.BadParameter: ``text`` is none of these.
    """
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)", text.strip(), re.ASCII)
    if match is None:
        raise typer.BadParameter(
            f"{text!r} is not a time; write seconds (12.5), MM:SS or HH:MM:SS(.fff)."
        )
    hours, minutes, secs = match.groups()
    if (minutes is not None and float(secs) >= 60) or (hours is not None and int(minutes) >= 60):
        raise typer.BadParameter(f"{text!r} has a part of 60 or more after a colon.")
    value = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(secs)
    if not math.isfinite(value):
        raise typer.BadParameter(f"{text!r} is too long a time.")
    return value


def interval(text: str) -> tuple[float, float]:
    """Two shares, ``A,B``; whether they are in range is the recipe's to say.

    Raises:
        typer.BadParameter: not two numbers.
    """
    try:
        begin, end = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not two shares such as 0.1,0.8.") from None
    return begin, end


def choice(
    values: Sequence[str], aliases: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """What makes an option take one of ``values``, in any case, and complete them in a shell."""

    def parse(text: str) -> str:
        name = text.strip().lower()
        name = aliases.get(name, name)
        if name not in values:
            raise typer.BadParameter(f"{text!r} is not one of: {', '.join(values)}.")
        return name

    return {"parser": parse, "autocompletion": lambda: list(values)}


def devices(text: str) -> str:
    """Devices as the workers' launcher takes them.

    Raises:
        typer.BadParameter: not ``auto``, ``cpu``, ``cuda`` or numbers of GPUs.
    """
    value = text.replace(" ", "").lower()
    if not re.fullmatch(r"auto|cpu|cuda|(cuda:)?\d+(,\d+)*", value, re.ASCII):
        raise typer.BadParameter(f"{text!r} is not 'auto', 'cpu' or GPU numbers such as 0,1.")
    return value
