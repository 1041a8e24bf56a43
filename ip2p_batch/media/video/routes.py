"""Add the streams of a source to the output, and say where their packets go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from ...jobs.coding import MetadataChoice
from . import stream_copy
from .packets import ContinuousClock, Route, TimeRange
from .sample_times import sample_clock
from .sound import SoundConverter, add_sound
from .stream_plan import StreamPlan, cover_image
from .subtitles import SubtitleConverter, add_subtitles
from .types import InputContainer, OutputContainer, Stream


@dataclass(frozen=True, slots=True)
class RouteTimes:
    """How the times of the source become those of the output.

    Attributes:
        offset: seconds to subtract from every time of the source.
        kept: the edited part of the source; None: all.
        counts_samples: whether the container stores times of sound in samples, and hides samples
            before its start. Otherwise it can begin with whole packets only.
        is_joined: whether the clock of the source begins again, see :class:`ContinuousClock`.
    """

    offset: Fraction
    kept: TimeRange | None
    counts_samples: bool
    is_joined: bool = False

    def codec_to_cut(self, stream: Stream) -> str:
        """Codec with which sound is encoded again to begin within a packet; empty to copy it.

        Only FLAC, which loses nothing by it, and whose packets are longest (0.1 s).
        """
        is_cut = self.kept is not None and self.kept.start >= self.offset > 0
        is_flac = stream.type == "audio" and stream.codec_context.name == "flac"
        return "flac" if is_cut and is_flac and not self.counts_samples else ""


def add_routes(
    source: InputContainer,
    plans: Sequence[StreamPlan],
    target: OutputContainer,
    times: RouteTimes,
    choice: MetadataChoice = "all",
) -> dict[int, Route]:
    """Add a stream for each one that is kept, with its tags and flags.

    Args:
        choice: of the tags; see :class:`~ip2p_batch.jobs.coding.Encoding`.

    Returns:
        routes by the source's stream index; without attachments, which have no packets.
    """
    routes = {}
    for plan in plans:
        original = plan.stream
        if plan.action == "omit":
            continue
        codec = times.codec_to_cut(original) if plan.action == "copy" else plan.codec
        if plan.action == "text":
            added = add_subtitles(target, original, codec)
            text = SubtitleConverter(original, added, times.offset, times.kept)
            routes[original.index] = Route(added, text)
        elif plan.action == "cover":
            added = stream_copy.add_cover(target, original, cover_image(source, original))
        elif codec:
            added = add_sound(target, original, codec)
            sound = SoundConverter(original, added, times.offset, times.kept)
            routes[original.index] = Route(added, sound)
        else:
            added = stream_copy.add_copy(target, original)
            is_counted = times.counts_samples and original.type == "audio"
            clock = sample_clock(original) if is_counted else None
            if original.type != "attachment":
                routes[original.index] = Route(added, clock=clock)
        stream_copy.copy_stream_tags(original, added, target.format.name, choice)
    if times.is_joined:
        return {n: replace(route, continuous=ContinuousClock()) for n, route in routes.items()}
    return routes
