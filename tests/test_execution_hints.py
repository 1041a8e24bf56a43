"""Hints in a job: an editor that returns them as its result sees the same ones in every chunk."""

import uuid
from pathlib import Path

import numpy as np
import pytest

import ip2p_batch
from ip2p_batch.editing.editor import EMPTY_CONTEXT, Editor, EditSession
from ip2p_batch.errors import RecipeError
from ip2p_batch.execution.chunk import process_chunk
from ip2p_batch.execution.worker_cache import WorkerCache
from ip2p_batch.hints.make import make_hint
from ip2p_batch.jobs.coding import Decoding
from ip2p_batch.jobs.plan import BorderChunk, Chunk, VideoChunk
from ip2p_batch.jobs.records import WorkerInfo
from ip2p_batch.media.images.reader import read_image
from ip2p_batch.recipe import Recipe
from ip2p_batch.recipe_parts import Control
from ip2p_batch.scheduler import EditRequest, create_job

from . import clips, interlaced_clips, pictures

WORKER = WorkerInfo(host="here", pid=1)
FRAMES = 24


class ShowsHints(Editor):
    """Returns the first hint of a frame; keeps all hints that it was given, by frame."""

    def __init__(self):
        self.seen: dict[tuple[str, int], tuple[np.ndarray, ...]] = {}
        self.context = EMPTY_CONTEXT

    def session(self, recipe, context=EMPTY_CONTEXT, **options):
        self.context = context
        for known in (*context.borders, *context.anchors):
            self.see("context", known.frame)
        return _Session(self)

    def see(self, role, frame):
        before = self.seen.setdefault((role, frame.index), frame.hints)
        for old, new in zip(before, frame.hints, strict=True):
            assert np.array_equal(old, new), f"frame {frame.index} has other hints as {role}"


class _Session(EditSession):
    def __init__(self, editor):
        self._editor = editor

    def edit(self, frames, *, overrides=None):
        for frame in frames:
            self._editor.see("frame", frame)
        return [frame.with_image(frame.hints[0]) for frame in frames]

    def border_latents(self, frames):
        for frame in frames:
            self._editor.see("border", frame)
        return [b"latents" for _ in frames]


def recipe(control, **fields):
    fields = {"size": 64, "chunk_frames": 6, "carryover": 0.5, "temporal_filter": 2} | fields
    return Recipe(instruction="x", model="identity", control=control, **fields)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    def moving(n, width, height):
        return np.roll(np.kron(noise, np.ones((8, 8, 1))), 2 * n, axis=1).astype(np.uint8)

    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    return clips.make(tmp_path_factory.mktemp("clip") / "clip.mp4", FRAMES, image=moving)


def run_chunks(tmp_path, settings, clip, control, *, cache=None, order=1, decoding=None, **fields):
    """Edit all chunks of a video, the second wave in any order; returns the editor."""
    output = tmp_path / f"{uuid.uuid4().hex}.mp4"  # of another job than the runs before
    request = EditRequest(
        source=clip,
        output=output,
        recipe=recipe(control, **fields),
        decoding=decoding or Decoding(),
    )
    job, editor = create_job(request, settings), ShowsHints()
    chunks = job.plan().chunks
    in_order: list[Chunk] = [chunk for chunk in chunks if isinstance(chunk, BorderChunk)]
    in_order += [chunk for chunk in chunks if isinstance(chunk, VideoChunk)][::order]
    for chunk in in_order:
        process_chunk(job, chunk, editor_for=lambda _: editor, worker=WORKER, worker_cache=cache)
    return editor


NETS = (Control(kind="canny"), Control(kind="luminance"))


def test_a_frame_has_the_same_hints_as_border_context_and_frame_of_any_chunk(
    tmp_path, settings, clip
):
    editor = run_chunks(tmp_path, settings, clip, NETS)
    numbers = {n for role, n in editor.seen if role == "border"}
    assert numbers and numbers == {n for role, n in editor.seen if role == "context"}
    assert {n for role, n in editor.seen if role == "frame"} == set(range(FRAMES))
    for n in numbers:
        assert len(editor.seen["border", n]) == 2
        for role in ("context", "frame"):
            for hint, own in zip(editor.seen[role, n], editor.seen["border", n], strict=True):
                assert np.array_equal(hint, own)


def test_order_of_chunks_threads_and_caches_change_no_hint(tmp_path, settings, clip):
    plain = run_chunks(tmp_path, settings, clip, NETS)
    other = run_chunks(tmp_path, settings, clip, NETS, cache=WorkerCache(3), order=-1)
    longer = run_chunks(tmp_path, settings, clip, NETS, chunk_frames=12)
    assert other.seen.keys() == plain.seen.keys()
    for editor in (other, longer):
        for key in plain.seen.keys() & editor.seen.keys():
            for hint, own in zip(editor.seen[key], plain.seen[key], strict=True):
                assert np.array_equal(hint, own)


def test_a_job_that_reads_the_same_file_otherwise_gets_no_cached_frames(tmp_path, settings):
    images = [interlaced_clips.combed(n, "tff") for n in range(12)]
    clip = interlaced_clips.make(tmp_path / "clip.mkv", images, ["tff"] * 12)
    cache, nets = WorkerCache(), (Control(kind="luminance"),)
    fields = {"cache": cache, "chunk_frames": 4, "temporal_filter": 0, "anchors": 1, "size": 96}
    combed, progressive = (
        run_chunks(tmp_path, settings, clip, nets, decoding=decoding, order=n, **fields).seen
        for decoding, n in ((Decoding(deinterlace="off"), -1), (Decoding(), 1))
    )
    assert not np.array_equal(combed["frame", 4][0], progressive["frame", 4][0])
    for seen in (combed, progressive):
        for role, n in seen:
            assert np.array_equal(seen[role, n][0], seen["frame", n][0]), (role, n)


def test_without_the_temporal_filter_a_hint_is_that_of_its_frame_alone(tmp_path, settings, clip):
    class Checks(ShowsHints):
        def see(self, role, frame):
            assert np.array_equal(frame.hints[0], make_hint("canny", frame.image))
            self.checked = True

    request = EditRequest(
        source=clip, output=tmp_path / "o.mp4", recipe=recipe(NETS[:1], temporal_filter=0), end=0.4
    )
    job, editor = create_job(request, settings), Checks()
    for chunk in job.plan().chunks:
        process_chunk(job, chunk, editor_for=lambda _: editor, worker=WORKER)
    assert editor.checked


def test_hints_of_the_users_own_arrive_as_they_are_between_made_ones(tmp_path, settings, clip):
    for number in range(FRAMES):
        pictures.save(tmp_path / "own" / f"{number}.png", clips.picture(number))
    own = Control(kind="any", hints=str(tmp_path / "own"))
    editor = run_chunks(tmp_path, settings, clip, (NETS[0], own, NETS[1]))
    for (_, number), hints in editor.seen.items():
        assert len(hints) == 3
        assert np.array_equal(hints[1], clips.picture(number))


def test_images_have_hints_and_one_whose_companion_changed_fails_alone(tmp_path):
    for name in "ab":
        pictures.save(tmp_path / "in" / f"{name}.png", clips.picture(ord(name)))
        pictures.save(tmp_path / "own" / f"{name}.png", clips.picture(7))
    own = Control(kind="any", hints=str(tmp_path / "own"))

    class Changes(ShowsHints):
        def autotune(self, recipe, size, batch_histogram):
            pictures.save(tmp_path / "own/b.png", clips.picture(8, 128, 128))
            return super().autotune(recipe, size, batch_histogram)

    result = ip2p_batch.edit(
        tmp_path / "in", output=tmp_path / "out", recipe=recipe((own, NETS[0])), editor=Changes()
    )
    assert np.array_equal(read_image(tmp_path / "out/a.png"), clips.picture(7))
    ((_, reason),) = result.failed
    assert "own/b.png has changed since the job was planned" in reason


def test_the_reference_image_has_hints_of_each_kind_but_none_of_companions(
    tmp_path, settings, clip
):
    path = pictures.save(tmp_path / "style.png", clips.picture(3))
    fields = {"reference_image": str(path), "temporal_filter": 0}
    editor = run_chunks(tmp_path, settings, clip, NETS, **fields)
    image = editor.context.reference_image
    for net, hint in zip(NETS, editor.context.reference_hints, strict=True):
        assert np.array_equal(hint, make_hint(net.kind, image))
    for number in range(FRAMES):
        pictures.save(tmp_path / "own" / f"{number}.png", clips.picture(number))
    mixed = (NETS[0], Control(kind="any", hints=str(tmp_path / "own")))
    editor = run_chunks(tmp_path, settings, clip, mixed, **fields)
    assert editor.context.reference_hints == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"control": (Control(kind="pose"),)}, "no kind of hints that are made here: canny,"),
        ({"control": NETS, "detail": "tiles"}, "draws without control nets"),
    ],
)
def test_what_has_no_hints_is_refused_while_planning(tmp_path, clip, fields, message):
    fields = dict(fields)
    with pytest.raises(RecipeError, match=message):
        ip2p_batch.plan(
            clip, recipe=recipe(fields.pop("control"), **fields), output=Path(tmp_path / "o.mp4")
        )
