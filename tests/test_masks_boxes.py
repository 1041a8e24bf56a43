"""Boxes with times become masks of frames."""

import numpy as np
import pytest

from ip2p_batch.errors import RecipeError
from ip2p_batch.masks.boxes import Box, drawn_runs, read_boxes

HEADER = "start,end,x,y,width,height\n"


def write(tmp_path, text):
    path = tmp_path / "boxes.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_of_boxes_is_read(tmp_path):
    path = write(tmp_path, "\ufeff" + HEADER + "0, 1.5, 1,2,3,4\n2,,0,0,10,10\n")
    inf = float("inf")
    assert read_boxes(path) == [Box(0, 1.5, 1, 2, 3, 4), Box(2, inf, 0, 0, 10, 10)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER, "has no boxes"),
        ("start,end,x,y,width\n0,1,2,3,4\n", "has no column height"),
        (HEADER + "0,1,2,3,4,5\n0,1,2,3,4\n", "line 3 is not a box"),
        (HEADER + "1,1,2,3,4,5\n", "line 2: start < end"),
        (HEADER + "0,nan,2,3,4,5\n", "line 2: start < end"),
        (HEADER + "0,1,2,3,0,5\n", "line 2: start < end"),
        (HEADER + "0,1,2.5,3,1,5\n", "line 2 is not a box"),
    ],
)
def test_a_line_that_is_no_box_is_named(tmp_path, text, message):
    with pytest.raises(RecipeError, match=message) as caught:
        read_boxes(write(tmp_path, text))
    assert "start,end,x,y,width,height" in caught.value.hint


def test_frames_with_the_same_boxes_share_a_mask():
    seconds = [n / 25 for n in range(20)]
    boxes = [Box(0.2, 0.4, 1, 1, 2, 3), Box(0.32, 0.6, -2, 6, 4, 9)]
    runs = list(drawn_runs(boxes, seconds, range(2, 18), (8, 10)))
    assert [frames for frames, _ in runs] == [range(5, 8), range(8, 10), range(10, 15)]
    first, both, second = (mask for _, mask in runs)
    expected = np.zeros((10, 8), np.uint8)
    expected[1:4, 1:3] = 255
    assert np.array_equal(first, expected)
    assert second[6:, :2].all() and second.sum() == 8 * 255
    assert np.array_equal(both, first | second)
