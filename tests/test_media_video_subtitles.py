"""Text subtitles: converted where the container holds another format, times and flags kept."""

import re
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import pytest
from av.subtitles.subtitle import SubtitleSet
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.output import check_output
from ip2p_batch.media.video.subtitles import Cue, CueMerger

from . import clips
from .test_media_video_concat import joined

HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, \
Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, \
Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
#: Start and stop in milliseconds, and ASS text.
CUES = [
    (100, 300, r"{\b1}bold{\b0} {\i1}grüße{\i0}"),
    (300, 420, r"{\an8\pos(10,20)}two\Nlines"),
    (500, 700, "你好"),
]
PLAIN = ["bold grüße", "two\nlines", "你好"]


def subtitled(path, encoder, cues=CUES, *, language="spa", forced=False):
    """Write 20 frames (0.8 s) with one subtitle stream."""
    with av.open(str(path), "w") as target:
        video = target.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        text: Any = target.add_stream(encoder)
        context = text.codec_context
        context.subtitle_header = HEADER
        text.time_base = Fraction(1, 1000)
        text.metadata.update({"language": language, "title": "Ein Name"})
        flags = type(text.disposition)
        text.disposition = flags.forced if forced else flags.default
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(clips.picture(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
        for start, stop, line in cues:
            event = f"0,0,Default,,0,0,0,,{line}".encode()
            packet = context.encode_subtitle(SubtitleSet.create(event, 0, stop - start))
            packet.stream, packet.time_base = text, Fraction(1, 1000)
            packet.pts = packet.dts = start
            packet.duration = stop - start
            target.mux(packet)
    return path


def shown(path):
    """``(start, stop, text)`` of every cue in milliseconds, and the stream's tags and flags."""
    with av.open(str(path)) as container:
        stream: Any = container.streams.subtitles[0]
        cues = []
        for packet in container.demux(stream):
            if packet.size and (decoded := stream.codec_context.decode2(packet)):
                text = "\n".join(r.dialogue.decode() for r in decoded.rects).replace("\\N", "\n")
                text = re.sub(r"\{[^}]*\}", "", text)
                ticks = packet.time_base * 1000
                start, length = packet.pts * ticks, packet.duration * ticks
                cues.append((round(start), round(start + length), text.strip()))
        name = stream.codec_context.name
        return cues, name, stream.metadata.get("language"), stream.disposition.name


@pytest.mark.parametrize(
    ("source", "encoder", "suffix", "codec"),
    [
        ("s.mp4", "mov_text", ".mkv", ("subrip", "srt")),
        ("s.mkv", "subrip", ".mp4", ("mov_text",)),
        ("s.mkv", "subrip", ".mov", ("mov_text",)),
        ("s.mkv", "ass", ".mp4", ("mov_text",)),
        ("s.mkv", "webvtt", ".mp4", ("mov_text",)),
    ],
)
@pytest.mark.parametrize("forced", [False, True])
def test_text_is_converted_with_times_language_and_flags(
    tmp_path, source, encoder, suffix, codec, forced
):
    path = subtitled(tmp_path / source, encoder, forced=forced)
    facts = probe.index_video(path).facts
    (warning,) = check_output(path, tmp_path / f"o{suffix}", facts, Encoding())
    assert "spa subtitle stream" in warning and "converted" in warning
    output, _, _ = joined(path, tmp_path, Encoding(), suffix=suffix)
    cues, name, language, flags = shown(output)
    expected = [(start, stop, text) for (start, stop, _), text in zip(CUES, PLAIN, strict=True)]
    assert cues == expected
    assert name in codec and language == "spa"
    if suffix != ".mov":
        # MP4 enables the first stream of a kind where none has the default flag.
        assert ("forced" in flags) == forced and ("default" in flags or forced)
    assert len(clips.frames_of(output)) == 20


def test_webm_gets_webvtt(tmp_path):
    path = subtitled(tmp_path / "s.mkv", "subrip")
    output, _, _ = joined(path, tmp_path, Encoding(codec="av1"), suffix=".webm")
    cues, name, _, _ = shown(output)
    assert name == "webvtt" and [text for _, _, text in cues] == PLAIN


def test_bold_and_italic_text_is_kept(tmp_path):
    path = subtitled(tmp_path / "s.mp4", "mov_text")
    output, _, _ = joined(path, tmp_path, Encoding(), suffix=".mkv")
    first = clips.payloads(output, "subtitles")[0].decode()
    assert first == "<b>bold</b> <i>grüße</i>"


@pytest.mark.parametrize(("source", "encoder", "suffix"), [
    ("s.mp4", "mov_text", ".mkv"), ("s.mkv", "subrip", ".mp4"),
])  # fmt: skip
def test_text_of_a_part_is_cut_at_its_borders(tmp_path, source, encoder, suffix):
    path = subtitled(tmp_path / source, encoder)
    output, _, _ = joined(path, tmp_path, Encoding(), edges=(5, 15), suffix=suffix)  # 200-600 ms
    assert shown(output)[0] == [
        (0, 100, PLAIN[0]), (100, 220, PLAIN[1]), (300, 400, PLAIN[2]),
    ]  # fmt: skip


def test_overlapping_cues_become_consecutive_ones_in_mp4(tmp_path):
    path = subtitled(tmp_path / "s.mkv", "subrip", [(100, 500, "one"), (200, 400, "two")])
    output, _, _ = joined(path, tmp_path, Encoding(), suffix=".mp4")
    assert shown(output)[0] == [(100, 200, "one"), (200, 400, "one\ntwo"), (400, 500, "one")]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=12))
def test_merged_cues_show_at_each_moment_what_the_cues_show(spans):
    cues = [Cue(a, a + length, str(n)) for n, (a, length) in enumerate(sorted(spans))]
    merger, merged = CueMerger(), []
    for cue in cues:
        merged += merger.push(cue)
    merged += merger.flush()
    assert all(a.stop <= b.start for a, b in pairwise(merged))
    for time in range(75):
        now = [cue.text for cue in cues if cue.start <= time < cue.stop]
        found = [cue.text.split(r"\N") for cue in merged if cue.start <= time < cue.stop]
        assert found == ([now] if now else [])


def test_text_without_its_header_is_left_out_and_named(tmp_path):
    source = tmp_path / "s.mkv"
    plain = clips.make(tmp_path / "plain.mkv", 20)
    with av.open(str(plain)) as film, av.open(str(source), "w") as target:
        video = target.add_stream_from_template(film.streams.video[0])
        text: Any = target.add_mux_stream("ass")
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = video
                target.mux(packet)
        sample = av.Packet(b"0,0,Default,,0,0,0,,line")
        sample.stream, sample.time_base = text, Fraction(1, 1000)
        sample.pts, sample.dts, sample.duration = 0, 0, 300
        target.mux(sample)
    facts = probe.index_video(source).facts
    warnings = check_output(source, tmp_path / "o.mp4", facts, Encoding())
    assert len(warnings) == 1 and "(ssa)" in warnings[0] and "left out" in warnings[0]
    output, _, _ = joined(source, tmp_path, Encoding(), suffix=".mp4")
    assert len(clips.frames_of(output)) == 20
