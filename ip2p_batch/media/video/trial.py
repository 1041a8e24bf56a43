"""Try in memory what an output's container can hold, before any frame is edited."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av

from ...errors import SourceError
from ...jobs.coding import Encoding
from ...jobs.video_facts import SpatialFacts, VideoFacts
from .containers import CONTAINERS, Container
from .pyav import MEDIA_ERRORS, fraction, open_input
from .spatial import spatial_template
from .stream_copy import add_stream, set_rate
from .types import OutputContainer, Packet, Stream

#: What PyAV raises if a container refuses a stream or a tag.
REFUSALS = (SourceError, *MEDIA_ERRORS, NotImplementedError, TypeError)


@dataclass(frozen=True, slots=True)
class Target:
    """The file that a source's streams and tags are to be written to.

    Attributes:
        output: its final name, for messages.
        suffix: decides the container; in lower case.
        encoding: requested by the user.
        sample: a segment with video as the output will have it.
        rate: frames per second.
        spatial: spherical projection or stereo layout.
        options: of the muxer.
    """

    output: Path
    suffix: str
    encoding: Encoding
    sample: Path
    rate: Fraction
    spatial: SpatialFacts | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def container(self) -> Container:
        return CONTAINERS[self.suffix]


def target_for(
    output: Path, suffix: str, facts: VideoFacts, encoding: Encoding, sample: Path
) -> Target:
    """The target of a video with these facts; see :class:`Target`."""
    target = Target(
        output, suffix.lower(), encoding, sample, fraction(facts.frame_rate), facts.spatial
    )
    # FFmpeg has Google's boxes for 360 degree video in its "unofficial" extensions of MP4.
    is_extended = facts.spatial is not None and target.container.name in ("mp4", "mov")
    return replace(target, options={"strict": "unofficial"}) if is_extended else target


@dataclass(frozen=True, slots=True)
class Trial:
    """A file in memory.

    Attributes:
        file: with the video stream, and no header yet.
        video: its video stream.
        packets: of the video.
    """

    file: OutputContainer
    video: Stream
    packets: Iterator[Packet]


@contextmanager
def trial(target: Target, memory: io.BytesIO | None = None) -> Iterator[Trial]:
    """Open a file in memory with the edited video.

    Args:
        memory: where to write; None: the content is not needed.
    """
    with (
        open_input(target.sample) as segment,
        av.open(
            memory or io.BytesIO(), "w", format=target.container.name, options=dict(target.options)
        ) as file,
    ):
        output = cast(OutputContainer, file)
        template = segment.streams.video[0]
        with spatial_template(target.sample, target.spatial) as spatial:
            video = add_stream(output, spatial or template)
        set_rate(video, target.rate, target.container.counts_frames)

        def packets() -> Iterator[Packet]:
            for packet in segment.demux(template):
                if packet.size:
                    packet.stream = video
                    yield packet

        yield Trial(output, video, packets())
