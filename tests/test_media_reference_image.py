"""The reference image: from an image or a video, kept in the job folder."""

import av
import numpy as np
import pytest
from PIL import Image as Pil

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import EMPTY_CONTEXT, IdentityEditor
from ip2p_batch.errors import EditError, SourceError
from ip2p_batch.media.reference_image import (
    digest,
    load_reference_image,
    read_reference_image,
    to_png,
)
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .clips import DEMO


def photo(path, size=(300, 200), seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    Pil.fromarray(pixels).resize(size, Pil.Resampling.BICUBIC).save(path)
    return path


def test_an_image_is_brought_to_the_size_of_the_edit(tmp_path):
    image = read_reference_image(photo(tmp_path / "reference.png"), 128)
    assert image.dtype == np.uint8 and max(image.shape[:2]) == 128
    assert all(side % 8 == 0 for side in image.shape[:2])


def test_the_middle_frame_of_a_video_is_used():
    image = read_reference_image(DEMO, 128)
    with av.open(str(DEMO)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    small = [Pil.fromarray(frame).resize(image.shape[1::-1], Pil.Resampling.BOX) for frame in shown]
    gaps = [np.abs(np.asarray(frame).astype(float) - image).mean() for frame in small]
    assert int(np.argmin(gaps)) == len(shown) // 2


def test_a_folder_is_refused_with_the_remedy(tmp_path):
    photo(tmp_path / "a.png")
    with pytest.raises(SourceError, match="neither an image nor a video") as caught:
        read_reference_image(tmp_path, 128)
    assert "--reference-image" in caught.value.hint


def test_the_kept_image_is_bit_identical_and_no_other_is_accepted(tmp_path):
    image = read_reference_image(photo(tmp_path / "reference.png"), 128)
    kept = tmp_path / "kept.png"
    kept.write_bytes(to_png(image))
    assert np.array_equal(load_reference_image(kept, digest(image)), image)
    with pytest.raises(EditError, match="not the reference image"):
        load_reference_image(kept, digest(255 - image))
    kept.write_bytes(to_png(image)[:-40])
    with pytest.raises(EditError, match="cannot be read"):
        load_reference_image(kept, digest(image))


class RecordingEditor(IdentityEditor):
    """Records the contexts of its sessions."""

    def __init__(self):
        super().__init__(lambda image: 255 - image)
        self.contexts = []

    def session(self, recipe, context=EMPTY_CONTEXT, **options):
        self.contexts.append(context)
        return super().session(recipe, context, **options)


def test_every_chunk_gets_the_reference_image_from_the_job_folder(tmp_path, settings):
    path = photo(tmp_path / "reference.png")
    image = read_reference_image(path, 128)
    recipe = Recipe(instruction="invert", model="identity", size=128, reference_image=str(path))
    (tmp_path / "in").mkdir()
    photo(tmp_path / "in" / "a.png", seed=1)
    photo(tmp_path / "in" / "b.png", size=(100, 200), seed=2)
    request = scheduler.EditRequest(source=tmp_path / "in", output=tmp_path / "out", recipe=recipe)
    folder = scheduler.create_job(request, settings)
    path.unlink()
    editor = RecordingEditor()
    events = list(scheduler.follow_job(folder, LocalExecutor(lambda _: editor)))
    assert events[-1].kind == "done", events[-1]
    assert len(editor.contexts) == len(folder.plan().chunks) == 2
    assert all(np.array_equal(c.reference_image, image) for c in editor.contexts)


def test_another_reference_image_is_another_job(tmp_path, settings):
    ids = set()
    for seed in (1, 2):
        path = photo(tmp_path / "reference.png", seed=seed)
        recipe = Recipe(instruction="invert", model="identity", size=128, reference_image=str(path))
        request = scheduler.EditRequest(source=DEMO, output=tmp_path / "out.mp4", recipe=recipe)
        ids.add(scheduler.prepare_job(request).job.id)
    assert len(ids) == 2
