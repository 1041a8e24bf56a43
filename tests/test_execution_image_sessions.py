"""Images of one job with steps and scales of their own."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image as Pillow

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import EMPTY_CONTEXT, IdentityEditor
from ip2p_batch.planning.cost import cost
from ip2p_batch.planning.recipes import recipe_for
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor
from workers.editor_cache import editor_for

from .pictures import save, scene

RECIPE = recipe_for(
    "tiny", "make it night", size=64, num_inference_steps=2, detail="edit", dtype="float32"
)
OWN: dict[str, dict[str, Any]] = {
    "a.png": {"num_inference_steps": 3},
    "b.png": {"guidance_scale": 4.0, "image_guidance_scale": 1.0},
    "c.png": {},
}


def run(source, output, settings, recipe, find):
    request = scheduler.EditRequest(source=source, output=output, recipe=recipe)
    folder = scheduler.create_job(request, settings)
    assert list(scheduler.follow_job(folder, LocalExecutor(find)))[-1].kind == "done"
    return folder


@pytest.fixture
def table(tmp_path):
    rows = []
    for name, own in OWN.items():
        save(tmp_path / name, scene(64, 64))
        rows.append(json.dumps({"path": name, **own}))
    (tmp_path / "list.jsonl").write_text("\n".join(rows))
    return tmp_path / "list.jsonl"


def test_an_image_with_own_steps_and_scales_equals_a_job_with_these_options(
    tmp_path, settings, table
):
    editor = editor_for(RECIPE, settings)
    run(table, tmp_path / "out", settings, RECIPE, lambda _: editor)
    results = {}
    for name, own in OWN.items():
        recipe = msgspec.structs.replace(RECIPE, **own)
        run(tmp_path / name, tmp_path / "alone" / name, settings, recipe, lambda _: editor)
        with Pillow.open(tmp_path / "out" / name) as image:
            results[name] = np.asarray(image)
            recorded = json.loads(image.text["ip2p-batch"])["ip2p_batch"]  # type: ignore[attr-defined]
        assert recorded.items() >= own.items()
        assert np.array_equal(results[name], np.asarray(Pillow.open(tmp_path / "alone" / name)))
    assert len({image.tobytes() for image in results.values()}) == 3


class RecordingEditor(IdentityEditor):
    """Records the recipe of each session, and how many images each call edits."""

    def __init__(self):
        super().__init__()
        self.recipes = []

    def session(self, recipe, context=EMPTY_CONTEXT, **options):
        self.recipes.append(recipe)
        return super().session(recipe, context, **options)


def test_images_of_equal_steps_and_scales_share_chunks_and_sessions(tmp_path, settings):
    rows = []
    for number in range(6):
        save(tmp_path / f"{number}.png", scene(64, 64))
        rows.append(f"{number}.png,{'40' if number % 2 else ''}")
    (tmp_path / "list.csv").write_text("\n".join(["path,num_inference_steps", *rows]))
    editor = RecordingEditor()
    recipe = Recipe(instruction="x", model="identity", size=64)
    folder = run(tmp_path / "list.csv", tmp_path / "out", settings, recipe, lambda _: editor)
    plan, job = folder.plan(), folder.job()
    assert [(c.start, c.stop, c.steps) for c in plan.chunks] == [(0, 3, 20), (3, 6, 40)]
    shares = [cost(job, plan, chunk) for chunk in plan.chunks]
    assert shares[1] == pytest.approx(shares[0] * 41 / 21)
    assert {r.num_inference_steps for r in editor.recipes} == {20, 40}


def test_another_scale_in_a_row_is_another_job(tmp_path, settings, table):
    first = run(table, tmp_path / "out", settings, RECIPE, lambda _: IdentityEditor()).job()
    table.write_text(table.read_text().replace("4.0", "5.0"))
    request = scheduler.EditRequest(source=table, output=tmp_path / "out2", recipe=RECIPE)
    assert scheduler.create_job(request, settings).job().fingerprint() != first.fingerprint()
