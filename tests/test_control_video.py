"""A video with a control net: the segments do not depend on which worker edits which chunk."""

import pytest

from ip2p_batch.editing.editor import Editor
from ip2p_batch.editing.loading import load_editor
from ip2p_batch.execution.chunk import process_chunk
from ip2p_batch.execution.worker_cache import WorkerCache
from ip2p_batch.jobs.records import WorkerInfo
from ip2p_batch.recipe import Recipe
from ip2p_batch.recipe_parts import Control
from ip2p_batch.scheduler import EditRequest, create_job

from . import clips
from .control_nets import control_net
from .tiny_pipelines import pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder of random weights with a ControlNet for edges."""
    folder = tmp_path_factory.mktemp("models") / "model"
    pipeline().save_pretrained(folder)
    control_net().save_pretrained(folder / "control/canny")
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return clips.make(tmp_path_factory.mktemp("clip") / "clip.mp4", 9)


def digests(folder, settings, clip, model, *, workers=1, **net):
    """Edit a job's chunks with so many workers in turn; the digests of the chunks' files."""
    recipe = Recipe(
        instruction="make it night",
        model=str(model),
        size=64,
        num_inference_steps=3,
        guidance_scale=3,
        chunk_frames=4,
        carryover=0.5,
        temporal_filter=1,
        batch_size=2,
        dtype="float32",
        control=(Control(kind="canny", **net),),
    )
    request = EditRequest(source=clip, output=folder / f"{workers}-{net}.mp4", recipe=recipe)
    job = create_job(request, settings)
    editors = [load_editor(str(model), device="cpu", dtype="float32") for _ in range(workers)]
    caches = [WorkerCache(threads=1 + n % 2) for n in range(workers)]
    found = {}
    plan = job.plan()
    waves = [[c for c in plan.chunks if c.wave == wave] for wave in range(1, plan.waves + 1)]
    # Several workers also take the chunks of a wave in another order.
    ordered = [chunk for wave in waves for chunk in (wave if workers == 1 else wave[::-1])]
    for n, chunk in enumerate(ordered):

        def editor_for(_: Recipe, turn: int = n % workers) -> Editor:
            return editors[turn]

        receipt = process_chunk(
            job,
            chunk,
            editor_for=editor_for,
            worker=WorkerInfo(host="here", pid=n),
            worker_cache=caches[n % workers],
        )
        found[chunk.id] = receipt.digest
    return found


def test_one_two_and_four_workers_write_the_same_segments(tmp_path, settings, clip, model):
    one = digests(tmp_path, settings, clip, model)
    assert len(one) == 7
    assert digests(tmp_path, settings, clip, model, workers=2) == one
    assert digests(tmp_path, settings, clip, model, workers=4) == one
    without = digests(tmp_path, settings, clip, model, scale=0)
    assert all(without[name] != one[name] for name in one)
