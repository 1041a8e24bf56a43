"""Copied sound keeps exact times, and a part of a video begins with its own sound."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.video.sample_times import opus_samples

from . import clips
from .test_media_video_concat import joined

#: Samples of a packet by the encoder that writes it.
PACKETS = {"aac": 1024, "libmp3lame": 1152, "ac3": 1536, "libopus": 960, "flac": 4608}


def sound_packets(path: Path) -> tuple[Fraction, list[tuple[int, int]]]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        packets = [(p.pts, p.duration) for p in container.demux(stream) if p.size]
        return Fraction(stream.time_base), packets


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        parts = [f.to_ndarray()[0] for f in container.decode(container.streams.audio[0])]
    return np.concatenate(parts)


@pytest.mark.parametrize(
    ("codec", "kind"),
    [(codec, "c.mkv") for codec in PACKETS]
    + [(codec, kind) for codec in ("aac", "libmp3lame") for kind in ("c.ts", "c.flv")],
)
def test_packets_in_mp4_follow_each_other_to_the_sample(tmp_path, codec, kind):
    source = clips.make(tmp_path / kind, 50, audio=codec)
    output, _, _ = joined(source, tmp_path, Encoding(), edges=(0, 20, 50), suffix=".mp4")
    base, packets = sound_packets(output)
    assert base == Fraction(1, 48000)
    steps = {after[0] - before[0] for before, after in pairwise(packets)}
    assert steps == {PACKETS[codec]}


def test_a_gap_in_the_sound_stays(tmp_path):
    plain = clips.make(tmp_path / "plain.mkv", 75, audio="aac")
    source = tmp_path / "c.mkv"
    with av.open(str(plain)) as film, av.open(str(source), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in film.streams}
        for packet in film.demux():
            if not packet.size or (packet.stream.type == "audio" and 1000 < packet.pts < 1500):
                continue
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    output, _, _ = joined(source, tmp_path, Encoding(), edges=(0, 20, 75), suffix=".mp4")
    _, packets = sound_packets(output)
    steps = [after[0] - before[0] for before, after in pairwise(packets)]
    gaps = [step for step in steps if step != 1024]
    assert len(gaps) == 1 and gaps[0] / 48000 == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("codec", ["flac", "pcm_s16le"])
def test_a_part_in_matroska_begins_with_its_own_sample(tmp_path, codec):
    source = clips.make(tmp_path / "c.mkv", 50, audio=codec)
    output, _, _ = joined(source, tmp_path, Encoding(), edges=(13, 20, 50), suffix=".mkv")
    with av.open(str(output)) as container:
        assert container.streams.audio[0].codec_context.name == codec
        first = next(container.decode(container.streams.audio[0]))
        assert first.pts == 0
    whole, part = decoded(source), decoded(output)
    begin = 13 * 48000 // 25
    # Matroska names the times of packets to the millisecond.
    slack = range(begin - 48, begin + 49) if codec != "flac" else (begin,)
    assert any(np.array_equal(whole[start : start + len(part)], part) for start in slack)
    assert len(part) == pytest.approx(len(whole) - begin, abs=48)


@pytest.mark.parametrize(
    ("first_bytes", "samples"),
    [((0x08,), 960), ((0x78,), 960), ((0x60,), 480), ((0x81,), 240), ((0xFB, 4), 3840), ((), 0)],
)
def test_the_length_of_an_opus_packet_is_in_its_first_bytes(first_bytes, samples):
    assert opus_samples(bytes(first_bytes)) == samples
