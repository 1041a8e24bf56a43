"""Parse the texts of options; an invalid text is an error of one line."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import typer


def seconds(text: str) -> float:
    """Parse ``SS``, ``MM:SS`` or ``HH:MM:SS``, with or without a fraction, into seconds.

    Raises:
        typer.BadParameter: ``text`` is not such a time.
    """
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)", text.strip(), re.ASCII)
    if match is None:
        raise typer.BadParameter(
            f"{text!r} is not a time; write seconds (12.5), MM:SS or HH:MM:SS(.fff)."
        )
    hours, minutes, secs = match.groups()
    if (minutes is not None and float(secs) >= 60) or (hours is not None and int(minutes) >= 60):
        raise typer.BadParameter(f"{text!r} has minutes or seconds of 60 or more.")
    value = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(secs)
    if not math.isfinite(value):
        raise typer.BadParameter(f"{text!r} is too large.")
    return value


def path_name(text: str) -> Path:
    """Parse the name of a file or folder.

    Raises:
        typer.BadParameter: ``text`` is empty, which would be the current folder.
    """
    if not text:
        raise typer.BadParameter("the name is empty; check the variable that holds it.")
    return Path(text)


def interval(text: str) -> tuple[float, float]:
    """Parse two fractions, ``A,B``; the recipe checks their range.

    Raises:
        typer.BadParameter: ``text`` is not two numbers.
    """
    try:
        begin, end = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not two fractions such as 0.1,0.8.") from None
    return begin, end


def choice(
    values: Sequence[str], aliases: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Arguments of an option that takes one of ``values``, in any case; shells complete them."""

    def parse(text: str) -> str:
        name = text.strip().lower()
        name = aliases.get(name, name)
        if name not in values:
            raise typer.BadParameter(f"{text!r} is not one of: {', '.join(values)}.")
        return name

    return {"parser": parse, "autocompletion": lambda: list(values)}


def number_or(words: Sequence[str]) -> dict[str, Any]:
    """Arguments of an option that takes a whole number or one of ``words``, in any case."""

    def parse(text: str) -> int | str:
        value = text.strip().lower()
        if value in words:
            return value
        # Not int(), which takes 1_000 and digits of other scripts.
        if re.fullmatch(r"[-+]?\d+", value, re.ASCII) and len(value) < 20:
            return int(value)
        raise typer.BadParameter(f"{text!r} is not {' or '.join(words)} or a whole number.")

    return {"parser": parse, "autocompletion": lambda: list(words)}


def devices(text: str) -> str:
    """Parse devices into the form that the workers' launcher takes.

    Raises:
        typer.BadParameter: ``text`` is not ``auto``, ``cpu``, ``cuda`` or a list of GPU numbers.
    """
    value = text.replace(" ", "").lower()
    if not re.fullmatch(r"auto|cpu|cuda|(cuda:)?\d+(,\d+)*", value, re.ASCII):
        raise typer.BadParameter(f"{text!r} is not auto, cpu or GPU numbers such as 0,1.")
    return value
