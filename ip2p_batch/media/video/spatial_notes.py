"""Say at planning whether the output has the spherical projection or stereo layout of a source."""

from __future__ import annotations

import io
from typing import cast

import av

from ...jobs.video_facts import SpatialFacts, VideoFacts
from .codecs import codec_name, codec_of
from .display_size import add_display_size
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


def shape_notes(target: Target, facts: VideoFacts) -> list[str]:
    """Notes on pixels that are not square, where neither codec nor container can state it."""
    sar = facts.upright_sar
    if sar == (1, 1) or codec_of(target.encoding).states_shape:
        return []
    if target.container.name in ("mp4", "mov", "mxf"):
        return []
    if target.container.name in ("matroska", "webm"):
        memory = io.BytesIO()
        with trial(target, memory) as attempt:
            for packet in attempt.packets:
                attempt.file.mux(packet)
        if add_display_size(bytearray(memory.getvalue()), facts.upright):
            return []
    return [
        f"The source's pixels are not square ({sar[0]}:{sar[1]}); {target.suffix} files cannot "
        f"state it with {codec_name(target.encoding)}, so players show the result distorted."
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
