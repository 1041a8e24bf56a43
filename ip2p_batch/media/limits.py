"""How much one input may hold, in one place: a small file can promise more than a machine has.

Each limit is far above what people edit, and an environment variable raises it. Where workers run
on other machines, what planning let through is not refused there.
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
        default: the most that is let through.
        unit: what is counted, in the plural.
        hint: what to do with an input that holds more.
    """

    variable: str
    default: int
    unit: str
    hint: str

    def value(self) -> int:
        """The limit that holds now.

        Raises:
            RecipeError: the environment variable is not a whole number from 1 up.
        """
        hint = f"Unset it, or give the most {self.unit} to let through."
        return number(self.variable, Count, self.default, hint=hint)

    def check(self, found: float, path: Path, what: str, limit: int | None = None) -> None:
        """Refuse an input that holds more.

        Args:
            found: how much it holds.
            path: of the input.
            what: begins the reason, ``3000 x 3000 is``.
            limit: instead of :meth:`value`.

        Raises:
            SourceError: its message is ``PATH: REASON``.
            RecipeError: as :meth:`value`.
        """
        most = self.value() if limit is None else limit
        if found > most:
            raise SourceError(
                f"{path}: {what} {_count(found)} {self.unit}, more than the limit of"
                f" {_count(most)} ({self.variable})",
                path=path,
                hint=f"{self.hint}, or set {self.variable} higher.",
            )


def _count(number: float) -> str:
    """For a reader.

    >>> _count(900_000_000), _count(1_500_000), _count(150)
    ('900 million', '1.5 million', '150')
    """
    return f"{number:,.0f}".replace(",", " ") if number < 1e6 else f"{_short(number / 1e6)} million"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 10 or number == round(number) else f"{number:.1f}"


#: Of a picture. Phones make 200 megapixels by now; decoded as RGB they take 600 MB.
PIXELS = Limit("IP2P_MAX_PIXELS", 200_000_000, "pixels", "Scale the picture down first")
#: Of one frame of a video: 12288 x 6480 is the largest that cameras make. A decoder holds dozens.
FRAME_PIXELS = Limit("IP2P_MAX_FRAME_PIXELS", 80_000_000, "pixels", "Scale the video down first")
#: Of a video: 46 hours at 60 frames a second. Planning holds 16 bytes for each.
FRAMES = Limit("IP2P_MAX_FRAMES", 10_000_000, "frames", "Cut it into parts first")
#: From a video's first frame to its last. More is a clock that jumped rather than a film.
HOURS = Limit(
    "IP2P_MAX_HOURS", 48, "hours", "If its clock jumps, mend it: ffmpeg -i FILE -c copy NEW.mkv"
)
#: Of a file, of every kind. Each is tried in the output's container before anything is edited.
STREAMS = Limit(
    "IP2P_MAX_STREAMS", 128, "streams", "Keep the ones you need: ffmpeg -i FILE -c copy NEW.mkv"
)
#: Every limit there is, for the documentation.
ALL = (PIXELS, FRAME_PIXELS, FRAMES, HOURS, STREAMS)
