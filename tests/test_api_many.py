"""The Python API for several sources in one call."""

import pytest
from PIL import Image as Pil

import ip2p_batch
from ip2p_batch.queue.private_redis import PrivateRedis

from . import clips
from .clips import images_of

COPY = ip2p_batch.recipe_for("identity", size=64, carryover=0.0, temporal_filter=0)


@pytest.fixture
def day(tmp_path):
    """A folder with a video, an image and a broken one of each."""
    folder = tmp_path / "day"
    folder.mkdir()
    clips.make(folder / "clip.mp4", 6)
    Pil.new("RGB", (64, 48), (90, 120, 30)).save(folder / "still.png")
    (folder / "broken.jpg").write_text("text")
    (folder / "broken.mp4").write_text("text")
    return folder


def edit(sources, **options):
    editor = ip2p_batch.IdentityEditor()
    return ip2p_batch.edit_many(sources, "copy", recipe=COPY, editor=editor, **options)


def test_a_mixed_folder_is_edited_and_failures_are_returned(day, tmp_path):
    kinds = []
    done = edit([day], output=tmp_path / "out", progress=lambda e: kinds.append(e.kind))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["clip.mp4", "still.png"]
    assert len(images_of(tmp_path / "out/clip.mp4")) == 6
    assert [result.frames for result in done.results] == [1, 6]
    assert {path for path, _ in done.failed} == {str(day / f"broken.{s}") for s in ("jpg", "mp4")}
    assert kinds.count("done") == 2
    again = edit([day], output=tmp_path / "out")
    assert again.skipped == 2
    assert sum(result.frames for result in again.results) == 0


def test_several_sources_are_edited_next_to_themselves(day):
    done = edit([day / "clip.mp4", day / "still.png"])
    assert not done.failed
    assert (day / "clip-edited.mp4").is_file() and (day / "still-edited.png").is_file()


def test_the_plan_of_several_sources_writes_nothing(day, tmp_path):
    jobs = ip2p_batch.plan_many([day], "copy", recipe=COPY, output=tmp_path / "out")
    assert [prepared.plan.frames for prepared in jobs.made] == [1, 6]
    assert [source.path for source in jobs.refused] == [str(day / "broken.mp4")]
    assert not (tmp_path / "out").exists()


def test_edit_of_a_mixed_folder_names_the_videos_that_it_leaves_out(day, tmp_path):
    prepared = ip2p_batch.plan(day, "copy", recipe=COPY, output=tmp_path / "out")
    assert any("2 videos" in w and "edit_many" in w for w in prepared.plan.warnings)


def test_several_sources_can_be_submitted_to_a_broker(day, tmp_path):
    with pytest.raises(ip2p_batch.BrokerError, match="broker"):
        ip2p_batch.submit_many([day], "copy", recipe=COPY)
    with PrivateRedis() as redis:
        jobs = ip2p_batch.submit_many(
            [day], "copy", recipe=COPY, output=tmp_path / "out", broker=redis.url
        )
        assert [handle.status().total for handle in jobs.made] == [1, 6]
        assert all(handle.folder.dispatch.started for handle in jobs.made)


def test_an_empty_output_is_refused(day):
    with pytest.raises(ip2p_batch.OutputError, match="empty name"):
        edit([day], output="")
