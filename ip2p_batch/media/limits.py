"""Limits on the size of one input: a small file can announce more data than a machine can hold.

Each limit is far above usual inputs, and an environment variable replaces it. Workers on other
machines accept every input that planning accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError
from ..settings import Count, number


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit.

    Attributes:
        variable: the environment variable that replaces ``default``.
        default: the largest value allowed.
        unit: what is counted, in the plural.
        hint: what to do with a larger input.
    """

    variable: str
    default: int
    unit: str
    hint: str

    def value(self) -> int:
        """The limit from the environment, or the default.

        Raises:
            RecipeError: the environment variable is not a whole number from 1 up.
        """
        hint = f"Unset it, or set it to the largest number of {self.unit} to allow."
        return number(self.variable, Count, self.default, hint=hint)

    def check(self, value: float, path: Path, what: str, limit: int | None = None) -> None:
        """Refuse an input beyond the limit.

        Args:
            value: what the input holds, in ``unit``.
            path: of the input.
            what: start of the reason, ``3000x3000 is``.
            limit: replaces :meth:`value`.

        Raises:
            SourceError: its message is ``PATH: REASON``.
            RecipeError: as :meth:`value`.
        """
        maximum = self.value() if limit is None else limit
        if value > maximum:
            raise SourceError(
                f"{path}: {what} {_count(value)} {self.unit}, more than the limit of"
                f" {_count(maximum)} ({self.variable})",
                path=path,
                hint=f"{self.hint}, or set {self.variable} higher.",
            )


def _count(number: float) -> str:
    """Format a number for messages.

    >>> _count(900_000_000), _count(1_500_000), _count(150)
    ('900 million', '1.5 million', '150')
    """
    return f"{number:,.0f}".replace(",", " ") if number < 1e6 else f"{_short(number / 1e6)} million"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 10 or number == round(number) else f"{number:.1f}"


#: Pixels of an image. Phones take photos of 200 megapixels: 600 MB decoded as RGB.
PIXELS = Limit("IP2P_MAX_PIXELS", 200_000_000, "pixels", "Scale the image down first")
#: Pixels of a video frame. The largest cameras record 12288 x 6480. A decoder holds dozens.
FRAME_PIXELS = Limit("IP2P_MAX_FRAME_PIXELS", 80_000_000, "pixels", "Scale the video down first")
#: Frames of a video: 46 hours at 60 frames per second. Planning holds 80 bytes for each.
FRAMES = Limit("IP2P_MAX_FRAMES", 10_000_000, "frames", "Cut it into parts first")
#: Hours from a video's first frame to its last. More means broken timestamps.
HOURS = Limit(
    "IP2P_MAX_HOURS",
    48,
    "hours",
    "If its clock jumps, give frames new times: ffmpeg -i FILE -vf setpts=N/FR/TB -an NEW.mkv",
)
#: Streams of a file, of every kind. Each is tried in the output's container before editing.
STREAMS = Limit(
    "IP2P_MAX_STREAMS",
    128,
    "streams",
    "Keep the first two: ffmpeg -i FILE -map 0:v:0 -map '0:a:0?' -c copy NEW.mkv",
)
#: Every limit, for the documentation.
ALL = (PIXELS, FRAME_PIXELS, FRAMES, HOURS, STREAMS)
