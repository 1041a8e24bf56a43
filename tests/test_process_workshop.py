"""What a process keeps from chunk to chunk."""

import numpy as np

from ip2p_batch.frame import Frame
from ip2p_batch.process.workshop import KeptFrames


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


def test_a_frame_is_read_once():
    kept, read = KeptFrames(), Reader()
    assert numbers(kept.get("clip", [0, 24, 48], read)) == [0, 24, 48]
    assert numbers(kept.get("clip", [24, 48, 72], read)) == [24, 48, 72]
    assert numbers(kept.get("clip", [0, 72], read)) == [0, 72]
    assert read.asked == [[0, 24, 48], [72]]


def test_frames_of_another_clip_are_others():
    kept, read = KeptFrames(), Reader()
    kept.get("clip", [0], read)
    kept.get("other", [0], read)
    assert read.asked == [[0], [0]]


def test_what_was_not_asked_for_the_longest_goes_first():
    kept, read = KeptFrames(most=3 * frame(0).image.nbytes), Reader()
    for number in (1, 2, 3):
        kept.get("clip", [number], read)
    kept.get("clip", [1], read)
    kept.get("clip", [4], read)  # in the place of 2
    read.asked.clear()
    kept.get("clip", [1, 3, 4], read)
    assert read.asked == []
    kept.get("clip", [2], read)
    assert read.asked == [[2]]


def test_more_than_can_be_kept_is_given_all_the_same():
    kept, read = KeptFrames(most=1), Reader()
    assert numbers(kept.get("clip", [1, 2, 3], read)) == [1, 2, 3]
    assert numbers(kept.get("clip", [1], read)) == [1]
    assert read.asked == [[1, 2, 3], [1]]
