"""Joined videos: frames bit-identical to the segments, other streams copied from the source."""

from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import msgspec
import numpy as np
import pytest

from ip2p_batch.errors import EditError, OutputError, RecipeError
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.jobs.video_facts import VideoFacts
from ip2p_batch.media.video import concat, output_times, probe
from ip2p_batch.media.video.codecs import CODECS, segment_suffix
from ip2p_batch.media.video.output import (
    check_output,
    check_times,
    format_notes,
    odd_size_notes,
    output_suffix,
    resolved_encoding,
)
from ip2p_batch.media.video.reader import VideoReader
from ip2p_batch.media.video.segment import SegmentWriter
from ip2p_batch.media.video.verify import verify_joined

from . import clips

#: Codecs that need no GPU, write frames as small as those of the clips, and whose containers hold
#: every sound.
SMALL_CODECS = [
    name
    for name, codec in CODECS.items()
    if not codec.needs_gpu and max(codec.min_size) <= 64 and ".mkv" in codec.containers
]

VFR = [int(t) for t in np.cumsum(np.random.default_rng(1).integers(300, 9000, 20))]
SOURCES: dict[str, dict[str, Any]] = {
    "all.mp4": {
        "audio": "aac", "subtitles": True, "chapters": True, "metadata": {"title": "A film"},
    },
    "all.mkv": {
        "audio": "libopus", "subtitles": True, "chapters": True, "metadata": {"title": "A film"},
    },
    "vp9.webm": {"codec": "libvpx-vp9", "audio": "libopus"},
    "old.avi": {"codec": "mpeg4", "audio": "libmp3lame"},
    "stream.ts": {"audio": "aac"},
    "odd.mp4": {"size": (65, 71), "pix_fmt": "yuv444p"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le", "audio": "pcm_s16le"},
    "vfr.mp4": {"pts": VFR, "time_base": Fraction(1, 90000), "audio": "aac"},
    "turned.mp4": {"rotation": 90, "sar": Fraction(4, 3)},
}  # fmt: skip


def segments_of(source, index, encoding, folder, edges):
    paths = []
    with VideoReader(source, index.facts, index.pts, index.ids) as reader:
        for start, stop in pairwise(edges):
            path = folder / f"{start}{segment_suffix(encoding)}"
            with SegmentWriter(path, index.facts, encoding, reader.captions) as writer:
                for frame in reader.frames(start, stop):
                    writer.write(frame)
            paths.append(path)
    return paths


def joined(source, folder, encoding, edges=(0, 3, 4, 11, 20), suffix=None):
    """Join unedited segments; returns the output and the frames that its segments decode to."""
    index = probe.index_video(source)
    suffix = suffix or output_suffix(source.suffix, encoding)
    output = folder / f"out{suffix}"
    encoding = resolved_encoding(output, index.facts, encoding)
    check_output(source, output, index.facts, encoding)
    check_times(output, index.facts, index.pts[edges[0] : edges[-1]])
    segments = segments_of(source, index, encoding, folder, edges)
    span = {"start": edges[0], "stop": edges[-1]}
    concat.join(segments, source, output, index.facts, encoding, index.pts, suffix=suffix, **span)
    verify_joined(output, index.facts, index.pts, **span)
    return output, index, [image for path in segments for _, image in clips.frames_of(path)]


@pytest.fixture(scope="module", params=SOURCES)
def source(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    return clips.make(folder / request.param, 20, **SOURCES[request.param])


@pytest.mark.parametrize("codec", SMALL_CODECS)
@pytest.mark.parametrize("edges", [(0, 3, 4, 11, 20), (5, 6, 15)])
def test_frames_are_bit_identical_to_those_of_the_segments(source, tmp_path, codec, edges):
    output, index, expected = joined(source, tmp_path, Encoding(codec=codec), edges)
    frames = clips.frames_of(output)
    assert len(frames) == len(expected) == edges[-1] - edges[0]
    assert all(np.array_equal(a, b) for (_, a), b in zip(frames, expected, strict=True))
    with av.open(str(output)) as container:
        own = container.streams.video[0].time_base
    planned = output_times.planned_times(index.facts, index.pts, edges[0], edges[-1])
    error = [
        abs(pts * own - int(time) * Fraction(*index.facts.time_base))
        for (pts, _), time in zip(frames, planned, strict=True)
    ]
    exact = output.suffix in (".mp4", ".mov")
    assert max(error) <= (0 if exact else Fraction(1, 1000))


@pytest.mark.parametrize("codec", ["dnxhr", "qtrle"])
def test_codecs_of_mov_only_join_frame_exact(tmp_path, codec):
    source = clips.make(tmp_path / "s.mp4", 20, size=(256, 128), audio="aac")
    output, _, expected = joined(source, tmp_path, Encoding(codec=codec), suffix=".mov")
    frames = clips.frames_of(output)
    assert all(np.array_equal(a, b) for (_, a), b in zip(frames, expected, strict=True))


@pytest.mark.parametrize(
    ("suffix", "codec", "expected"),
    [
        (".ts", None, "h264"), (".ts", "hevc", "hevc"), (".mxf", None, "dnxhr"),
        (".mxf", "prores", "prores"), (".avi", None, "ffv1"), (".webm", None, "av1"),
    ],
)  # fmt: skip
def test_broadcast_and_old_containers_hold_every_frame_in_order(tmp_path, suffix, codec, expected):
    source = clips.make(tmp_path / "s.mov", 20, size=(256, 128), audio="pcm_s16le")
    if suffix in (".ts", ".webm"):
        source = clips.make(tmp_path / "s.mkv", 20, size=(256, 128))
    output, index, _ = joined(source, tmp_path, Encoding(codec=codec), suffix=suffix)
    chosen = resolved_encoding(output, index.facts, Encoding(codec=codec))
    assert chosen.codec == expected
    assert [clips.number(image) for image in clips.images_of(output)] == list(range(20))
    with av.open(str(output)) as container:
        stream = container.streams.video[0]
        assert float(stream.guessed_rate or 0) == pytest.approx(25)


@pytest.mark.parametrize(("suffix", "instead"), [(".mxf", "o.mov"), (".avi", "o.mkv")])
def test_a_container_without_times_refuses_a_rate_that_changes(tmp_path, suffix, instead):
    source = clips.make(tmp_path / "s.mp4", 20, **SOURCES["vfr.mp4"])
    index = probe.index_video(source)
    with pytest.raises(OutputError, match="constant rate") as caught:
        check_times(tmp_path / f"o{suffix}", index.facts, index.pts)
    assert instead in caught.value.hint


def test_mxf_refuses_frame_rates_that_it_does_not_know(tmp_path):
    source = clips.make(tmp_path / "s.mkv", 6, size=(256, 128), rate=12)
    facts = probe.index_video(source).facts
    with pytest.raises(OutputError, match="12 frames a second") as caught:
        check_output(source, tmp_path / "o.mxf", facts, Encoding(codec="dnxhr"))
    assert "o.mov" in caught.value.hint


@pytest.mark.parametrize(
    ("pix_fmt", "encoding", "words"),
    [
        ("yuv422p", Encoding(), "4:2:2 colour resolution becomes 4:2:0; --pix-fmt yuv422p"),
        ("yuv422p10le", Encoding(codec="hevc"), "--pix-fmt yuv422p10le"),
        ("yuv444p", Encoding(codec="av1"), "--codec prores (.mov) and ffv1 (.mkv)"),
        ("yuv444p", Encoding(codec="hevc", pixel_format="yuv422p"), "--pix-fmt yuv444p"),
        ("yuv422p", Encoding(pixel_format="yuv422p"), ""),
        ("yuv420p", Encoding(), ""),
        ("yuv422p10le", Encoding(codec="prores"), ""),
    ],
)
def test_colour_resolution_that_is_lost_is_named(pix_fmt, encoding, words):
    facts = VideoFacts(
        width=64, height=64, time_base=(1, 25), frame_rate=(25, 1), frames=1, duration=1, codec="x",
        container="mov", pix_fmt=pix_fmt, bit_depth=10 if "10" in pix_fmt else 8,
    )  # fmt: skip
    notes = format_notes(facts, encoding)
    assert words in notes[0] if words else not notes


@pytest.mark.parametrize(
    ("size", "rotation", "encoding", "crop"),
    [
        ((127, 97), 0, Encoding(), "crop=126:96:0:0"),
        ((127, 96), 90, Encoding(codec="hevc"), "crop=96:126:0:0"),
        ((128, 96), 0, Encoding(), ""),
        ((127, 97), 0, Encoding(codec="av1"), ""),
    ],
)
def test_odd_sizes_that_few_players_show_are_named_with_a_fix(size, rotation, encoding, crop):
    width, height = size
    facts = VideoFacts(
        width=width, height=height, rotation=rotation, time_base=(1, 25), frame_rate=(25, 1),
        frames=1, duration=1, codec="x", container="mov", pix_fmt="yuv420p",
    )  # fmt: skip
    notes = odd_size_notes(facts, encoding)
    assert f"-vf {crop} " in notes[0] if crop else not notes


def test_a_side_of_one_pixel_has_no_crop_to_suggest():
    facts = VideoFacts(
        width=1, height=40, time_base=(1, 25), frame_rate=(25, 1), frames=1, duration=1,
        codec="x", container="mov", pix_fmt="yuv420p",
    )  # fmt: skip
    (note,) = odd_size_notes(facts, Encoding())
    assert "--codec av1" in note and "crop" not in note


@pytest.mark.parametrize("name", [name for name, facts in SOURCES.items() if "audio" in facts])
def test_sound_packets_are_byte_identical(name, tmp_path):
    source = clips.make(tmp_path / name, 20, **SOURCES[name])
    output, _, _ = joined(source, tmp_path, Encoding())
    before, after = clips.payloads(source, "audio"), clips.payloads(output, "audio")
    lost = len(before) - len(after)
    # Matroska cannot hide sound from before the first frame; a packet or two of priming goes.
    assert 0 <= lost <= (3 if output.suffix == ".mkv" else 0)
    adts = 7 if source.suffix == ".ts" else 0  # a header that only streams have before each packet
    assert [packet[adts:] for packet in before[lost:]] == after


def test_subtitles_chapters_tags_and_languages_are_copied(tmp_path):
    for name in ("all.mp4", "all.mkv"):
        source = clips.make(tmp_path / name, 20, **SOURCES[name])
        output, _, _ = joined(source, tmp_path, Encoding())
        assert clips.payloads(source, "subtitles") == clips.payloads(output, "subtitles")
        with av.open(str(output)) as container:
            assert container.metadata["title"] == "A film"
            assert container.streams.audio[0].language == "eng"
            chapters = [
                (c["start"] * c["time_base"], c["metadata"]["title"]) for c in container.chapters()
            ]
            assert chapters == [(0, "part 0"), (Fraction(2, 5), "part 1")]


def test_a_part_of_a_video_has_its_own_sound_subtitles_and_chapters(tmp_path):
    source = clips.make(tmp_path / "all.mp4", 50, **SOURCES["all.mp4"])
    output, _, _ = joined(source, tmp_path, Encoding(), edges=(15, 30, 45))
    with av.open(str(output)) as container:
        sound = container.streams.audio[0]
        heard = [f for f in container.decode(sound) if f.pts is not None and f.pts >= 0]
        length = sum(f.samples for f in heard) / 48000
        assert length == pytest.approx(30 / 25, abs=0.03)
        assert container.streams.video[0].start_time == 0
        chapters = [
            (float(c["start"] * c["time_base"]), c["metadata"]["title"])
            for c in container.chapters()
        ]
    assert chapters == [(0.0, "part 1")]
    with av.open(str(output)) as container:
        shown = [p for p in container.demux(container.streams.subtitles[0]) if p.size > 2]
    # "line 1" is on screen from 0.4 to 0.7 s, so from the beginning to 0.1 s of this part.
    assert len(shown) == 1 and shown[0].pts == 0


def test_a_rotated_video_is_written_upright_with_its_aspect_ratio(tmp_path):
    source = clips.make(tmp_path / "turned.mp4", 20, **SOURCES["turned.mp4"])
    output, _, _ = joined(source, tmp_path, Encoding())
    with av.open(str(output)) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        assert (frame.width, frame.height, frame.rotation) == (64, 64, 0)
        assert float(stream.sample_aspect_ratio) == 0.75


def test_an_empty_sound_stream_is_ignored(tmp_path):
    source = tmp_path / "empty.mkv"
    plain = clips.make(tmp_path / "plain.mkv", 20)
    with av.open(str(plain)) as film, av.open(str(source), "w") as target:
        video = target.add_stream_from_template(film.streams.video[0])
        target.add_stream("pcm_s16le", rate=48000).codec_context.layout = "mono"
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = video
                target.mux(packet)
    facts = probe.index_video(source).facts
    assert facts.audio_streams == 1
    assert check_output(source, tmp_path / "o.webm", facts, Encoding(codec="av1")) == []


def test_an_output_that_cannot_hold_the_codec_or_sound_is_refused_at_planning(tmp_path):
    facts = probe.index_video(source := clips.make(tmp_path / "s.mkv", 5, audio="libopus")).facts
    copied = Encoding(audio="copy")
    cases = [
        (source, "o.txt", Encoding(), OutputError, "container"),
        (source, "o", Encoding(), OutputError, "container"),
        (source, "o.webm", Encoding(), OutputError, "h264"),
        (source, "o.mp4", Encoding(codec="ffv1"), OutputError, "ffv1"),
        (source, "o.mp4", Encoding(crf=52), RecipeError, "out of range"),
        (source, "o.mkv", Encoding(codec="ffv1", crf=5), RecipeError, "no --crf"),
        (source, "o.mkv", Encoding(pixel_format="yuv410p"), RecipeError, "yuv410p"),
        (source, "o.mkv", Encoding(codec="av1", pixel_format="yuv422p"), RecipeError, "av1"),
        (source, "o.mov", copied, OutputError, r"audio stream \(opus\)"),
    ]
    for path, name, encoding, kind, words in cases:
        with pytest.raises(kind, match=words) as caught:
            check_output(path, tmp_path / name, facts, encoding)
        assert caught.value.hint  # type: ignore[attr-defined]


def test_a_container_of_the_same_kind_keeps_every_stream(tmp_path):
    for name in ("all.mp4", "all.mkv"):
        source = clips.make(tmp_path / name, 5, **SOURCES[name])
        facts = probe.index_video(source).facts
        output = tmp_path / f"out{source.suffix}"
        assert check_output(source, output, facts, Encoding()) == []


def test_subtitles_that_the_container_cannot_hold_are_left_out_with_a_warning(tmp_path):
    source = clips.make(tmp_path / "s.mkv", 20, subtitles=True)
    facts = probe.index_video(source).facts
    warnings = check_output(source, tmp_path / "o.ts", facts, Encoding())
    assert len(warnings) == 1 and "subtitle" in warnings[0] and "left out" in warnings[0]
    output, _, _ = joined(source, tmp_path, Encoding(), suffix=".ts")
    with av.open(str(output)) as container:
        assert [s.type for s in container.streams] == ["video"]


def test_segments_with_different_settings_are_refused(tmp_path):
    source = clips.make(tmp_path / "s.mp4", 20)
    index = probe.index_video(source)
    first = segments_of(source, index, Encoding(), tmp_path, (0, 10))
    wide = msgspec.structs.replace(index.facts, sar=(4, 3))
    other = tmp_path / "other.mp4"
    with (
        SegmentWriter(other, wide, Encoding()) as writer,
        VideoReader(source, index.facts, index.pts, index.ids) as reader,
    ):
        for frame in reader.frames(10, 20):
            writer.write(frame)
    span: dict[str, Any] = {"start": 0, "stop": 20, "suffix": ".mp4"}
    rest = (source, tmp_path / "o.mp4", index.facts, Encoding(), index.pts)
    with pytest.raises(EditError, match=r"other\.mp4 was encoded with other settings"):
        concat.join([*first, other], *rest, **span)
    with pytest.raises(EditError, match="hold 10 frames, and 20 were planned"):
        concat.join(first, *rest, **span)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(other.read_bytes()[:300])
    with pytest.raises(EditError, match=r"damaged\.mp4 cannot be read"):
        concat.join([*first, damaged], *rest, **span)


def test_verify_detects_a_missing_frame_and_a_wrong_time(tmp_path):
    source = clips.make(tmp_path / "s.mp4", 20)
    output, index, _ = joined(source, tmp_path, Encoding())
    with pytest.raises(EditError, match="20 frames instead of 19"):
        verify_joined(output, index.facts, index.pts, start=0, stop=19)
    moved = index.pts.copy()
    moved[7] += 10
    with pytest.raises(EditError, match="frame 7 is at"):
        verify_joined(output, index.facts, moved, start=0, stop=20)


@pytest.mark.parametrize(
    ("suffix", "codec", "expected"),
    [
        (".mp4", "h264", ".mp4"), (".MOV", "h264", ".MOV"), (".avi", "h264", ".mkv"),
        (".webm", "h264", ".mkv"), (".webm", "av1", ".webm"), (".mp4", "ffv1", ".mkv"),
        (".gif", "h264", ".mp4"), (".gif", "ffv1", ".mkv"), (".ts", "hevc", ".mkv"),
        (".webm", None, ".webm"), (".ts", None, ".mkv"), (".gif", None, ".gif"),
        (".webp", None, ".webp"),
        (".mp4", "dnxhr", ".mov"), (".mp4", "prores", ".mkv"),
    ],
)  # fmt: skip
def test_a_default_output_has_a_container_that_holds_the_codec(suffix, codec, expected):
    assert output_suffix(suffix, Encoding(codec=codec)) == expected
