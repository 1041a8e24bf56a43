"""The contract of editors, tested on each of them."""

import itertools

import av
import msgspec
import numpy as np
import pytest

from ip2p_batch.editing.editor import (
    EMPTY_CONTEXT,
    Editor,
    EditSession,
    IdentityEditor,
    TileSession,
)
from ip2p_batch.editing.loading import load_editor
from ip2p_batch.editing.tile_options import TileOptions
from ip2p_batch.errors import EditError, JobCancelled
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler import EditRequest, create_job, follow_job
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .clips import DEMO
from .tiny_pipelines import border_latents, context, frames, recipe
from .tiny_pipelines import editor as random_editor

RECIPE = recipe(guidance_scale=1.5, image_guidance_scale=1.2, num_inference_steps=4, carryover=0.5)


@pytest.fixture(
    scope="module",
    params=[
        IdentityEditor,
        lambda: IdentityEditor(lambda image: 255 - image),
        random_editor,
        lambda: load_editor("tiny", device="cpu"),
    ],
    ids=["identity", "negative", "random weights", "bundled"],
)
def editor(request):
    return request.param()


@pytest.fixture
def clip():
    return frames(6, 32, 48, first=100)


def images(edited):
    return np.stack([f.image for f in edited])


def test_places_stay_and_images_keep_their_shape_and_type(editor, clip):
    edited = editor.session(RECIPE).edit(clip)
    assert [(f.index, f.pts) for f in edited] == [(f.index, f.pts) for f in clip]
    for frame in edited:
        assert frame.image.shape == (32, 48, 3)
        assert frame.image.dtype == np.uint8
        assert frame.image.flags.c_contiguous


def test_sources_are_left_alone(editor, clip):
    before = images(clip).copy()
    editor.session(RECIPE).edit(clip)
    assert np.array_equal(before, images(clip))


def test_the_same_again_gives_the_same(editor, clip):
    assert np.array_equal(
        images(editor.session(RECIPE).edit(clip)), images(editor.session(RECIPE).edit(clip))
    )


def test_grouping_and_order_do_not_matter(editor, clip):
    whole = images(editor.session(RECIPE).edit(clip))
    session = editor.session(RECIPE)
    parts = [*session.edit(clip[:1]), *session.edit(clip[1:4]), *session.edit(clip[4:])]
    assert np.array_equal(whole, images(parts))
    assert np.array_equal(whole, images(editor.session(RECIPE).edit(clip[::-1]))[::-1])


def test_no_frames_give_no_frames(editor):
    assert editor.session(RECIPE).edit([]) == []


def test_frames_between_borders_do_not_depend_on_grouping_and_borders_agree(editor, clip):
    left, middle, right = clip[0], clip[3], clip[5]
    latents = {}
    for frame in (left, middle, right):
        latents |= border_latents(editor.session(RECIPE), [frame])
    assert all(latents.values())

    def between(a, b):
        return editor.session(RECIPE, context(borders=[a, b], latents=latents))

    whole = images(between(left, middle).edit(clip[:4]))
    one_by_one = [between(left, middle).edit([f])[0] for f in clip[:4]]
    assert np.array_equal(whole, images(one_by_one))
    # The chunk on the other side of the border gives that frame the same pixels.
    assert np.array_equal(whole[3], between(middle, right).edit([middle])[0].image)
    # And these are what it gets with no borders at all.
    assert np.array_equal(whole[3], editor.session(RECIPE).edit([middle])[0].image)


def test_frames_may_be_prepared_ahead_in_any_order(editor, clip):
    ends = [clip[0], clip[5]]
    latents = border_latents(editor.session(RECIPE), ends)
    session = editor.session(RECIPE, context(borders=ends, latents=latents))
    prepared = [session.prepare(frame) for frame in clip[::-1]][::-1]
    for frame, original in zip(prepared, clip, strict=True):
        assert (frame.index, frame.pts) == (original.index, original.pts)
        assert frame.image is original.image
    assert np.array_equal(images(session.edit(prepared)), images(session.edit(clip)))


def test_damaged_latents_are_refused_when_the_session_is_created(editor, clip):
    ends = [clip[0], clip[5]]
    latents = border_latents(editor.session(RECIPE), ends)
    damaged = latents | {clip[5].index: latents[clip[5].index][:-1]}
    with pytest.raises(EditError, match="frame 105"):
        editor.session(RECIPE, context(borders=ends, latents=damaged))


def test_a_reference_image_of_any_size_leaves_places_and_grouping_as_they_are(editor, clip):
    image = frames(1, 48, 32, first=7)[0].image
    recipe = msgspec.structs.replace(RECIPE, reference_image="reference.png")
    session = editor.session(recipe, context(reference_image=image))
    whole = session.edit(clip)
    assert [(f.index, f.pts) for f in whole] == [(f.index, f.pts) for f in clip]
    assert np.array_equal(images(whole[:1]), images(session.edit(clip[:1])))


def test_the_tile_pass_keeps_places_and_any_size_and_depends_on_no_other_frame(editor):
    sources = frames(2, 37, 70, first=100)
    starts = [f.with_image(255 - f.image) for f in sources]
    options = TileOptions(size=64, overlap=16, strength=0.5)
    session = editor.session(RECIPE)
    assert isinstance(session, TileSession)
    pairs = list(zip(sources, starts, strict=True))
    refined = session.refine(pairs, options)
    assert [(f.index, f.pts) for f in refined] == [(f.index, f.pts) for f in sources]
    assert images(refined).shape == (2, 37, 70, 3)
    alone = [session.refine([pair], options)[0] for pair in pairs[::-1]][::-1]
    assert np.array_equal(images(refined), images(alone))
    assert session.refine([], options) == []


def test_the_identity_editor_returns_the_start_of_the_tile_pass():
    source, start = frames(2)
    options = TileOptions(size=64, overlap=16, strength=0.5)
    session = IdentityEditor().session(RECIPE)
    assert isinstance(session, TileSession)
    (refined,) = session.refine([(source, start)], options)
    assert (refined.index, refined.pts) == (source.index, source.pts)
    assert refined.image is start.image


def test_a_checkpoint_that_raises_stops_the_edit(editor, clip):
    def stop():
        raise JobCancelled("stop")

    with pytest.raises(JobCancelled):
        editor.session(RECIPE, checkpoint=stop).edit(clip)
    with pytest.raises(JobCancelled):
        editor.session(RECIPE, checkpoint=stop).border_latents(clip[:1])
    session = editor.session(RECIPE, checkpoint=stop)
    assert isinstance(session, TileSession)
    with pytest.raises(JobCancelled):
        session.refine([(clip[0], clip[1])], TileOptions(size=64, overlap=16, strength=0.5))


class Inverted(EditSession):
    def edit(self, frames, *, overrides=None):
        return [frame.with_image(255 - frame.image) for frame in frames]


class InvertingEditor(Editor):
    """The smallest editor: see the documentation of :mod:`ip2p_batch.editing.editor`."""

    def session(self, recipe, context=EMPTY_CONTEXT, **options):
        return Inverted()


def test_a_custom_editor_needs_two_methods(tmp_path, settings):
    assert not isinstance(Inverted(), TileSession)
    recipe = Recipe(instruction="invert", model="identity", size=64, chunk_frames=10)
    request = EditRequest(source=DEMO, output=tmp_path / "out.mkv", recipe=recipe, end=1.0)
    job = create_job(request, settings)
    *_, last = follow_job(job, LocalExecutor(lambda _: InvertingEditor()))
    assert last.kind == "done", last
    assert (tmp_path / "out.mkv").stat().st_size > 1000


def test_the_temporal_filter_smooths_the_frames_of_any_editor(tmp_path, settings):
    """Every other frame comes out lighter; the source does not flicker."""
    brightness = {}
    for radius in (0, 2):
        lighter = itertools.cycle((False, True))
        editor = IdentityEditor(lambda image: image // 2 + 40 * next(lighter))  # noqa: B023
        recipe = Recipe(
            instruction="x", model="identity", size=64, carryover=0, temporal_filter=radius
        )
        output = tmp_path / f"{radius}.mkv"
        encoding = Encoding(codec="ffv1")
        request = EditRequest(source=DEMO, output=output, recipe=recipe, end=0.5, encoding=encoding)
        job = create_job(request, settings)
        *_, last = follow_job(job, LocalExecutor(lambda _: editor))  # noqa: B023
        assert last.kind == "done", last
        with av.open(str(output)) as container:
            shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        brightness[radius] = [image.mean() for image in shown]
    flicker = {radius: np.abs(np.diff(means)).mean() for radius, means in brightness.items()}
    assert flicker[0] > 30
    assert flicker[2] < 0.5 * flicker[0]


def test_a_session_says_how_many_frames_it_takes_and_an_editor_where_it_computes(editor):
    session = editor.session(RECIPE)
    assert session.batch_size >= 1
    assert list(session.warnings) == []
    assert session.notes == {}
    assert editor.device
    assert editor.compute_profile is None or editor.compute_profile.model
