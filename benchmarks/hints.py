"""Flicker of hints: without a filter, filtered along the motion, and made of a filtered source.

    python -m benchmarks.hints clip.mp4 [--frames 24] [--first 20] [--size 512]
    python -m benchmarks.hints clip.mp4 --size 256

Flicker is the mean difference of a hint and the next one, warped by the source's flow, where the
flow is consistent; divided by the mean deviation of a hint from its mean, since a hint without
contrast has no flicker.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from ip2p_batch.frame import Frame, Image
from ip2p_batch.hints.make import MAKERS
from ip2p_batch.media.frames import index_frames, open_frames
from ip2p_batch.media.resize import Resize
from ip2p_batch.temporal.filter import TemporalFilter
from ip2p_batch.temporal.flow import Motion, measured_flow, warp_image
from ip2p_batch.temporal.pipeline import TemporalPipeline

from ._common import new_parser

RADIUS = 2


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--first", type=int, default=20)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    frames = read(options.clip, options.first, options.frames, options.size)
    motions = [measured_flow(a.image, b.image) for a, b in pairwise(frames)]
    steady = filtered(frames, [frame.image for frame in frames])
    print("| kind | no filter | hint filtered | source filtered | contrast: no filter | hint |")
    for kind, make in MAKERS.items():
        plain = [make(frame.image) for frame in frames]
        hint = filtered(frames, plain)
        source = [make(image) for image in steady]
        flickers = [flicker(hints, motions) for hints in (plain, hint, source)]
        contrasts = [np.mean([h.std() for h in hints]) for hints in (plain, hint)]
        cells = [f"{value:.3f}" for value in flickers] + [f"{value:.0f}" for value in contrasts]
        print(f"| {kind} | {' | '.join(cells)} |")


def read(path: Path, first: int, count: int, size: int) -> list[Frame]:
    index = index_frames(path, scenes=False)
    resize = Resize.of_video(index.facts, size)
    with open_frames(path, index.facts, index.pts, index.ids) as reader:
        frames = reader.frames(first, first + count)
        return [frame.with_image(resize.apply(frame.image)) for frame in frames]


def filtered(frames: Sequence[Frame], images: Sequence[Image]) -> list[Image]:
    pipeline = TemporalPipeline([TemporalFilter(RADIUS)])
    pairs = []
    for frame, image in zip(frames, images, strict=True):
        pairs += pipeline.push(frame, frame.with_image(image))
    return [pair.edited.image for pair in (*pairs, *pipeline.flush())]


def flicker(hints: Sequence[Image], motions: Sequence[Motion]) -> float:
    differences = []
    for (hint, following), motion in zip(pairwise(hints), motions, strict=True):
        size = (hint.shape[1], hint.shape[0])
        visible = cv2.resize(1 - motion.occluded.astype(np.uint8), size) > 0
        warped = warp_image(following, motion.flow)
        differences.append(np.abs(warped - hint)[visible].mean())
    contrast = np.mean([np.abs(hint - hint.mean()).mean() for hint in hints])
    return float(np.mean(differences) / contrast)


if __name__ == "__main__":
    main()
