"""Limits on one input: their values, error messages and environment variables."""

from pathlib import Path

import pytest

from ip2p_batch.errors import RecipeError, SourceError
from ip2p_batch.media import limits
from ip2p_batch.media.images.reader import read_still
from ip2p_batch.media.video import probe

from . import clips, pictures


def test_an_input_at_the_limit_passes_and_one_above_does_not(monkeypatch):
    monkeypatch.setenv("IP2P_MAX_PIXELS", "100")
    limits.PIXELS.check(100, Path("a.png"), "10x10 is")
    with pytest.raises(SourceError) as caught:
        limits.PIXELS.check(101, Path("a.png"), "101x1 is")
    assert caught.value.message == (
        "a.png: 101x1 is 101 pixels, more than the limit of 100 (IP2P_MAX_PIXELS)"
    )
    assert "set IP2P_MAX_PIXELS higher" in caught.value.hint


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1e-9", "many", "٣", "9" * 5000])
def test_a_limit_that_is_not_a_number_is_refused_with_its_name(text, monkeypatch):
    monkeypatch.setenv("IP2P_MAX_PIXELS", text)
    with pytest.raises(RecipeError, match="IP2P_MAX_PIXELS is"):
        limits.PIXELS.value()


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("1e9", 10**9), ("", 200_000_000)])
def test_a_limit_is_read_from_its_variable(text, value, monkeypatch):
    monkeypatch.setenv("IP2P_MAX_PIXELS", text)
    found = limits.PIXELS.value()
    assert (found, type(found)) == (value, int)


def test_the_environment_lowers_and_raises_the_limit_of_images(tmp_path, monkeypatch):
    path = pictures.save(tmp_path / "a.png")
    monkeypatch.setenv("IP2P_MAX_PIXELS", "1000")
    with pytest.raises(SourceError, match="48x32 is 1 536 pixels"):
        read_still(path)
    monkeypatch.setenv("IP2P_MAX_PIXELS", "1536")
    assert read_still(path).image.shape == (32, 48, 3)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("IP2P_MAX_FRAME_PIXELS", "4000", "its frames are 64x64, 4 096 pixels"),
        ("IP2P_MAX_FRAMES", "19", "it has at least 20 frames"),
        ("IP2P_MAX_STREAMS", "1", "it has 2 streams"),
    ],
)
@pytest.mark.parametrize("scenes", [True, False])
def test_a_video_over_a_limit_is_refused(variable, value, message, scenes, tmp_path, monkeypatch):
    path = clips.make(tmp_path / "a.mp4", audio="aac")
    assert probe.index_video(path, scenes=scenes).facts.frames == 20
    monkeypatch.setenv(variable, value)
    with pytest.raises(SourceError, match=message):
        probe.index_video(path, scenes=scenes)
    monkeypatch.setenv(variable, "4096")
    assert probe.index_video(path, scenes=scenes).facts.frames == 20


def test_every_limit_is_documented():
    page = Path(__file__).parents[1] / "docs" / "deploy.md"
    text = page.read_text()
    for limit in limits.ALL:
        assert limit.variable in text
        assert f"{limit.default:,}".replace(",", " ") in text
