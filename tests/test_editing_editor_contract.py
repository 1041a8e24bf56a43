"""What every editor promises, held against each of them."""

import msgspec
import numpy as np
import pytest

from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.editing.loading import load_editor
from ip2p_batch.errors import JobCancelled
from tests.tiny_pipelines import editor as random_editor
from tests.tiny_pipelines import frames, recipe

LOOK = recipe(guidance_scale=1.5, image_guidance_scale=1.2, num_inference_steps=4, carryover=0.5)


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


def test_places_stay_and_pictures_keep_their_shape_and_type(editor, clip):
    edited = editor.session(LOOK).edit(clip)
    assert [(f.index, f.pts) for f in edited] == [(f.index, f.pts) for f in clip]
    for frame in edited:
        assert frame.image.shape == (32, 48, 3)
        assert frame.image.dtype == np.uint8
        assert frame.image.flags.c_contiguous


def test_sources_are_left_alone(editor, clip):
    before = images(clip).copy()
    editor.session(LOOK).edit(clip)
    assert np.array_equal(before, images(clip))


def test_the_same_again_gives_the_same(editor, clip):
    assert np.array_equal(
        images(editor.session(LOOK).edit(clip)), images(editor.session(LOOK).edit(clip))
    )


def test_grouping_and_order_do_not_matter(editor, clip):
    whole = images(editor.session(LOOK).edit(clip))
    session = editor.session(LOOK)
    parts = [*session.edit(clip[:1]), *session.edit(clip[1:4]), *session.edit(clip[4:])]
    assert np.array_equal(whole, images(parts))
    assert np.array_equal(whole, images(editor.session(LOOK).edit(clip[::-1]))[::-1])


def test_no_frames_give_no_frames(editor):
    assert editor.session(LOOK).edit([]) == []


def test_tied_frames_do_not_depend_on_grouping_either_and_borders_agree(editor, clip, tmp_path):
    left, middle, right = clip[0], clip[3], clip[5]
    first = editor.session(LOOK)
    for frame in (left, middle, right):
        first.save_borders([(frame, tmp_path / str(frame.index))])
    assert all((tmp_path / str(f.index)).stat().st_size for f in (left, middle, right))

    def tied(a, b):
        session = editor.session(LOOK)
        session.tie([(a, tmp_path / str(a.index)), (b, tmp_path / str(b.index))])
        return session

    whole = images(tied(left, middle).edit(clip[:4]))
    one_by_one = [tied(left, middle).edit([f])[0] for f in clip[:4]]
    assert np.array_equal(whole, images(one_by_one))
    # The chunk on the other side of the border gives that frame the same pixels.
    assert np.array_equal(whole[3], tied(middle, right).edit([middle])[0].image)
    # And these are what it gets with no borders at all.
    assert np.array_equal(whole[3], editor.session(LOOK).edit([middle])[0].image)


def test_a_look_of_any_size_leaves_places_and_grouping_as_they_are(editor, clip):
    look = frames(1, 48, 32, first=7)[0].image
    recipe = msgspec.structs.replace(LOOK, reference_image="reference.png")
    session = editor.session(recipe)
    session.look(look)
    whole = session.edit(clip)
    assert [(f.index, f.pts) for f in whole] == [(f.index, f.pts) for f in clip]
    assert np.array_equal(images(whole[:1]), images(session.edit(clip[:1])))


def test_a_checkpoint_that_raises_stops_the_edit(editor, clip, tmp_path):
    def stop():
        raise JobCancelled("stop")

    with pytest.raises(JobCancelled):
        editor.session(LOOK, checkpoint=stop).edit(clip)
    with pytest.raises(JobCancelled):
        editor.session(LOOK, checkpoint=stop).save_borders([(clip[0], tmp_path / "0")])
    assert not (tmp_path / "0").exists()


def test_a_session_says_how_many_frames_it_takes_and_an_editor_where_it_computes(editor):
    session = editor.session(LOOK)
    assert session.batch_size >= 1
    assert session.warnings == []
    assert session.notes == {}
    assert editor.device
    assert editor.compute_profile is None or editor.compute_profile.model
