"""360 degree and stereo metadata: kept where the container can hold it, else named."""

import struct

import av
import pytest

from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.jobs.video_facts import SpatialFacts
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.output import check_output
from ip2p_batch.media.video.spatial import spatial_template
from ip2p_batch.media.video.stream_copy import add_stream

from . import clips
from .test_media_video_concat import joined

SPHERE = SpatialFacts(projection=0, pose=(10 << 16, -5 << 16, 3 << 16))
CASES = {
    "sphere": SPHERE,
    "tile": SpatialFacts(projection=2, bounds=(1 << 30, 0, 1 << 29, 1 << 28)),
    "cubemap": SpatialFacts(projection=1, padding=4),
    "side by side": SpatialFacts(stereo=1),
    "stereo sphere": SpatialFacts(projection=0, pose=(90 << 16, 0, 0), stereo=2),
}


def spatial(path, folder, facts):
    """Write a video with spatial metadata."""
    plain = clips.make(folder / "plain.mp4", 8)
    options = {"strict": "unofficial"} if path.suffix == ".mp4" else {}
    with (
        av.open(str(plain)) as film,
        spatial_template(plain, facts) as template,
        av.open(str(path), "w", options=options) as target,
    ):
        assert template is not None
        stream = add_stream(target, template)  # type: ignore[arg-type]
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return path


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mkv", "h264"), (".mkv", "ffv1"), (".mp4", "h264"), (".mp4", "hevc")]
)
def test_projection_and_layout_are_kept(tmp_path, name, suffix, codec):
    source = spatial(tmp_path / "s.mkv", tmp_path, CASES[name])
    facts = probe.index_video(source).facts
    assert facts.spatial == CASES[name]
    encoding = Encoding(codec=codec)
    assert check_output(source, tmp_path / f"o{suffix}", facts, encoding) == []
    output, _, _ = joined(source, tmp_path, encoding, edges=(0, 3, 8), suffix=suffix)
    assert probe.index_video(output).facts.spatial == CASES[name]
    again, _, _ = joined(output, tmp_path, encoding, edges=(0, 8), suffix=".mkv")
    assert probe.index_video(again).facts.spatial == CASES[name]


def test_mp4_has_the_boxes_that_players_read(tmp_path):
    source = spatial(tmp_path / "s.mkv", tmp_path, SPHERE)
    output, _, _ = joined(source, tmp_path, Encoding(), edges=(0, 8), suffix=".mp4")
    data = output.read_bytes()
    pose = data.index(b"prhd") + 8
    assert struct.unpack_from(">3i", data, pose) == SPHERE.pose
    assert b"sv3d" in data and b"vexu" not in data


def test_an_ordinary_video_gets_no_such_box(tmp_path):
    source = clips.make(tmp_path / "s.mp4", 8)
    assert probe.index_video(source).facts.spatial is None
    output, _, _ = joined(source, tmp_path, Encoding(), edges=(0, 8), suffix=".mp4")
    data = output.read_bytes()
    assert not any(name in data for name in (b"sv3d", b"st3d", b"vexu"))


def test_what_the_container_cannot_hold_is_named(tmp_path):
    source = spatial(tmp_path / "s.mkv", tmp_path, CASES["stereo sphere"])
    facts = probe.index_video(source).facts
    for name in ("o.ts", "o.mov"):
        (warning,) = check_output(source, tmp_path / name, facts, Encoding())
        assert "360 degree (spherical" in warning and "stereo 3D" in warning
