"""Masks in one file of the job folder."""

import numpy as np
import pytest

from ip2p_batch.errors import JobError
from ip2p_batch.masks.planned import PlannedMasks, digest, load, pack


def test_every_frame_finds_its_mask(tmp_path):
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 256, (3, 7, 9)).astype(np.uint8)
    runs = [(range(10, 11), masks[0]), (range(3, 6), masks[1]), (range(100, 101), masks[2])]
    packed = pack(runs)
    assert packed == pack(runs), "equal masks are equal bytes"
    path = tmp_path / "masks.zip"
    path.write_bytes(packed)
    reader = load(path, digest(packed), (9, 7))
    for number in range(102):
        expected = next((mask for frames, mask in runs if number in frames), np.zeros((7, 9)))
        assert np.array_equal(reader.at(number), expected)


def test_a_damaged_or_missing_file_is_named(tmp_path):
    path = tmp_path / "masks.zip"
    with pytest.raises(JobError, match=r"masks\.zip cannot be read"):
        load(path, "x", (1, 1))
    path.write_bytes(pack([]) + b"x")
    with pytest.raises(JobError, match=r"masks\.zip is damaged"):
        load(path, digest(pack([])), (1, 1))
    assert not PlannedMasks(pack([]), (2, 2)).at(0).any()
