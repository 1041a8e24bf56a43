"""The picture that frames look at: from a still or a video, whole, and no other."""

import av
import numpy as np
import pytest
from PIL import Image as Pil

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import EditError, SourceError
from ip2p_batch.media.reference_image import (
    digest,
    load_reference_image,
    read_reference_image,
    to_png,
)
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor
from tests.test_scheduler import DEMO


def photo(path, size=(300, 200), seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    Pil.fromarray(pixels).resize(size, Pil.Resampling.BICUBIC).save(path)
    return path


def test_a_picture_is_brought_to_the_size_of_the_edit(tmp_path):
    look = read_reference_image(photo(tmp_path / "reference.png"), 128)
    assert look.dtype == np.uint8 and max(look.shape[:2]) == 128
    assert all(side % 8 == 0 for side in look.shape[:2])


def test_of_a_video_the_middle_frame_counts():
    look = read_reference_image(DEMO, 128)
    with av.open(str(DEMO)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    small = [Pil.fromarray(frame).resize(look.shape[1::-1], Pil.Resampling.BOX) for frame in shown]
    gaps = [np.abs(np.asarray(frame).astype(float) - look).mean() for frame in small]
    assert int(np.argmin(gaps)) == len(shown) // 2


def test_a_folder_is_refused_with_the_way_out(tmp_path):
    photo(tmp_path / "a.png")
    with pytest.raises(SourceError, match="is no picture and no video") as caught:
        read_reference_image(tmp_path, 128)
    assert "--reference-image" in caught.value.hint


def test_what_is_kept_comes_back_to_the_bit_and_nothing_else_does(tmp_path):
    look = read_reference_image(photo(tmp_path / "reference.png"), 128)
    kept = tmp_path / "kept.png"
    kept.write_bytes(to_png(look))
    assert np.array_equal(load_reference_image(kept, digest(look)), look)
    with pytest.raises(EditError, match="not the picture"):
        load_reference_image(kept, digest(255 - look))
    kept.write_bytes(to_png(look)[:-40])
    with pytest.raises(EditError, match="cannot be read"):
        load_reference_image(kept, digest(look))


class Seen(IdentityEditor):
    """Notes the looks that its sessions are given."""

    def __init__(self):
        super().__init__(lambda image: 255 - image)
        self.looks = []

    def session(self, recipe, **options):
        session = super().session(recipe, **options)
        session.look = self.looks.append
        return session


def test_every_chunk_gets_the_look_from_the_job_folder_though_its_file_is_gone(tmp_path, settings):
    path = photo(tmp_path / "reference.png")
    look = read_reference_image(path, 128)
    recipe = Recipe(instruction="invert", model="identity", size=128, reference_image=str(path))
    (tmp_path / "in").mkdir()
    photo(tmp_path / "in" / "a.png", seed=1)
    photo(tmp_path / "in" / "b.png", size=(100, 200), seed=2)
    request = scheduler.EditRequest(source=tmp_path / "in", output=tmp_path / "out", recipe=recipe)
    folder = scheduler.create_job(request, settings)
    path.unlink()
    editor = Seen()
    events = list(scheduler.follow_job(folder, LocalExecutor(lambda _: editor)))
    assert events[-1].kind == "done", events[-1]
    assert len(editor.looks) == len(folder.plan().chunks) == 2
    assert all(np.array_equal(found, look) for found in editor.looks)


def test_another_look_is_another_job(tmp_path, settings):
    ids = set()
    for seed in (1, 2):
        path = photo(tmp_path / "reference.png", seed=seed)
        recipe = Recipe(instruction="invert", model="identity", size=128, reference_image=str(path))
        request = scheduler.EditRequest(source=DEMO, output=tmp_path / "out.mp4", recipe=recipe)
        ids.add(scheduler.prepare_job(request).job.id)
    assert len(ids) == 2
