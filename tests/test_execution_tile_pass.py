"""The tile pass in a job: after the transfer, in both kinds of sources, with any editor."""

from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image as Pillow

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import EMPTY_CONTEXT, IdentityEditor
from ip2p_batch.errors import NotFinite
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.planning.cost import cost
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .clips import DEMO, first_planes, images_of, make_deep
from .transfer_images import photo

TILES = Recipe(
    instruction="x", model="identity", size=64, detail="tiles", carryover=0, temporal_filter=0
)


class TileEditor(IdentityEditor):
    """Its tile pass inverts results, or draws them; it gives no image for the frames ``lost``."""

    def __init__(self, *lost, draw=lambda start: 255 - start):
        super().__init__()
        self.lost = lost
        self.draw = draw
        self.seen = []

    def session(self, recipe, context=EMPTY_CONTEXT, **options):
        session: Any = super().session(recipe, context, **options)

        def refine(pairs, options, *, overrides=None):
            ((source, start),) = pairs
            self.seen.append((source, start, options, overrides))
            if source.index in self.lost:
                raise NotFinite("no image", edited=[])
            return [source.with_image(self.draw(start.image))]

        session.refine = refine
        return session


class PlainSession:
    """A session without a tile pass."""

    def __init__(self, session):
        self._session = session

    def __getattr__(self, name):
        if name == "refine":
            raise AttributeError(name)
        return getattr(self._session, name)


class PlainEditor(IdentityEditor):
    def session(self, recipe, context=EMPTY_CONTEXT, **options):
        return PlainSession(super().session(recipe, context, **options))


def run(source, output, settings, editor, recipe=TILES, **options):
    request = scheduler.EditRequest(source=source, output=output, recipe=recipe, **options)
    folder = scheduler.create_job(request, settings)
    return folder, list(scheduler.follow_job(folder, LocalExecutor(lambda _: editor)))


def test_every_frame_of_a_video_is_drawn_again_at_full_size(tmp_path, settings):
    editor = TileEditor()
    output = tmp_path / "o.mkv"
    _, events = run(DEMO, output, settings, editor, end=0.2, encoding=Encoding(codec="ffv1"))
    assert events[-1].kind == "done"
    sources = images_of(DEMO)
    for number, shown in enumerate(images_of(output)):
        assert np.abs(shown.astype(int) - (255 - sources[number])).mean() < 3
    assert [source.index for source, *_ in editor.seen] == [0, 1, 2, 3, 4]


def test_a_frame_that_the_tile_pass_loses_keeps_its_transferred_edit(tmp_path, settings):
    output = tmp_path / "o.mkv"
    folder, _ = run(DEMO, output, settings, TileEditor(2), end=0.2, encoding=Encoding(codec="ffv1"))
    third = images_of(output)[2].astype(int)
    assert np.abs(third - images_of(DEMO)[2]).mean() < 3
    warnings = scheduler.read_result(folder).warnings
    assert "Frame 2 gave no finite image in the tile pass and skips it." in warnings


def test_an_image_is_drawn_with_its_own_instruction(tmp_path, settings):
    Pillow.fromarray(photo(200, 300)).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("path,instruction\na.png,make it a sketch\n")
    editor = TileEditor()
    run(tmp_path / "list.csv", tmp_path / "out", settings, editor)
    ((source, start, options, (own,)),) = editor.seen
    assert source.image.shape == start.image.shape == (200, 300, 3)
    assert own.instruction == "make it a sketch"
    assert (options.size, options.overlap) == (512, 64), "the model's training size"
    result = np.asarray(Pillow.open(tmp_path / "out" / "a.png"))
    assert np.abs(result.astype(int) - (255 - start.image)).mean() < 1


def test_the_tile_pass_sees_the_mask_and_the_source_is_pasted_after_it(tmp_path, settings):
    mask = np.zeros((360, 640), np.uint8)
    mask[:, 400:] = 255
    Pillow.fromarray(mask).save(tmp_path / "m.png")
    recipe = msgspec.structs.replace(TILES, mask=str(tmp_path / "m.png"), mask_feather=0)
    Pillow.fromarray(images_of(DEMO)[0]).save(tmp_path / "a.png")
    for source, output in ((DEMO, tmp_path / "o.mkv"), (tmp_path / "a.png", tmp_path / "o.png")):
        editor = TileEditor()
        options = {"end": 0.05, "encoding": Encoding(codec="ffv1")} if source == DEMO else {}
        run(source, output, settings, editor, recipe, **options)
        shown = images_of(output)[0] if source == DEMO else np.asarray(Pillow.open(output))
        seen, start, *_ = editor.seen[0]
        assert np.array_equal(shown[:, :400], seen.image[:, :400])
        assert np.abs(shown[:, 410:].astype(int) - (255 - start.image[:, 410:])).mean() < 3
        assert np.array_equal(seen.mask, mask)
        assert np.array_equal(start.image[:, :400], seen.image[:, :400])


def test_the_noise_of_the_tile_pass_is_removed(tmp_path, settings):
    source = photo(200, 300)
    Pillow.fromarray(source).save(tmp_path / "a.png")
    noise = np.random.default_rng(1).normal(0, 8, source.shape)
    noisy = np.clip(255 - source + noise, 0, 255).astype(np.uint8)
    run(tmp_path / "a.png", tmp_path / "out", settings, TileEditor(draw=lambda start: noisy))
    result = np.asarray(Pillow.open(tmp_path / "out" / "a.png")).astype(int)
    truth = 255 - source.astype(int)
    assert np.abs(result - truth).mean() < 0.4 * np.abs(noisy - truth).mean()


def test_a_deep_video_keeps_its_depth(tmp_path, settings):
    source = make_deep(tmp_path / "in.mkv", 3)
    output = tmp_path / "out.mkv"
    _, events = run(source, output, settings, TileEditor(), encoding=Encoding(codec="ffv1"))
    assert events[-1].kind == "done"
    plane = next(iter(first_planes(output)))
    assert len(np.unique(plane)) > 150, "8 bits have 56 in its range"


def test_an_editor_without_a_tile_pass_fails_with_a_hint(tmp_path, settings):
    _, events = run(DEMO, tmp_path / "o.mkv", settings, PlainEditor(), end=0.1)
    assert events[-1].kind == "failed"
    assert "no tile pass" in str(events[-1]) and "--detail source" in str(events[-1])


def test_the_tile_pass_adds_to_the_cost_of_a_chunk(tmp_path, settings):
    costs = []
    for detail in ("source", "tiles"):
        recipe = msgspec.structs.replace(TILES, detail=detail)
        request = scheduler.EditRequest(
            source=DEMO, output=tmp_path / "o.mkv", recipe=recipe, end=0.2
        )
        prepared = scheduler.prepare_job(request)
        costs.append(cost(prepared.job, prepared.plan, prepared.plan.chunks[0]))
    assert costs[1] > 2 * costs[0]


def test_a_job_has_a_tile_size_exactly_with_tiles(tmp_path):
    request = scheduler.EditRequest(source=DEMO, output=tmp_path / "o.mp4", recipe=TILES)
    job = scheduler.prepare_job(request).job
    assert job.tile_size == 512
    with pytest.raises(ValueError, match="tiles"):
        msgspec.structs.replace(job, tile_size=0)
    other = msgspec.structs.replace(job, tile_size=256)
    assert other.fingerprint() != job.fingerprint()
