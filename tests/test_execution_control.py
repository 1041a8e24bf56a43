"""Control nets in the chunks of a job: borders, anchors and frames, by a real model."""

import pytest

from ip2p_batch.execution.chunk import process_chunk
from ip2p_batch.jobs.plan import BorderChunk
from ip2p_batch.jobs.records import WorkerInfo
from ip2p_batch.recipe import Recipe
from ip2p_batch.recipe_parts import Control
from ip2p_batch.scheduler import EditRequest, create_job
from workers.editor_cache import EditorCache

from . import clips
from .control_nets import adapter, control_net
from .tiny_pipelines import pipeline

WORKER = WorkerInfo(host="here", pid=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder with a ControlNet, an adapter, and a new ControlNet, which adds nothing."""
    folder = tmp_path_factory.mktemp("model")
    pipeline().save_pretrained(folder)
    control_net().save_pretrained(folder / "control/canny")
    adapter().save_pretrained(folder / "adapter/blur")
    control_net(zero=True).save_pretrained(folder / "control/luminance")
    return folder


@pytest.fixture(scope="module")
def editors():
    """Loaded models, by worker."""
    return {}


@pytest.fixture
def digests(tmp_path, settings, model, editors):
    """Edits a video of two chunks with an anchor; the digests of borders and segments."""
    clip = clips.make(tmp_path / "clip.mp4", 8)

    def run(*kinds, worker=0, order=1):
        cache = editors.setdefault(worker, EditorCache(settings))
        recipe = Recipe(
            instruction="x",
            model=str(model),
            control=tuple(Control(kind=kind, scale=1.0) for kind in kinds),
            size=64,
            num_inference_steps=3,
            guidance_scale=3.0,
            chunk_frames=4,
            carryover=0.5,
            anchors=1,
            detail="edit",
            temporal_filter=0,
        )
        output = tmp_path / f"{'-'.join(kinds)}-{worker}.mp4"
        job = create_job(EditRequest(source=clip, output=output, recipe=recipe), settings)
        borders, others = [], []
        for chunk in job.plan().chunks:
            (borders if isinstance(chunk, BorderChunk) else others).append(chunk)
        return {
            chunk.id: process_chunk(job, chunk, editor_for=cache.get, worker=WORKER).digest
            for chunk in (*borders, *others[::order])
        }

    return run


def test_new_nets_leave_every_bit_of_a_video_and_others_change_each_chunk(digests):
    plain, new = digests(), digests("luminance")
    assert len(plain) >= 3
    assert new == plain
    other = digests("canny")
    assert all(other[chunk] != digest for chunk, digest in plain.items())


def test_two_workers_that_take_chunks_in_another_order_give_equal_files(digests):
    assert digests("canny", "blur", order=1) == digests("canny", "blur", worker=1, order=-1)
