"""Animated images are read through the same reader as videos."""

import numpy as np
import pytest

from ip2p_batch.media.video import probe
from ip2p_batch.media.video.reader import VideoReader

from . import animations
from .test_media_animation_compose import by_the_rules, difference


@pytest.fixture(params=["gif", "apng", "webp"])
def source(request, tmp_path):
    path = tmp_path / f"in.{request.param}"
    path.write_bytes(animations.animated(request.param))
    return path, animations.pieces(request.param)


def test_facts_and_times_are_those_of_the_file(source):
    path, pieces = source
    index = probe.index_video(path)
    facts, base = index.facts, index.facts.time_base
    delays = [piece.delay for piece in pieces]
    assert (facts.width, facts.height, facts.frames) == (*animations.SIZE, len(pieces))
    assert facts.has_alpha and facts.plays == 0 and facts.notes == () and facts.missing == 0
    assert facts.container == facts.codec == path.suffix[1:]
    times = [tick * base[0] / base[1] * 1000 for tick in index.pts.tolist()]
    assert times == pytest.approx(np.cumsum([0, *delays[:-1]]))
    assert facts.duration == pytest.approx(sum(delays) / 1000)
    assert facts.last_ticks * base[0] / base[1] == pytest.approx(delays[-1] / 1000)
    listed = probe.index_video(path, scenes=False)
    assert np.array_equal(listed.pts, index.pts) and listed.facts.duration == facts.duration


def test_every_frame_is_read_from_anywhere(source):
    path, pieces = source
    index = probe.index_video(path)
    wanted = list(by_the_rules(pieces, animations.SIZE))
    with VideoReader(path, index.facts, index.pts) as reader:
        for start, stop in ((0, len(wanted)), (5, 9), (2, 3), (len(wanted) - 1, len(wanted))):
            for frame, expected in zip(reader.frames(start, stop), wanted[start:stop], strict=True):
                rgba = np.dstack([frame.image, frame.alpha])
                assert difference(rgba, expected) <= 3
        assert not reader.warnings


def test_a_damaged_frame_is_replaced_and_the_others_are_read(tmp_path):
    data = bytearray(animations.animated("apng"))
    places = [at for at in range(len(data)) if data[at : at + 4] == b"fdAT"]
    at = places[2] + 8
    data[at : at + 12] = bytes(12)
    path = tmp_path / "in.png"
    path.write_bytes(data)
    facts = probe.index_video(path).facts
    assert facts.frames == len(animations.pieces("apng")) - 1
    assert any("damaged" in note for note in facts.notes)


def test_frames_that_are_too_fast_and_a_truncated_file_are_named(tmp_path):
    pieces = animations.pieces("webp")[:6]
    for piece in pieces:
        piece.delay = 5
    path = tmp_path / "in.webp"
    data = animations.webp_file(animations.SIZE, pieces)
    path.write_bytes(data[: len(data) - 40])
    index = probe.index_video(path)
    assert np.diff(index.pts).tolist() == [100] * (len(index.pts) - 1)
    assert any("last 100 ms, as browsers" in note for note in index.facts.notes)
    assert any("truncated" in note for note in index.facts.notes)
