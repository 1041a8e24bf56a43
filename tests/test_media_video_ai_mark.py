"""The AI mark of videos, and the choice of metadata."""

import av
import pytest

from ip2p_batch.jobs.coding import Encoding

from .test_media_video_concat import joined
from .test_media_video_header_plan import APPLE, PLAIN, tagged, tags_of

MARK = b"digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_mp4_and_mov_state_that_they_were_edited_with_ai(tmp_path, suffix):
    source = tagged(tmp_path / "s.mp4", PLAIN)
    output, _, _ = joined(source, tmp_path, Encoding(), suffix=suffix)
    data = output.read_bytes()
    assert (MARK in data) == (suffix != ".mkv")
    if suffix != ".mkv":
        at = data.index(b"uuid\xbe\x7a\xcf\xcb") - 4
        assert at + int.from_bytes(data[at : at + 4], "big") == len(data)
    with av.open(str(output)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20
    unmarked, _, _ = joined(source, tmp_path, Encoding(mark_ai=False), suffix=suffix)
    assert MARK not in unmarked.read_bytes()


@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
def test_metadata_of_videos_can_be_left_out_in_part_or_in_full(tmp_path, suffix):
    source = tagged(tmp_path / "s.mov", APPLE | PLAIN, timecode="01:00:00:00")
    output, _, _ = joined(source, tmp_path, Encoding(metadata="no-gps"), suffix=suffix)
    found = tags_of(output)
    assert not any("location" in name for name in found) and b"+48.2" not in output.read_bytes()
    assert found["title"] == "Ein Titel" and found["timecode"] == "01:00:00:00"
    output, _, _ = joined(source, tmp_path, Encoding(metadata="none"), suffix=suffix)
    written = {"encoder", "duration", "major_brand", "minor_version", "compatible_brands"}
    assert set(tags_of(output)) <= written
    assert b"Ein Titel" not in output.read_bytes()
