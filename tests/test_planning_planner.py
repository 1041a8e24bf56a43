"""Plans: chunks tile all frames, in waves, within shots."""

import os
import subprocess
import sys
from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.jobs.codec import encode
from ip2p_batch.jobs.plan import BorderChunk, VideoChunk
from ip2p_batch.planning import planner
from ip2p_batch.recipe import Recipe

ranges = st.tuples(st.integers(0, 50), st.integers(1, 400)).map(lambda t: (t[0], t[0] + t[1]))


@st.composite
def videos(draw: st.DrawFn) -> tuple[int, int, list[int], Recipe]:
    start, stop = draw(ranges)
    cuts = draw(st.lists(st.integers(0, 500), max_size=12))
    recipe = Recipe(
        instruction="x",
        chunk_frames=draw(st.integers(2, 60)),
        carryover=draw(st.sampled_from([0, 0.3, 0.6])),
        anchors=draw(st.integers(0, 4)),
        anchor_scope=draw(st.sampled_from(["shot", "video"])),
        temporal_filter=draw(st.integers(0, 4)),
        deflicker=draw(st.integers(0, 8)),
    )
    return start, stop, cuts, recipe


def video_chunks(plan):
    return [c for c in plan.chunks if isinstance(c, VideoChunk)]


def border_chunks(plan):
    return [c for c in plan.chunks if isinstance(c, BorderChunk)]


@given(videos())
def test_chunks_tile_every_frame_exactly_once_in_order(video):
    start, stop, cuts, recipe = video
    result = planner.plan_video(start, stop, cuts, recipe, (64, 64))
    frames = [f for c in video_chunks(result) for f in c.numbers]
    assert frames == list(range(start, stop))
    assert result.frames == stop - start


@given(videos())
def test_no_chunk_crosses_a_cut_or_is_longer_than_the_limit(video):
    start, stop, cuts, recipe = video
    for chunk in video_chunks(planner.plan_video(start, stop, cuts, recipe, (64, 64))):
        assert len(chunk) <= planner.SPANS_PER_CHUNK * recipe.chunk_frames
        assert not any(chunk.start < cut < chunk.stop for cut in cuts)


@given(videos())
def test_both_borders_of_a_chunk_are_in_an_earlier_wave_and_in_its_shot(video):
    start, stop, cuts, recipe = video
    result = planner.plan_video(start, stop, cuts, recipe, (64, 64))
    wave_of = {f: c.wave for c in border_chunks(result) for f in c.frames}
    for chunk in video_chunks(result):
        if chunk.borders:
            shot = result.shots[chunk.shot]
            assert {chunk.start} <= set(chunk.borders)
            assert chunk.borders[0] <= chunk.reach[0]
            assert chunk.reach[1] - 1 <= chunk.borders[-1] < shot.stop
            assert len(chunk.borders) >= 2 and list(chunk.borders) == sorted(set(chunk.borders))
            assert all(wave_of[border] < chunk.wave for border in chunk.borders)


@given(videos())
def test_no_frame_is_further_from_its_borders_than_a_span(video):
    start, stop, cuts, recipe = video
    for chunk in video_chunks(planner.plan_video(start, stop, cuts, recipe, (64, 64))):
        if chunk.borders:
            assert all(b - a <= recipe.chunk_frames for a, b in pairwise(chunk.borders))


@given(st.integers(1, 40_000), st.lists(st.integers(0, 40_000), max_size=5))
def test_a_long_video_has_longer_chunks_and_still_enough_of_them(stop, cuts):
    recipe = Recipe(instruction="x")
    chunks = [c for c in planner.plan_video(0, stop, cuts, recipe, (8, 8)).chunks if c.wave == 2]
    if len(chunks) < planner.MIN_CHUNKS:
        assert all(len(c) <= recipe.chunk_frames for c in chunks)
    if stop > 5 * planner.SPANS_PER_CHUNK * planner.MIN_CHUNKS * recipe.chunk_frames:
        beyond = sum(c.reach[1] - c.reach[0] for c in chunks) / stop  # type: ignore[misc]
        assert beyond < 1.05


def test_the_number_of_spans_per_chunk_changes_no_border_and_no_anchor(monkeypatch):
    recipe = Recipe(instruction="x", anchors=3)
    many = planner.plan_video(0, 24 * 200, [500], recipe, (64, 64))
    monkeypatch.setattr(planner, "SPANS_PER_CHUNK", 1)
    single = planner.plan_video(0, 24 * 200, [500], recipe, (64, 64))
    assert many.wave(1) == single.wave(1)
    assert len(many.wave(2)) < len(single.wave(2))

    def borders(result):
        return {border for chunk in result.wave(2) for border in chunk.borders}

    assert borders(many) == borders(single)


@given(videos())
def test_two_neighbouring_chunks_of_one_shot_share_their_border(video):
    start, stop, cuts, recipe = video
    result = planner.plan_video(start, stop, cuts, recipe, (64, 64))
    tied = [c for c in video_chunks(result) if c.borders]
    for a, b in pairwise(tied):
        if a.shot == b.shot:
            assert b.start in a.borders and b.start in b.borders


@given(videos())
def test_a_video_of_any_length_has_at_most_two_waves(video):
    start, stop, cuts, recipe = video
    result = planner.plan_video(start, stop, cuts, recipe, (64, 64))
    assert result.waves <= (2 if recipe.edits_borders else 1)
    assert len({c.id for c in result.chunks}) == len(result.chunks)


@given(st.lists(st.tuples(st.sampled_from([64, 128]), st.sampled_from([64, 96])), max_size=80))
def test_image_chunks_have_one_edit_size_and_every_image_is_planned_once(buckets):
    result, order = planner.plan_images(buckets)
    assert sorted(order) == list(range(len(buckets)))
    assert result.size == tuple(max((b[side] for b in buckets), default=0) for side in (0, 1))
    assert result.one_size == (len(set(buckets)) <= 1)
    seen = []
    for chunk in result.chunks:
        assert 1 <= len(chunk) <= planner.IMAGES_PER_CHUNK
        assert len({buckets[order[i]] for i in range(chunk.start, chunk.stop)}) == 1
        seen += range(chunk.start, chunk.stop)
    assert seen == list(range(len(buckets)))


def test_few_images_are_split_into_chunks_of_nearly_equal_length():
    sizes = {
        n: [len(c) for c in planner.plan_images([(64, 64)] * n)[0].chunks] for n in (3, 24, 1000)
    }
    assert sizes[3] == [3]
    assert sizes[24] == [4] * 6
    assert sum(sizes[1000]) == 1000 and set(sizes[1000]) == {15, 16}


def test_without_carryover_there_is_one_wave():
    result = planner.plan_video(0, 48, [], Recipe(instruction="x", carryover=0), (64, 64))
    assert result.waves == 1 and not border_chunks(result)
    assert not any(c.borders for c in video_chunks(result))


@given(videos())
def test_all_chunks_of_a_shot_share_anchors_of_that_shot(video):
    start, stop, cuts, recipe = video
    recipe = msgspec.structs.replace(recipe, anchor_scope="shot")
    result = planner.plan_video(start, stop, cuts, recipe, (64, 64))
    edited = {f for c in border_chunks(result) for f in c.frames}
    for number, shot in enumerate(result.shots):
        chunks = [c for c in video_chunks(result) if c.shot == number]
        first = [c for c in border_chunks(result) if shot.start <= c.frames[0] < shot.stop]
        chosen = {c.anchors for c in (*chunks, *first) if c in chunks or c.anchors}
        assert len(chosen) == 1
        anchors = chosen.pop()
        assert len(anchors) <= recipe.anchors
        assert bool(anchors) == bool(recipe.anchors)
        assert all(shot.start <= a < shot.stop for a in anchors)
        if any(c.borders for c in chunks):
            assert edited.issuperset(anchors)  # wave 2 finds their states on disk


@given(videos())
def test_with_anchors_of_the_video_all_chunks_share_them(video):
    start, stop, cuts, recipe = video
    recipe = msgspec.structs.replace(recipe, anchor_scope="video")
    result = planner.plan_video(start, stop, cuts, recipe, (64, 64))
    edited = {f for c in border_chunks(result) for f in c.frames}
    chosen = {c.anchors for c in result.chunks if isinstance(c, VideoChunk) or c.anchors}
    assert len(chosen) == 1
    anchors = chosen.pop()
    assert bool(anchors) == bool(recipe.anchors)
    assert all(start <= a < stop for a in anchors)
    if edited:
        assert edited.issuperset(anchors)


@given(videos())
def test_a_border_chunk_with_anchors_belongs_to_one_shot(video):
    start, stop, cuts, recipe = video
    result = planner.plan_video(start, stop, cuts, recipe, (64, 64))
    for chunk in border_chunks(result):
        if chunk.anchors:
            shot = next(s for s in result.shots if s.start <= chunk.frames[0] < s.stop)
            assert all(shot.start <= frame < shot.stop for frame in chunk.frames)


@given(videos())
def test_the_reach_of_a_chunk_covers_its_temporal_filter_within_its_shot(video):
    start, stop, cuts, recipe = video
    result = planner.plan_video(start, stop, cuts, recipe, (64, 64))
    for chunk in video_chunks(result):
        shot, r = result.shots[chunk.shot], recipe.temporal_filter + recipe.deflicker
        assert chunk.reach == (max(shot.start, chunk.start - r), min(shot.stop, chunk.stop + r))


@given(videos())
def test_a_plan_does_not_depend_on_the_order_of_the_cuts(video):
    start, stop, cuts, recipe = video
    first = encode(planner.plan_video(start, stop, list(cuts), recipe, (64, 64)))
    again = encode(planner.plan_video(start, stop, [*reversed(cuts), *cuts], recipe, (64, 64)))
    assert first == again


def test_a_plan_does_not_depend_on_the_process_and_its_cores():
    code = (
        "from ip2p_batch.planning import planner; from ip2p_batch.jobs.codec import encode;"
        "from ip2p_batch.recipe import Recipe; import sys;"
        "r = Recipe(instruction='x', chunk_frames=7, anchors=2);"
        "sys.stdout.write(encode(planner.plan_video(3, 90, [40, 41], r, (64, 64))).decode())"
    )
    said = {
        subprocess.run(
            [*bound, sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads},
            capture_output=True, text=True, check=True,
        ).stdout
        for bound, seed, threads in (([], "1", "1"), (["taskset", "-c", "0"], "2", "4"))
    }  # fmt: skip
    assert len(said) == 1 and said.pop()
