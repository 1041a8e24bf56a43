"""Stages see the neighbours of each frame, but not beyond the ends of a run."""

import numpy as np
import pytest

from ip2p_batch.frame import Frame
from ip2p_batch.temporal.pipeline import TemporalPipeline


class Sum:
    """Adds up the edited images that it sees."""

    def __init__(self, radius):
        self.radius = radius

    def apply(self, middle, around):
        numbers = [pair.edited.index for pair in around]
        assert numbers == sorted(numbers) and middle.edited.index not in numbers
        assert all(abs(n - middle.edited.index) <= self.radius for n in numbers)
        return sum(pair.edited.image for pair in (middle, *around))


def run(stages, numbers):
    pipeline = TemporalPipeline(stages)
    given = [f for n in numbers for f in pipeline.push(*[Frame(n, n, np.full(1, 1))] * 2)]
    return [pair.edited for pair in (*given, *pipeline.flush())]


@pytest.mark.parametrize("stages", [[], [Sum(1)], [Sum(3)], [Sum(2), Sum(1)]])
@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_every_frame_comes_back_once_and_in_order(stages, count):
    assert [f.index for f in run(stages, range(count))] == list(range(count))


def test_each_stage_sees_what_the_one_before_it_gave():
    frames = run([Sum(1), Sum(1)], range(5))
    assert [int(f.image[0]) for f in frames] == [5, 8, 9, 8, 5]


def test_frames_that_are_as_far_from_the_ends_as_the_pipeline_looks_do_not_depend_on_them():
    whole = {f.index: int(f.image[0]) for f in run([Sum(2), Sum(1)], range(20))}
    part = {f.index: int(f.image[0]) for f in run([Sum(2), Sum(1)], range(5, 16))}
    assert all(part[n] == whole[n] for n in range(8, 13))
