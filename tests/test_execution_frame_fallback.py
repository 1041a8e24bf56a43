"""A frame without an image is replaced by a neighbour, and the user is warned."""

import av
import msgspec
import numpy as np
import pytest
import torch

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import EMPTY_CONTEXT, IdentityEditor
from ip2p_batch.editing.pix2pix import Pix2PixEditor
from ip2p_batch.errors import NotFinite
from ip2p_batch.execution import frame_fallback
from ip2p_batch.execution.frame_fallback import FrameFallback
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .clips import DEMO
from .jobs import image_job
from .tiny_pipelines import frames, pipeline

VIDEO = Recipe(
    instruction="x", model="identity", size=128, chunk_frames=10, carryover=0, temporal_filter=0
)


class LosingEditor(IdentityEditor):
    """Gives no image for some frames, by their numbers."""

    def __init__(self, *lost):
        super().__init__()
        self.lost = lost

    def session(self, recipe, context=EMPTY_CONTEXT, **options):
        session = super().session(recipe, context, **options)
        edit_all = session.edit

        def edit(batch, **own):
            edited = edit_all(batch, **own)
            good = [f for f in edited if f.index not in self.lost]
            if len(good) < len(edited):
                raise NotFinite("no image", edited=good)
            return edited

        session.edit = edit
        return session


def filled(lost, groups):
    """Numbers of the sources, and of the images that they got, over one chunk."""
    clip = {f.index: f for f in frames(sum(groups), 16, 16, first=50)}
    fallback = FrameFallback(LosingEditor(*lost).session(VIDEO))
    numbers, pairs = iter(sorted(clip)), []
    for size in groups:
        pairs += fallback.edit([clip[next(numbers)] for _ in range(size)])
    fallback.finish()
    found = {f.image.tobytes(): f.index for f in clip.values()}
    assert all(a.index == b.index and a.pts == b.pts for a, b in pairs)
    return [(a.index, found[b.image.tobytes()]) for a, b in pairs], fallback.notes


@pytest.mark.parametrize("groups", [[6], [1] * 6, [2, 4], [5, 1]])
def test_the_frame_before_or_the_first_image_replaces_a_gap(groups):
    pairs, notes = filled({50, 51, 54}, groups)
    assert pairs == [(50, 52), (51, 52), (52, 52), (53, 53), (54, 53), (55, 55)]
    assert sorted(notes) == [50, 51, 54]


def test_a_chunk_without_any_image_is_an_error():
    with pytest.raises(NotFinite):
        filled(range(50, 56), [2, 2, 2])


def test_only_so_many_frames_wait_for_the_first_image():
    fallback = FrameFallback(LosingEditor(*range(99)).session(VIDEO))
    clip = frames(frame_fallback._MAX_WAITING + 1, 8, 8)
    assert fallback.edit(clip[:-1]) == []
    with pytest.raises(NotFinite):
        fallback.edit(clip[-1:])


def test_the_source_of_a_replacement_is_that_of_its_edit():
    fallback = FrameFallback(LosingEditor(51).session(VIDEO))
    clip = frames(3, 16, 16, first=50)
    sources = [source for source, _ in fallback.edit(clip)]
    assert [source.index for source in sources] == [50, 51, 52]
    assert np.array_equal(sources[1].image, clip[0].image)
    assert not np.array_equal(sources[1].image, clip[1].image)


def test_a_video_is_finished_and_the_frames_are_named(tmp_path, settings):
    recipe = msgspec.structs.replace(VIDEO, detail="edit")
    request = scheduler.EditRequest(
        source=DEMO, output=tmp_path / "o.mkv", recipe=recipe, end=1.0,
        encoding=Encoding(codec="ffv1"),
    )  # fmt: skip
    folder = scheduler.create_job(request, settings)
    events = list(scheduler.follow_job(folder, LocalExecutor(lambda _: LosingEditor(4, 5, 9))))
    assert events[-1].kind == "done"
    with av.open(str(tmp_path / "o.mkv")) as container:
        shown = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(shown) == 25
    for number, picture in enumerate(shown[1:], 1):
        assert np.array_equal(picture, shown[number - 1]) == (number in (4, 5, 10))
    warnings = scheduler.read_result(folder).warnings
    # Frame 9 is the first of its chunk, so the next frame replaces it.
    assert [w for w in warnings if "image" in w] == [
        "Frames 4-5 gave no finite image; a neighbour replaces it.",
        "Frame 9 gave no finite image; a neighbour replaces it.",
    ]


def test_a_video_whose_vae_overflows_is_finished_with_a_warning(tmp_path, settings):
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.bfloat16)
    owner.pipe.vae.decoder.register_forward_hook(overflow)
    recipe = Recipe(
        instruction="x", model="identity", size=64, chunk_frames=10, num_inference_steps=3,
        temporal_filter=1, carryover=0.7,
    )  # fmt: skip
    request = scheduler.EditRequest(source=DEMO, output=tmp_path / "o.mp4", recipe=recipe, end=0.3)
    folder = scheduler.create_job(request, settings)
    assert list(scheduler.follow_job(folder, LocalExecutor(lambda _: owner)))[-1].kind == "done"
    assert scheduler.read_result(folder).warnings == (
        "Frames 0-7 came out not finite (black) in bfloat16; decoded again in float32.",
    )
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert min(f.to_ndarray(format="rgb24").std() for f in container.decode(video=0)) > 8


def overflow(module, arguments, output):
    """Make a VAE return only NaN in half precision."""
    return output if output.dtype == torch.float32 else torch.full_like(output, float("nan"))


# -- images -------------------------------------------------------------------------------


def test_an_image_without_a_result_is_named_and_the_others_are_written(tmp_path):
    job = image_job(tmp_path, 4, each=4)
    events = list(scheduler.follow_job(job, LocalExecutor(lambda _: LosingEditor(2))))
    assert events[-1].kind == "done"
    result = scheduler.read_result(job)
    assert result.frames == 3
    ((path, why),) = result.failed
    assert path == str(tmp_path / "in" / "2.png") and "no finite image" in why
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["0.png", "1.png", "3.png"]


def test_an_image_that_was_recovered_is_named_by_its_path(tmp_path):
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.bfloat16)
    owner.pipe.vae.decoder.register_forward_hook(overflow)
    job = image_job(tmp_path, 1)
    list(scheduler.follow_job(job, LocalExecutor(lambda _: owner)))
    assert scheduler.read_result(job).warnings == (
        f"{tmp_path / 'in' / '0.png'}: came out not finite (black) in bfloat16;"
        " decoded again in float32",
    )
