"""What ``--mask`` names, as a value: a file, or a way to make masks from the source.

Grammar::

    FILE                     an image, folder, image sequence or video; white may change
    alpha                    the source's opacity
    luma[:LOW-HIGH]          brightness from LOW to HIGH, 0 to 1
    chroma:COLOR             a screen: green, blue or #RRGGBB
    boxes:FILE               a CSV file of boxes with times
    track:FILE[@SECONDS]     one drawn image, followed along the motion of its shot
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from ..errors import RecipeError

Kind = Literal["file", "alpha", "luma", "chroma", "boxes", "track"]

#: Screens by name. Their own colour is measured in each frame.
SCREENS = {"green": (0, 255, 0), "blue": (0, 0, 255)}
#: Brightness that ``luma`` alone selects.
_BRIGHT = (0.5, 1.0)
_NAMED_FILES: dict[str, Kind] = {"boxes": "boxes", "track": "track"}


@dataclass(frozen=True, slots=True)
class MaskSpec:
    """A parsed mask.

    Attributes:
        path: of a file; empty without one.
        luma: lowest and highest brightness that is selected, 0 to 1.
        color: of a screen, 0 to 255.
        measured: whether the screen's own colour is measured, near ``color``.
        seconds: when a followed mask was drawn, from the first frame; None: at the first frame that
            is edited.
    """

    kind: Kind
    path: str = ""
    luma: tuple[float, float] = _BRIGHT
    color: tuple[int, int, int] = (0, 0, 0)
    measured: bool = False
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> MaskSpec:
        """Parse the value of ``--mask``.

        Raises:
            RecipeError: it does not follow this module's grammar.

        >>> MaskSpec.parse("luma:0.6-1").luma, MaskSpec.parse("track:hat.png@2.5").seconds
        ((0.6, 1.0), 2.5)
        >>> MaskSpec.parse("./alpha").kind
        'file'
        """
        head, colon, rest = text.partition(":")
        if text == "alpha":
            return cls("alpha")
        if text == "luma" or (head == "luma" and colon):
            return cls("luma", luma=_range(text, rest) if colon else _BRIGHT)
        if head == "chroma":
            return cls("chroma", color=_color(text, rest), measured=rest in SCREENS)
        if head in _NAMED_FILES and colon:
            return _of_file(text, _NAMED_FILES[head], rest)
        if text == "auto" or head == "auto":
            raise _refused(text, "masks are not found automatically")
        if not text.strip():
            raise _refused(text, "it is empty")
        return cls("file", text)

    @property
    def text(self) -> str:
        """The value that :meth:`parse` reads, for a spec with a path."""
        at = "" if self.seconds is None else "@" + f"{self.seconds:.9f}".rstrip("0").rstrip(".")
        return self.path if self.kind == "file" else f"{self.kind}:{self.path}{at}"

    def at(self, path: str) -> MaskSpec:
        """The same with another path."""
        return replace(self, path=path)


def _of_file(text: str, kind: Kind, rest: str) -> MaskSpec:
    path, at, number = rest.rpartition("@")
    if kind != "track" or not at or not re.fullmatch(r"\d+(\.\d*)?", number):
        path, number = rest, ""
    if not path.strip():
        raise _refused(text, "it names no file")
    return MaskSpec(kind, path, seconds=float(number) if number else None)


def _range(text: str, rest: str) -> tuple[float, float]:
    match = re.fullmatch(r"([01]?\.?\d*)-([01]?\.?\d*)", rest)
    try:
        low, high = map(float, match.groups()) if match else (1.0, 0.0)
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low < high <= 1:
        raise _refused(text, "brightness is two numbers from 0 to 1, such as luma:0.6-1")
    return low, high


def _color(text: str, rest: str) -> tuple[int, int, int]:
    if rest in SCREENS:
        return SCREENS[rest]
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", rest):
        raise _refused(text, "a screen is green, blue or #RRGGBB")
    red, green, blue = bytes.fromhex(rest[1:])
    if red == green == blue:
        raise _refused(text, "grey has no hue; luma:LOW-HIGH selects brightness")
    return red, green, blue


def _refused(text: str, reason: str) -> RecipeError:
    return RecipeError(
        f"--mask {text}: {reason}.",
        hint="Give a file, alpha, luma:LOW-HIGH, chroma:COLOR, boxes:FILE or track:FILE@SECONDS.",
    )
