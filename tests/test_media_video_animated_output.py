"""Videos become animated images from lossless segments."""

from fractions import Fraction

import numpy as np
import pytest

from ip2p_batch.errors import Ip2pError, OutputError
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.video import animated_output, output, probe
from ip2p_batch.media.video.reader import VideoReader

from . import animations, clips
from .test_media_video_concat import segments_of


def written(source, target, *, edges=(0, 3, 8), encoding=None):
    """Write unedited frames as an animated image; returns the notes of its plan."""
    index = probe.index_video(source)
    own = output.resolved_encoding(target, index.facts, encoding or Encoding())
    notes = output.check_output(source, target, index.facts, own)
    span = {"start": edges[0], "stop": edges[-1]}
    notes += animated_output.timing_notes(target, index.facts, index.pts, *span.values())
    segments = segments_of(source, index, own, target.parent, edges)
    part = target.with_name("part")
    animated_output.write(segments, part, target, index.facts, own, index.pts, **span)
    part.rename(target)
    return notes


def frames_of(path):
    index = probe.index_video(path, scenes=False)
    with VideoReader(path, index.facts, index.pts, index.ids) as reader:
        return index, list(reader.frames(0, len(index.pts)))


@pytest.mark.parametrize("suffix", [".gif", ".png", ".apng", ".webp"])
def test_a_video_becomes_an_animation_with_its_frames_and_times(tmp_path, suffix):
    source = clips.make(tmp_path / "in.mp4", 8, rate=20)
    notes = written(source, tmp_path / f"out{suffix}")
    index, frames = frames_of(tmp_path / f"out{suffix}")
    assert not notes and index.facts.plays == 0
    assert [clips.number(frame.image) for frame in frames] == list(range(8))
    assert index.facts.duration == pytest.approx(0.4)
    _, wanted = frames_of(source)
    error = [np.abs(a.image.astype(int) - b.image) for a, b in zip(frames, wanted, strict=True)]
    assert np.mean(error) < (5 if suffix == ".gif" else 3)
    if suffix in (".png", ".apng"):
        assert np.max(error) == 0


@pytest.mark.parametrize("kind", ["gif", "apng", "webp"])
def test_an_animation_is_written_as_it_was_read(tmp_path, kind):
    """Frames, opacity, durations and plays; the lossy format within its quality."""
    source, target = tmp_path / f"in.{kind}", tmp_path / f"out.{kind}"
    source.write_bytes(animations.animated(kind, 2))
    count = len(animations.pieces(kind))
    assert written(source, target, edges=(0, 4, count)) == []
    before, after = frames_of(source), frames_of(target)
    assert after[0].facts.plays == before[0].facts.plays == (3 if kind == "gif" else 2)
    assert np.array_equal(after[0].pts, before[0].pts)
    assert after[0].facts.duration == before[0].facts.duration
    for frame, wanted in zip(after[1], before[1], strict=True):
        assert np.array_equal(frame.alpha, wanted.alpha)
        visible = wanted.alpha > 0
        error = np.abs(frame.image.astype(int) - wanted.image)[visible]
        assert error.mean() < 16 if kind == "gif" else error.max() == 0 or kind == "webp"


def test_a_part_of_a_video_begins_at_zero(tmp_path):
    source = clips.make(tmp_path / "in.mp4", 8, rate=10)
    written(source, tmp_path / "out.webp", edges=(3, 5, 7))
    index, frames = frames_of(tmp_path / "out.webp")
    assert index.pts.tolist() == [0, 100, 200, 300]
    assert [clips.number(frame.image) for frame in frames] == [3, 4, 5, 6]


def test_a_gif_shows_no_more_frames_than_browsers_do(tmp_path):
    source = clips.make(tmp_path / "in.mp4", 12, rate=60, time_base=Fraction(1, 60))
    notes = written(source, tmp_path / "out.gif", edges=(0, 5, 12))
    index, frames = frames_of(tmp_path / "out.gif")
    assert len(frames) < 12 and index.facts.duration == pytest.approx(0.2, abs=0.02)
    assert any(f"Left out: {12 - len(frames)} frames" in note for note in notes)
    assert np.diff(index.pts).min() >= 2


def test_non_square_pixels_are_scaled_with_a_note(tmp_path):
    source = clips.make(tmp_path / "in.mp4", 4, sar=Fraction(2, 1))
    notes = written(source, tmp_path / "out.png", edges=(0, 4))
    index, _ = frames_of(tmp_path / "out.png")
    assert (index.facts.width, index.facts.height) == (128, 64)
    assert any("scaled to 128x64" in note for note in notes)


def test_sound_is_left_out_by_name_and_refused_where_it_was_requested(tmp_path):
    source = clips.make(tmp_path / "in.mp4", 4, audio="aac")
    facts = probe.index_video(source, scenes=False).facts
    target = tmp_path / "out.gif"

    def notes(encoding):
        own = output.resolved_encoding(target, facts, encoding)
        return output.check_output(source, target, facts, own)

    assert any("audio stream (aac); it is left out" in note for note in notes(Encoding()))
    assert not any("audio" in note for note in notes(Encoding(audio="none")))
    with pytest.raises(OutputError, match="hold no sound"):
        notes(Encoding(audio="copy"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"codec": "h264"}, "cannot hold h264"), ({"crf": 20}, "take no --crf"),
     ({"pixel_format": "yuv420p"}, "take no --pix-fmt")],
)  # fmt: skip
def test_options_of_videos_are_refused(tmp_path, options, reason):
    source = clips.make(tmp_path / "in.mp4", 2)
    with pytest.raises(Ip2pError, match=reason):
        written(source, tmp_path / "out.webp", encoding=Encoding(**options), edges=(0, 2))


def test_ten_bits_are_kept_in_png_only(tmp_path):
    source = clips.make(tmp_path / "in.mkv", 3, codec="ffv1", pix_fmt="yuv444p10le")
    for suffix, depth in ((".png", 16), (".webp", 8)):
        written(source, tmp_path / f"out{suffix}", edges=(0, 3))
        assert probe.index_video(tmp_path / f"out{suffix}").facts.bit_depth == depth
