"""The caches of a process: borders and anchors, and open videos."""

import gc
from typing import Any

import numpy as np
import pytest

from ip2p_batch.execution.worker_cache import FrameCache, ReaderCache, ScaleCache
from ip2p_batch.frame import Frame
from ip2p_batch.hints.depth import Scale


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


def test_scales_of_depth_are_kept_until_another_clip_is_edited():
    cache = ScaleCache()
    cache.of("clip")[0, 24] = Scale(1, 2)
    assert cache.of("clip") == {(0, 24): Scale(1, 2)}
    assert cache.of("other") == {}
    assert cache.of("clip") == {}


class OpenVideo:
    """A reader that records whether it is open."""

    def __init__(self) -> None:
        self.warnings, self.captions = [], {}
        self.is_open = False

    def __enter__(self):
        self.is_open = True
        return self

    def __exit__(self, kind, error, trace):
        self.is_open = False


def borrow(cache, key) -> Any:
    return cache.borrow(key, OpenVideo)


def test_a_video_stays_open_for_the_next_chunk_which_gets_no_old_warnings():
    cache = ReaderCache()
    with borrow(cache, "clip") as first:
        first.warnings.append("Frame 3 does not decode")
        first.captions[3] = object()
    with borrow(cache, "clip") as second:
        assert second is first
        assert second.is_open
        assert (second.warnings, second.captions) == ([], {})
    cache.close()
    assert not first.is_open


def test_a_reader_in_use_is_not_given_to_another():
    cache = ReaderCache()
    with borrow(cache, "clip") as first, borrow(cache, "clip") as second:
        assert first is not second
    assert [first.is_open, second.is_open] == [True, False]
    cache.close()
    assert not first.is_open


def test_a_video_is_closed_after_an_error():
    cache = ReaderCache()
    with pytest.raises(OSError), borrow(cache, "clip") as reader:
        raise OSError
    assert not reader.is_open
    assert len(cache) == 0


def test_only_the_last_videos_stay_open():
    cache, readers = ReaderCache(), []
    for name in range(5):
        with borrow(cache, name) as reader:
            readers.append(reader)
    assert [reader.is_open for reader in readers] == [False, False, True, True, True]
    cache.close()


def test_a_video_that_no_chunk_reads_is_closed():
    cache = ReaderCache(keep_seconds=0)
    with borrow(cache, "clip") as reader:
        pass
    join_timers(cache)
    assert not reader.is_open


def test_a_video_is_closed_while_another_one_is_read():
    cache = ReaderCache(keep_seconds=0)
    with borrow(cache, "borders") as unused:
        pass
    with borrow(cache, "frames") as used:
        join_timers(cache)
        assert (unused.is_open, used.is_open) == (False, True)
    cache.close()


def join_timers(cache):
    for kept in [*cache._kept.values()]:
        kept.timer.join()


def test_videos_are_closed_with_their_cache():
    cache = ReaderCache()
    with borrow(cache, "clip") as reader:
        pass
    del cache
    gc.collect()
    assert not reader.is_open
