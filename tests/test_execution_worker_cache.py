"""The cache of borders and anchors of a process."""

import numpy as np
import pytest

from ip2p_batch.execution.worker_cache import FrameCache
from ip2p_batch.frame import Frame


def frame(number):
    return Frame(number, 0, np.full((10, 10, 3), number, np.uint8))


class Reader:
    """Records the requested frames."""

    def __init__(self):
        self.requests = []

    def __call__(self, numbers):
        self.requests.append(list(numbers))
        return [frame(number) for number in numbers]


def numbers(frames):
    return [f.index for f in frames]


def test_a_frame_is_read_once_while_every_chunk_requests_it():
    cache, read = FrameCache(), Reader()
    assert numbers(cache.get("clip", [0, 24, 48], read)) == [0, 24, 48]
    assert numbers(cache.get("clip", [0, 48, 72], read)) == [0, 48, 72]
    assert numbers(cache.get("clip", [0, 72, 96], read)) == [0, 72, 96]
    assert read.requests == [[0, 24, 48], [72], [96]]


def test_frames_of_another_clip_are_read_again():
    cache, read = FrameCache(), Reader()
    cache.get("clip", [0], read)
    cache.get("other", [0], read)
    assert read.requests == [[0], [0]]


def test_frames_that_are_no_longer_requested_are_dropped():
    cache, read = FrameCache(), Reader()
    for number in range(100):
        cache.get("clip", [7, number], read)
    assert len(cache._frames) == len(cache._last_request) == 3
    read.requests.clear()
    cache.get("clip", [7, 98, 99], read)
    assert read.requests == []
    cache.get("clip", [50], read)
    assert read.requests == [[50]]


def test_a_failed_read_caches_nothing():
    cache, read = FrameCache(), Reader()

    def fails(numbers):
        raise OSError("gone")

    cache.get("clip", [1], read)
    with pytest.raises(OSError, match="gone"):
        cache.get("clip", [1, 2], fails)
    assert numbers(cache.get("clip", [1, 2], read)) == [1, 2]
    assert read.requests == [[1], [2]]
