"""What a process keeps from chunk to chunk."""

import numpy as np
import pytest

from ip2p_batch.execution.worker_cache import FrameCache
from ip2p_batch.frame import Frame


def frame(number):
    return Frame(number, 0, np.full((10, 10, 3), number, np.uint8))


class Reader:
    """Notes what it is asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, numbers):
        self.asked.append(list(numbers))
        return [frame(number) for number in numbers]


def numbers(frames):
    return [f.index for f in frames]


def test_a_frame_is_read_once_while_chunk_after_chunk_asks_for_it():
    kept, read = FrameCache(), Reader()
    assert numbers(kept.get("clip", [0, 24, 48], read)) == [0, 24, 48]
    assert numbers(kept.get("clip", [0, 48, 72], read)) == [0, 48, 72]
    assert numbers(kept.get("clip", [0, 72, 96], read)) == [0, 72, 96]
    assert read.asked == [[0, 24, 48], [72], [96]]


def test_frames_of_another_clip_are_others():
    kept, read = FrameCache(), Reader()
    kept.get("clip", [0], read)
    kept.get("other", [0], read)
    assert read.asked == [[0], [0]]


def test_what_is_no_longer_asked_for_is_let_go():
    kept, read = FrameCache(), Reader()
    for number in range(100):
        kept.get("clip", [7, number], read)
    assert len(kept._kept) == len(kept._asked) == 3
    read.asked.clear()
    kept.get("clip", [7, 98, 99], read)
    assert read.asked == []
    kept.get("clip", [50], read)
    assert read.asked == [[50]]


def test_a_read_that_fails_leaves_nothing_behind():
    kept, read = FrameCache(), Reader()

    def fails(numbers):
        raise OSError("gone")

    kept.get("clip", [1], read)
    with pytest.raises(OSError, match="gone"):
        kept.get("clip", [1, 2], fails)
    assert numbers(kept.get("clip", [1, 2], read)) == [1, 2]
    assert read.asked == [[1], [2]]
