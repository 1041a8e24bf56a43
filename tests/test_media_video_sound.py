"""Sound that the output's container cannot hold: converted, in step with the frames."""

import re
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from ip2p_batch.errors import OutputError
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.output import check_output

from . import clips
from .test_media_video_concat import joined

RATE = 48000
#: Seconds at which a burst of 1 ms sounds; 20 frames last 0.8 s.
CLICKS = (0.1, 0.4, 0.7)

#: Files with sound that at least one container cannot hold.
SOURCES = {
    "wma.asf": ("mpeg4", "wmav2", "fltp"),
    "adpcm.avi": ("mpeg4", "adpcm_ms", "s16"),
    "deep.mkv": ("libx264", "pcm_s24le", "s32"),
    "opus.mkv": ("libx264", "libopus", "s16"),
    "flac.mkv": ("libx264", "flac", "s16"),
    "bluray.m2ts": ("libx264", "pcm_bluray", "s16"),
}


def clicking(seconds=0.8, channels=2):
    """Samples in -1 to 1, shape ``(channels, length)``, with a loud burst at each of CLICKS."""
    samples = np.random.default_rng(0).normal(0, 1e-4, (channels, round(seconds * RATE)))
    for click in CLICKS:
        at = round(click * RATE)
        samples[:, at : at + 48] += 0.8 * np.sin(np.arange(48) * np.pi / 4)
    return samples


def write(path, video="libx264", codec="flac", kind="s16", *, layout="stereo", holes=(), tags=None):
    """Write 20 frames with clicking sound; leave out the sound in ``holes`` (seconds)."""
    with av.open(str(path), "w") as target:
        film = target.add_stream(video, rate=25)
        film.width, film.height, film.pix_fmt = 64, 64, "yuv420p"
        sound = target.add_stream(codec, rate=RATE)
        sound.codec_context.layout, sound.codec_context.format = layout, kind
        sound.codec_context.bit_rate = 128000
        sound.metadata.update(tags or {})
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(clips.picture(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            target.mux(film.encode(frame))
        target.mux(film.encode(None))
        channels = sound.codec_context.layout.nb_channels
        samples = clicking(channels=channels)
        block = sound.codec_context.frame_size or 1024
        for start in range(0, samples.shape[1], block):
            if any(a <= start / RATE < b for a, b in holes):
                continue
            part = samples[:, start : start + block]
            if not kind.endswith("p"):
                part = part.T.reshape(1, -1)
            if kind.startswith("s"):
                dtype = np.int32 if "32" in kind else np.int16
                part = (part * (np.iinfo(dtype).max - 1)).astype(dtype)
            part = np.ascontiguousarray(part.astype(np.float32) if kind == "fltp" else part)
            block_frame = av.AudioFrame.from_ndarray(part, format=kind, layout=layout)
            block_frame.sample_rate, block_frame.pts = RATE, start
            block_frame.time_base = Fraction(1, RATE)
            target.mux(sound.encode(block_frame))
        target.mux(sound.encode(None))
    return path


def heard(path):
    """Seconds from the first frame of a video to each click of its sound, and its codec."""
    with av.open(str(path)) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        first = next(container.decode(video)).time
        container.seek(0)
        clicks: list[float] = []
        for frame in container.decode(sound):
            samples = av.AudioResampler("fltp", "mono").resample(frame)[0].to_ndarray()[0]
            for at in np.flatnonzero(np.abs(samples) > 0.2):
                time = float(frame.pts * frame.time_base) + at / frame.sample_rate - first
                if not clicks or time - clicks[-1] > 0.05:
                    clicks.append(time)
        return clicks, sound.codec_context.name


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_a_click_stays_within_a_millisecond_in_every_container(tmp_path, name, suffix):
    source = write(tmp_path / name, *SOURCES[name])
    before, _ = heard(source)
    assert len(before) == len(CLICKS)
    output, _, _ = joined(source, tmp_path, Encoding(), suffix=suffix)
    after, _ = heard(output)
    assert after == pytest.approx(before, abs=0.001)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_converted_sound_of_a_part_begins_and_ends_with_it(tmp_path, suffix):
    source = write(tmp_path / "adpcm.avi", *SOURCES["adpcm.avi"])
    output, _, _ = joined(source, tmp_path, Encoding(), edges=(5, 15), suffix=suffix)
    clicks, _ = heard(output)
    assert clicks == pytest.approx([0.2], abs=0.001)  # the click at 0.4 s; frame 5 is at 0.2 s
    with av.open(str(output)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert samples == round(0.4 * RATE)


def test_sound_without_loss_is_converted_without_loss(tmp_path):
    source = write(tmp_path / "deep.mkv", *SOURCES["deep.mkv"])
    output, _, _ = joined(source, tmp_path, Encoding(), suffix=".mp4")
    assert heard(output)[1] == "flac"
    for path in (source, output):
        with av.open(str(path)) as container:
            frames = [f.to_ndarray() for f in container.decode(audio=0)]
            if path == source:
                expected = np.concatenate(frames, axis=1)
    assert np.array_equal(np.concatenate(frames, axis=1), expected)


def test_a_gap_in_the_sound_becomes_silence(tmp_path):
    source = write(tmp_path / "gap.mkv", codec="pcm_s24le", kind="s32", holes=[(0.2, 0.35)])
    output, _, _ = joined(source, tmp_path, Encoding(), suffix=".mp4")
    assert heard(output)[0] == pytest.approx(CLICKS, abs=0.001)
    with av.open(str(output)) as container:
        samples = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)
    assert not samples[:, 2 * round(0.23 * RATE) : 2 * round(0.33 * RATE)].any()


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1(side)", "quad"])
def test_channels_language_and_title_are_kept(tmp_path, layout):
    tags = {"language": "fra", "title": "Commentaire"}
    for name, suffix in (("s.mov", ".mp4"), ("s.mkv", ".mkv")):
        source = write(tmp_path / name, codec="pcm_s24le", kind="s32", layout=layout, tags=tags)
        output, _, _ = joined(source, tmp_path, Encoding(audio="flac"), suffix=suffix)
        with av.open(str(output)) as container:
            sound = container.streams.audio[0]
            assert sound.language == "fra"
            if suffix == ".mp4":  # Matroska has no layout of the source's PCM
                assert next(container.decode(sound)).layout.name == layout
            else:
                assert sound.metadata["title"] == "Commentaire"


@pytest.mark.parametrize(
    ("name", "suffix", "audio", "codec"),
    [
        ("flac.mkv", ".mkv", "auto", "flac"),
        ("flac.mkv", ".mkv", "aac", "aac"),
        ("flac.mkv", ".mp4", "flac", "flac"),
        ("flac.mkv", ".mov", "auto", "pcm_s16le"),
        ("flac.mkv", ".mov", "aac", "aac"),
        ("flac.mkv", ".mkv", "none", None),
        ("opus.mkv", ".mkv", "copy", "opus"),
        ("opus.mkv", ".mkv", "flac", "flac"),
    ],
)
def test_the_audio_option_chooses_the_codec(tmp_path, name, suffix, audio, codec):
    source = write(tmp_path / name, *SOURCES[name])
    encoding = Encoding(audio=audio)
    facts = probe.index_video(source).facts
    warnings = check_output(source, tmp_path / f"o{suffix}", facts, encoding)
    # Only a conversion that was not requested is worth a warning.
    assert bool(warnings) == (audio == "auto" and codec != "flac")
    output, _, _ = joined(source, tmp_path, encoding, suffix=suffix)
    with av.open(str(output)) as container:
        names = [s.codec_context.name for s in container.streams.audio]
    assert names == ([] if codec is None else [codec])
    if codec is not None:
        assert heard(output)[0] == pytest.approx(CLICKS, abs=0.001)


def test_webm_gets_opus(tmp_path):
    source = write(tmp_path / "flac.mkv", *SOURCES["flac.mkv"])
    output, _, _ = joined(source, tmp_path, Encoding(codec="av1"), suffix=".webm")
    clicks, codec = heard(output)
    assert codec == "opus" and clicks == pytest.approx(CLICKS, abs=0.001)


@pytest.mark.parametrize(("suffix", "codec"), [(".ts", "aac"), (".avi", "pcm_s16le")])
def test_broadcast_and_old_containers_get_sound_that_players_know(tmp_path, suffix, codec):
    name = "flac.mkv" if suffix == ".ts" else "opus.mkv"
    source = write(tmp_path / name, *SOURCES[name])
    encoding = Encoding(codec="h264" if suffix == ".ts" else "ffv1")
    output, _, _ = joined(source, tmp_path, encoding, suffix=suffix)
    clicks, name = heard(output)
    assert name == codec and clicks == pytest.approx(CLICKS, abs=0.001)


def test_the_hint_of_a_refused_copy_works(tmp_path):
    source = write(tmp_path / "flac.mkv", *SOURCES["flac.mkv"])
    facts = probe.index_video(source).facts
    with pytest.raises(OutputError, match=r"\.mov files cannot hold") as caught:
        check_output(source, tmp_path / "o.mov", facts, Encoding(audio="copy"))
    assert caught.value.hint is not None
    named = re.search(r"o\.mkv", caught.value.hint)
    assert named and "--audio auto" in caught.value.hint
    assert check_output(source, tmp_path / "o.mkv", facts, Encoding(audio="copy")) == []
    assert check_output(source, tmp_path / "o.mov", facts, Encoding(audio="auto"))
    with pytest.raises(OutputError, match="cannot hold FLAC"):
        check_output(source, tmp_path / "o.mov", facts, Encoding(audio="flac"))


def test_sound_that_does_not_decode_is_refused_with_a_way_out(tmp_path):
    source = tmp_path / "s.ts"
    plain = clips.make(tmp_path / "plain.mp4", 20)
    with av.open(str(plain)) as film, av.open(str(source), "w") as target:
        video = target.add_stream_from_template(film.streams.video[0])
        sound: Any = target.add_mux_stream("ac3", rate=48000)
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = video
                target.mux(packet)
        for time in range(3):
            damaged = av.Packet(bytes(range(256)))
            damaged.stream, damaged.time_base = sound, Fraction(1, 90000)
            damaged.pts = damaged.dts = time * 9000
            target.mux(damaged)
    facts = probe.index_video(source).facts
    for audio in ("auto", "flac"):
        with pytest.raises(OutputError, match="audio stream") as caught:
            check_output(source, tmp_path / "o.mp4", facts, Encoding(audio=audio))
        assert caught.value.hint and "--audio none" in caught.value.hint
    assert check_output(source, tmp_path / "o.mp4", facts, Encoding(audio="none")) == []
