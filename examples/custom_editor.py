"""Edit a video with an editor of your own; everything else stays: shots, chunks, filter, audio.

    python examples/custom_editor.py clip.mp4 out.mp4

This one posterizes: fewer levels for each colour channel, as many as the instruction says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import ip2p_batch
from ip2p_batch import ChunkContext, Frame, Overrides, Recipe


class PosterizeSession(ip2p_batch.EditSession):
    """Edits the frames of one chunk."""

    def __init__(self, levels: int) -> None:
        values = np.arange(256)
        self._table = (values * levels // 256 * 255 // max(1, levels - 1)).astype(np.uint8)

    def edit(
        self,
        frames: Sequence[Frame],
        *,
        overrides: Sequence[Overrides] | None = None,
    ) -> list[Frame]:
        return [frame.with_image(self._table[frame.image]) for frame in frames]


class PosterizeEditor(ip2p_batch.Editor):
    """Creates a session for each chunk. Weights, if it had some, would be loaded here, once."""

    def session(
        self,
        recipe: Recipe,
        context: ChunkContext | None = None,
        **options: Any,
    ) -> PosterizeSession:
        return PosterizeSession(levels=int(recipe.instruction))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("--levels", default="4")
    arguments = parser.parse_args()
    result = ip2p_batch.edit(
        arguments.source,
        arguments.levels,
        output=arguments.output,
        # Nothing is carried over between frames; the temporal filter still removes flicker.
        recipe=Recipe(instruction="", carryover=0.0, temporal_filter=1, size=512),
        editor=PosterizeEditor(),
        overwrite=True,
    )
    print(f"{result.frames} frames in {result.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
