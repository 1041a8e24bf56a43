"""The edit size that ``--size auto`` means, from the model folder's table to the result."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pil

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import ModelError
from ip2p_batch.jobs.spec import Job, Source
from ip2p_batch.media.images.reader import read_comment
from ip2p_batch.models import catalog
from ip2p_batch.models.edit_sizes import DEFAULT_EDIT_SIZES, EDIT_SIZES_FILE, EditSizes
from ip2p_batch.planning.recipes import recipe_for
from ip2p_batch.recipe import FIELDS, Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .clips import DEMO, images_of

sides = st.integers(1, 20_000)


@st.composite
def tables(draw):
    """The content of a valid file."""
    up_to = sorted(draw(st.sets(sides, min_size=1, max_size=6)))
    edit_sizes = sorted(
        draw(st.lists(st.integers(64, 4096), min_size=len(up_to), max_size=len(up_to)))
    )
    training_size = draw(st.integers(edit_sizes[-1], 4096))
    rows = [{"up_to": a, "edit_size": b} for a, b in zip(up_to, edit_sizes, strict=True)]
    return {"training_size": training_size, "sizes": rows}


def job(size, table=()):
    source = Source(path="/a", stamp="s", items=1)
    recipe = Recipe(instruction="x", size=size)
    return Job(id="j", source=source, recipe=recipe, output="/b", size_table=table)


def model(folder, *rows, training_size=256):
    """A model folder with nothing but a table of edit sizes."""
    folder.mkdir(exist_ok=True)
    sizes = [{"up_to": up_to, "edit_size": edit_size} for up_to, edit_size in rows]
    text = json.dumps({"training_size": training_size, "sizes": sizes})
    (folder / EDIT_SIZES_FILE).write_text(text)
    return folder


TWO_ROWS = ((720, 192), (4096, 256))


def smooth(path, width, height):
    """An image that survives a change of its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    x = np.linspace(0, 200, width, dtype=np.uint8)[None, :].repeat(height, 0)
    y = np.linspace(0, 200, height, dtype=np.uint8)[:, None].repeat(width, 1)
    Pil.fromarray(np.dstack([x, y, 128 + x // 4])).save(path)


class Shapes(IdentityEditor):
    """Inverts, and records the shapes of what it edits."""

    def __init__(self):
        self.shapes = []
        super().__init__(self._invert)

    def _invert(self, image):
        self.shapes.append(image.shape[:2])
        return 255 - image


def request(source, output, model_folder, **recipe):
    values = {"model": str(model_folder), "carryover": 0.0, "temporal_filter": 0, **recipe}
    return scheduler.EditRequest(
        source=source, output=output, recipe=Recipe(instruction="invert", **values)
    )


def finish(folder):
    editor = Shapes()
    events = list(scheduler.follow_job(folder, LocalExecutor(lambda _: editor)))
    assert events[-1].kind == "done", events[-1]
    return editor.shapes, events[-1]


# -- the table ----------------------------------------------------------------------------------


@given(tables(), sides, sides, sides)
def test_a_larger_source_is_never_edited_smaller_nor_above_the_training_size(
    tmp_path_factory, content, width, height, larger
):
    folder = tmp_path_factory.mktemp("model")
    (folder / EDIT_SIZES_FILE).write_text(json.dumps(content))
    edit_sizes = catalog.edit_sizes(str(folder))
    auto = job("auto", edit_sizes.table())
    size = auto.edit_size(width, height)
    assert size in {row["edit_size"] for row in content["sizes"]}
    assert size <= auto.edit_size(width + larger, height) <= edit_sizes.training_size
    assert size == auto.edit_size(height, width)


@pytest.mark.parametrize(
    ("side", "size"), [(1, 64), (100, 64), (101, 128), (200, 128), (201, 256), (9999, 256)]
)
def test_a_row_is_for_sources_up_to_its_side_and_the_last_for_larger_ones_too(side, size):
    assert job("auto", ((100, 64), (200, 128), (400, 256))).edit_size(side, 1) == size


@given(st.integers(64, 4096), sides, sides)
def test_a_size_in_pixels_is_the_edit_size_of_every_source(size, width, height):
    assert job(size).edit_size(width, height) == size


def test_a_model_without_a_table_edits_at_512_and_the_bundled_one_within_256(tmp_path):
    for name in ("timbrooks/instruct-pix2pix", "identity", str(tmp_path)):
        assert catalog.edit_sizes(name) == DEFAULT_EDIT_SIZES
    assert DEFAULT_EDIT_SIZES.table() == ((4096, 512),)
    assert catalog.edit_sizes("tiny").training_size == 256
    assert recipe_for("tiny").size == FIELDS["size"].default == "auto"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "truncated"),
        ("\xff", "malformed"),
        ("[]", "Expected `object`"),
        ('{"training_size": 256}', "missing required field `sizes`"),
        ('{"training_size": 256, "sizes": []}', "`sizes` has no row"),
        ('{"training_size": 32, "sizes": [{"up_to": 9, "edit_size": 64}]}', "training_size"),
        ('{"training_size": 256, "sizes": [{"up_to": 9, "edit_size": 512}]}', "above the training"),
        ('{"training_size": 256, "sizes": [{"up_to": 9, "edit_size": 63}]}', r"sizes\[0\]\.edit_"),
        ('{"training_size": 256, "sizes": [{"up_to": 9, "size": 64}]}', "unknown field `size`"),
        (
            '{"training_size": 256, "sizes": [{"up_to": 9, "edit_size": 64},'
            ' {"up_to": 9, "edit_size": 128}]}',
            "do not ascend",
        ),
        (
            '{"training_size": 256, "sizes": [{"up_to": 8, "edit_size": 128},'
            ' {"up_to": 9, "edit_size": 64}]}',
            "do not ascend",
        ),
    ],
)
def test_a_damaged_table_is_an_error_of_one_line_that_names_the_file(tmp_path, text, reason):
    path = tmp_path / "model" / EDIT_SIZES_FILE
    path.parent.mkdir()
    path.write_bytes(text.encode("latin-1"))
    smooth(tmp_path / "in" / "a.png", 80, 60)
    todo = request(tmp_path / "in", tmp_path / "out", path.parent)
    with pytest.raises(ModelError, match=reason) as caught:
        scheduler.prepare_job(todo)
    assert str(path) in caught.value.message and "\n" not in caught.value.message
    assert "--size" in caught.value.hint
    # The hint works: a size in pixels needs no table.
    explicit = msgspec.structs.replace(todo.recipe, size=64)
    prepared = scheduler.prepare_job(msgspec.structs.replace(todo, recipe=explicit))
    assert prepared.job.size_table == ()


def test_a_damaged_table_is_found_before_the_video_is_read(tmp_path):
    model(tmp_path / "model")
    stages = []
    with pytest.raises(ModelError, match="no row"):
        scheduler.prepare_job(request(DEMO, tmp_path / "o.mp4", tmp_path / "model"), stages.append)
    assert stages == []


def test_fine_tuning_at_a_larger_size_replaces_the_table():
    measured = msgspec.convert(
        {
            "training_size": 256,
            "sizes": [{"up_to": a, "edit_size": b} for a, b in TWO_ROWS],
            "measured": "here",
        },
        EditSizes,
    )
    assert measured.trained_at(256) is measured and measured.trained_at(64) is measured
    assert measured.trained_at(512) == EditSizes.unmeasured(512)
    assert EditSizes.unmeasured(512).table() == ((4096, 512),)


# -- jobs -----------------------------------------------------------------------------------------


def test_images_of_two_sizes_get_two_edit_sizes_and_keep_their_own(tmp_path, settings):
    source, out = tmp_path / "in", tmp_path / "out"
    smooth(source / "small.png", 300, 200)
    smooth(source / "large.png", 3000, 2000)
    smooth(source / "tall.png", 200, 300)
    folder = scheduler.create_job(
        request(source, out, model(tmp_path / "model", *TWO_ROWS)), settings
    )
    assert folder.plan().size == (256, 192) and not folder.plan().one_size
    (tmp_path / "model" / EDIT_SIZES_FILE).unlink()  # workers do not read it
    shapes, done = finish(folder)
    assert sorted(shapes) == [(128, 192), (176, 256), (192, 128)]
    for name, edit_size in (("small", 192), ("tall", 192), ("large", 256)):
        with Pil.open(source / f"{name}.png") as before, Pil.open(out / f"{name}.png") as after:
            assert before.size == after.size
            difference = 255 - np.asarray(before, float) - np.asarray(after, float)
        assert np.abs(difference).mean() < 2, name
        recorded = json.loads(read_comment(out / f"{name}.png"))["ip2p_batch"]
        assert recorded["size"] == edit_size, "so that the same edit can be repeated"
    expected = {"width": 256, "height": 192, "one_size": False, "auto": True, "detail": "source"}
    assert done.data["edit"] == expected
    assert msgspec.to_builtins(scheduler.read_result(folder).edit) == expected
    assert msgspec.to_builtins(scheduler.read_status(folder).edit) == expected


def test_a_video_is_edited_at_the_size_of_its_row(tmp_path, settings):
    folder_of_model = model(tmp_path / "model", (639, 64), (640, 128), (4096, 256))
    todo = request(DEMO, tmp_path / "out.mp4", folder_of_model, chunk_frames=48)
    folder = scheduler.create_job(msgspec.structs.replace(todo, end=0.4), settings)
    shapes, done = finish(folder)
    assert set(shapes) == {(72, 128)}
    assert done.data["edit"] == {
        "width": 128, "height": 72, "one_size": True, "auto": True, "detail": "source",
    }  # fmt: skip
    assert {image.shape for image in images_of(tmp_path / "out.mp4")} == {(360, 640, 3)}


def test_auto_and_its_size_in_pixels_give_the_same_result(tmp_path, settings):
    source = tmp_path / "in.png"
    smooth(source, 300, 200)
    folder_of_model = model(tmp_path / "model", *TWO_ROWS)
    for name, size in (("a.png", "auto"), ("b.png", 192)):
        todo = request(source, tmp_path / name, folder_of_model, size=size)
        finish(scheduler.create_job(todo, settings))
    with Pil.open(tmp_path / "a.png") as auto, Pil.open(tmp_path / "b.png") as explicit:
        assert np.array_equal(np.asarray(auto), np.asarray(explicit))


def test_a_changed_table_is_another_job_and_the_first_keeps_its_sizes(tmp_path, settings):
    source = tmp_path / "in"
    smooth(source / "a.png", 300, 200)
    smooth(source / "b.png", 1000, 800)
    folder_of_model = model(tmp_path / "model", *TWO_ROWS)
    todo = request(source, tmp_path / "out", folder_of_model)
    first = scheduler.create_job(todo, settings)
    assert scheduler.create_job(todo, settings).path == first.path
    model(folder_of_model, (720, 64), (4096, 256))
    assert sorted(finish(first)[0]) == [(128, 192), (208, 256)]
    second = scheduler.create_job(todo, settings)
    assert second.path != first.path
    assert second.job().fingerprint() != first.job().fingerprint()


def test_a_failed_image_that_is_fixed_gets_the_edit_size_of_its_own_size(tmp_path, settings):
    source = tmp_path / "in"
    smooth(source / "a.png", 300, 200)
    (source / "b.png").write_bytes(b"not an image")
    folder_of_model = model(tmp_path / "model", *TWO_ROWS)
    folder = scheduler.create_job(request(source, tmp_path / "out", folder_of_model), settings)
    assert finish(folder)[0] == [(128, 192)] and folder.plan().one_size
    smooth(source / "b.png", 3000, 1500)
    assert scheduler.retry_job(folder) == 1
    assert finish(folder)[0] == [(128, 256)]
    assert folder.plan().size == (256, 128) and not folder.plan().one_size


@pytest.mark.parametrize(("source", "side"), [("video", 192), ("images", 256)])
def test_the_reference_image_has_the_largest_edit_size_of_the_job(tmp_path, source, side):
    smooth(tmp_path / "reference.png", 500, 500)
    smooth(tmp_path / "in" / "a.png", 300, 200)
    smooth(tmp_path / "in" / "b.png", 800, 200)
    prepared = scheduler.prepare_job(
        request(
            DEMO if source == "video" else tmp_path / "in",
            tmp_path / "out.mp4",
            model(tmp_path / "model", *TWO_ROWS),
            reference_image=str(tmp_path / "reference.png"),
        )
    )
    path = Path(tmp_path / "kept.png")
    path.write_bytes(prepared.reference)
    with Pil.open(path) as kept:
        assert kept.size == (side, side)
