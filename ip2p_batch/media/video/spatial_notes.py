"""Say at planning whether the output has the spherical projection or stereo layout of a source."""

from __future__ import annotations

import io
from typing import cast

import av

from ...jobs.video_facts import SpatialFacts
from .codecs import codec_name
from .spatial import describe_spatial, hide_apple_box, spatial_facts
from .trial import REFUSALS, Target, trial
from .types import InputContainer


def spatial_notes(target: Target) -> list[str]:
    """Notes on a projection or layout that the output cannot have."""
    facts = target.spatial
    if facts is None or _read_back(target) == facts:
        return []
    return [
        f"The source's {describe_spatial(facts)} metadata is left out: {target.suffix} files "
        f"cannot hold it with {codec_name(target.encoding)}."
    ]


def _read_back(target: Target) -> SpatialFacts | None:
    """The properties of a file of the target's kind after they were written."""
    memory = io.BytesIO()
    try:
        with trial(target, memory) as attempt:
            for packet in attempt.packets:
                attempt.file.mux(packet)
        if target.container.name == "mp4":
            hide_apple_box(memory)
        memory.seek(0)
        with av.open(memory) as file:
            return spatial_facts(next(cast(InputContainer, file).decode(video=0)))
    except (*REFUSALS, StopIteration):
        return None
