"""Times of edited videos: average rate, duration of the last frame, sound before the picture."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.video import output_times, probe
from ip2p_batch.media.video.frame_timing import continued_times
from ip2p_batch.media.video.scan import NO_TIME

from . import clips
from .test_media_video_concat import joined

MS = Fraction(1, 1000)


def rewritten(source: Path, target: Path, **options) -> Path:
    """Copy the packets of a file, each with a change of its times in seconds by stream type."""
    delays = options.get("delays", {})
    last = options.get("last")
    with av.open(str(source)) as film, av.open(str(target), "w") as copy:
        streams = {s.index: copy.add_stream_from_template(s) for s in film.streams}
        packets = [p for p in film.demux() if p.size]
        latest = max((p for p in packets if p.stream.type == "video"), key=lambda p: p.pts)
        for packet in packets:
            kind, base = packet.stream.type, packet.time_base
            ticks = round(Fraction(delays.get(kind, 0)) / base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            if packet is latest and last is not None:
                packet.duration = round(last / base)
            packet.stream = streams[packet.stream.index]
            copy.mux(packet)
    return target


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
@pytest.mark.parametrize("kind", ["c.mp4", "c.mkv"])
@pytest.mark.parametrize("rate", [(24000, 1001), (30000, 1001), (60000, 1001)])
def test_the_average_rate_is_the_sources(tmp_path, suffix, kind, rate):
    frames, base = 40, Fraction(rate[1], rate[0])
    stamps = [round(n * base / MS) for n in range(frames)] if kind == "c.mkv" else range(frames)
    source = clips.make(
        tmp_path / kind,
        frames,
        rate=Fraction(*rate),
        pts=stamps,
        time_base=MS if kind == "c.mkv" else base,
        options={"bf": "3"},
    )
    output, index, _ = joined(source, tmp_path, Encoding(), edges=(0, 13, frames), suffix=suffix)
    assert index.facts.frame_rate == rate
    with av.open(str(output)) as container:
        found = container.streams.video[0].average_rate
    assert found is not None and float(found) == pytest.approx(rate[0] / rate[1], rel=0.002)


@pytest.mark.parametrize("bframes", ["0", "3"])
@pytest.mark.parametrize("kind", ["c.mp4", "c.mkv"])
def test_the_last_frame_keeps_its_duration_through_two_edits(tmp_path, kind, bframes):
    plain = clips.make(tmp_path / "plain.mp4", 20, options={"bf": bframes})
    source = rewritten(plain, tmp_path / kind, last=2)
    for suffix in (".mp4", ".mkv"):
        folder = tmp_path / suffix[1:]
        folder.mkdir()
        first, index, _ = joined(source, folder, Encoding(), suffix=suffix)
        assert index.facts.missing == 0 and index.facts.notes == ()
        assert index.facts.duration == pytest.approx(0.76 + 2, abs=0.002)
        again = probe.index_video(first).facts
        assert again.duration == pytest.approx(0.76 + 2, abs=0.002)
        assert again.missing == 0 and again.notes == ()


def test_the_last_frame_of_a_gif_keeps_its_duration(tmp_path):
    from PIL import Image

    images = [Image.fromarray(clips.picture(n)) for n in range(6)]
    delays = [100, 50, 100, 100, 200, 3000]
    source = tmp_path / "c.gif"
    images[0].save(source, save_all=True, append_images=images[1:], duration=delays)
    output, index, _ = joined(source, tmp_path, Encoding(), edges=(0, 2, 6), suffix=".mp4")
    assert index.facts.duration == 3.55
    assert probe.index_video(output).facts.duration == pytest.approx(3.55, abs=0.001)


def test_a_truncated_file_still_says_how_much_is_missing(tmp_path):
    rng = np.random.default_rng(1)
    source = clips.make(
        tmp_path / "c.mkv",
        50,
        image=lambda *_: rng.integers(0, 255, (64, 64, 3), dtype=np.uint8),
    )
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 3])
    facts = probe.index_video(source).facts
    assert facts.frames + facts.missing == pytest.approx(50, abs=2)
    assert any("truncated" in note for note in facts.notes)


def starts_and_sound(path: Path) -> tuple[float, float, float]:
    """Start of the picture, start and length of the sound, in seconds."""
    with av.open(str(path)) as container:
        sound = container.streams.audio[0]
        heard = [f for f in container.decode(sound) if f.time is not None and f.time > -0.001]
        picture = container.streams.video[0]
    with av.open(str(path)) as container:
        first = min(p.pts for p in container.demux(video=0) if p.size and p.pts is not None)
        picture = container.streams.video[0]
        return (
            float(first * picture.time_base),
            heard[0].time,
            sum(f.samples for f in heard) / 48000,
        )


@pytest.mark.parametrize("kind", ["c.mp4", "c.mkv", "c.ts"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_before_the_first_frame_is_kept(tmp_path, kind, suffix):
    plain = clips.make(tmp_path / "plain.mp4", 40, audio="flac" if kind == "c.mkv" else "ac3")
    source = rewritten(plain, tmp_path / kind, delays={"video": 12})
    output, index, _ = joined(source, tmp_path, Encoding(), edges=(0, 20, 40), suffix=suffix)
    picture, sound, seconds = starts_and_sound(output)
    assert picture == pytest.approx(12, abs=0.03) and sound == pytest.approx(0, abs=0.03)
    assert seconds == pytest.approx(1.6, abs=0.07)
    start, stop = 0, 20  # as with --end
    part = output_times.planned_times(index.facts, index.pts, start, stop)
    assert float(part[0] * Fraction(*index.facts.time_base)) == pytest.approx(12, abs=0.03)
    # A part that starts later has neither the lead nor its sound.
    assert output_times.planned_times(index.facts, index.pts, 5, 20)[0] == 0


def test_picture_before_the_sound_is_kept(tmp_path):
    plain = clips.make(tmp_path / "plain.mp4", 40, audio="ac3")
    source = rewritten(plain, tmp_path / "c.mp4", delays={"audio": 1})
    output, _, _ = joined(source, tmp_path, Encoding(), edges=(0, 20, 40))
    picture, sound, _ = starts_and_sound(output)
    assert picture == 0 and sound == pytest.approx(1, abs=0.01)


def test_a_clock_that_was_running_is_moved_by_the_earliest_stream(tmp_path):
    plain = clips.make(tmp_path / "plain.mp4", 40, audio="ac3")
    source = rewritten(plain, tmp_path / "c.mkv", delays={"audio": 93000, "video": 93003})
    output, _, _ = joined(source, tmp_path, Encoding(), edges=(0, 20, 40))
    picture, sound, _ = starts_and_sound(output)
    assert picture == pytest.approx(3, abs=0.03) and sound == pytest.approx(0, abs=0.03)


def test_joined_transport_streams_follow_each_other(tmp_path):
    part = clips.make(tmp_path / "part.ts", 30, audio="ac3", options={"bf": "2"})
    source = tmp_path / "twice.ts"
    source.write_bytes(part.read_bytes() * 2)
    for scenes in (True, False):
        index = probe.index_video(source, scenes=scenes)
        assert index.facts.is_joined and index.facts.frames == 60
        assert any("clock begins again" in note for note in index.facts.notes)
    for suffix in (".mp4", ".mkv"):
        output, _, _ = joined(source, tmp_path, Encoding(), edges=(0, 25, 60), suffix=suffix)
        shown = [clips.number(image) for image in clips.images_of(output)]
        assert shown == [*range(30), *range(30)]
        _, _, seconds = starts_and_sound(output)
        assert seconds == pytest.approx(2 * 1.2, abs=0.1)


def test_a_clock_continues_only_where_it_stays_behind():
    step = Fraction(40)
    again = np.array([*range(0, 480, 40), *range(0, 800, 40)])
    continued, restarts = continued_times(again, step, 50)
    assert restarts == 1 and continued.tolist() == list(range(0, 40 * 32, 40))
    damaged = np.array([1000, 1040, 0, *range(1120, 2000, 40)])
    continued, restarts = continued_times(damaged, step, 50)
    assert restarts == 0 and np.array_equal(continued, damaged)
    gaps = np.array([800, NO_TIME, 880, NO_TIME, *range(0, 400, 40)])
    continued, restarts = continued_times(gaps, step, 50)
    assert restarts == 1 and continued[4] == 960 and continued[1] == NO_TIME
