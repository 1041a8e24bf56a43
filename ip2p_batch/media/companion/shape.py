"""Compare the shape of a companion with that of its source."""

from __future__ import annotations

from ...jobs.video_facts import VideoFacts

Size = tuple[int, int]


def shown_size(facts: VideoFacts) -> Size:
    """``(width, height)`` of upright frames in units of a square pixel, up to a common factor."""
    (width, height), (across, down) = facts.upright, facts.upright_sar
    return (width, height) if min(across, down) < 1 else (width * across, height * down)


def same_shape(size: Size, other: Size) -> bool:
    """Whether one size, scaled to a side of the other, differs from it by at most a pixel.

    Rounding at the smaller size is a pixel there, and several at the larger one.

    >>> same_shape((512, 288), (1920, 1080)), same_shape((512, 287), (1920, 1080))
    (True, True)
    >>> same_shape((512, 384), (1920, 1080))
    False
    """
    (width, height), (other_width, other_height) = size, other
    # At equal widths w, the heights differ by excess / w; at equal heights h, the widths by
    # excess / h.
    excess = abs(width * other_height - height * other_width)
    return excess <= max(width, height, other_width, other_height)


def shape_error(size: Size, source: Size) -> str:
    """What is wrong with the size of a companion, in words."""
    return "it has {}x{} pixels, another shape than the source's {}x{}".format(*size, *source)
