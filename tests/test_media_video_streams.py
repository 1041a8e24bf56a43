"""The video stream to edit: the default one, the largest, or the one that is asked for."""

from pathlib import Path

import av
import pytest

from ip2p_batch.errors import RecipeError, SourceError
from ip2p_batch.jobs.coding import Decoding
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.reader import VideoReader
from ip2p_batch.planning.prepare import prepare_job
from ip2p_batch.planning.request import EditRequest
from ip2p_batch.recipe import Recipe
from tests import clips

SMALL, LARGE = (48, 32), (96, 64)


def several(path: Path, sizes, defaults, folder: Path) -> Path:
    """Write a file with a video stream of each size, flagged as default or not."""
    parts = [
        clips.make(folder / f"{n}.mkv", 4, size=size, image=lambda i, w, h: clips.picture(i, w, h))
        for n, size in enumerate(sizes)
    ]
    with av.open(str(path), "w") as target:
        opened = [av.open(str(part)) for part in parts]
        streams = [target.add_stream_from_template(part.streams.video[0]) for part in opened]
        for stream, flag in zip(streams, defaults, strict=True):
            stream.disposition = type(stream.disposition)(int(flag))
        for part, stream in zip(opened, streams, strict=True):
            for packet in part.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    target.mux(packet)
            part.close()
    return path


@pytest.mark.parametrize(
    ("sizes", "defaults", "chosen"),
    [
        ((SMALL, LARGE), (False, True), 1),
        ((SMALL, LARGE), (True, False), 0),
        ((SMALL, LARGE), (True, True), 1),
        ((SMALL, LARGE), (False, False), 1),
        ((LARGE, LARGE), (True, True), 0),
    ],
)
def test_the_stream_is_the_default_one_then_the_largest(tmp_path, sizes, defaults, chosen):
    path = several(tmp_path / "two.mkv", sizes, defaults, tmp_path)
    facts = probe.index_video(path).facts
    assert (facts.stream, facts.width, facts.height) == (chosen, *sizes[chosen])


@pytest.mark.parametrize("index", [0, 1])
def test_a_stream_that_is_asked_for_is_the_one_that_is_read(tmp_path, index):
    path = several(tmp_path / "two.mp4", (SMALL, LARGE), (False, True), tmp_path)
    found = probe.index_video(path, decoding=Decoding(stream=index))
    assert (found.facts.width, found.facts.height) == (SMALL, LARGE)[index]
    with VideoReader(path, found.facts, found.pts, found.ids) as reader:
        image = reader.frame(3).image
    assert image.shape[:2] == (SMALL, LARGE)[index][::-1] and clips.number(image) == 3


def test_a_stream_that_is_no_video_stream_is_refused_with_a_list(tmp_path):
    path = several(tmp_path / "two.mkv", (SMALL, LARGE), (False, True), tmp_path)
    with pytest.raises(SourceError, match=r"stream 2 is not a video stream") as caught:
        probe.index_video(path, decoding=Decoding(stream=2))
    assert "0 (h264, 48x32), 1 (h264, 96x64)" in str(caught.value.hint)


def test_the_stream_is_part_of_the_job_and_of_its_fingerprint(tmp_path):
    path = several(tmp_path / "two.mp4", (SMALL, LARGE), (False, True), tmp_path)
    recipe = Recipe(instruction="make it snow", model="identity", size=64)

    def job(decoding: Decoding):
        request = EditRequest(
            source=path, recipe=recipe, output=tmp_path / "o.mp4", decoding=decoding
        )
        return prepare_job(request).job

    small, large = job(Decoding(stream=0)), job(Decoding())
    assert (small.decoding.stream, large.decoding.stream) == (0, None)
    assert small.fingerprint() != large.fingerprint()


def test_options_of_the_source_are_refused_for_images(tmp_path):
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    recipe = Recipe(instruction="make it snow", model="identity", size=64)
    request = EditRequest(source=tmp_path / "a.png", recipe=recipe, decoding=Decoding(stream=0))
    with pytest.raises(RecipeError, match="under Source"):
        prepare_job(request)
