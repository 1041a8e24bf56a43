"""A frame that crashes its worker is found and named, and the rest of its chunk is edited."""

import platform
import time

import av
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import JobError
from ip2p_batch.execution.assemble import assemble
from ip2p_batch.execution.crash_isolation import CrashIsolation
from ip2p_batch.jobs import attempts
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.jobs.plan import BorderChunk, ImageChunk, VideoChunk
from ip2p_batch.jobs.records import Attempt, WorkerInfo
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor
from workers.editor_cache import editor_for

from . import clips
from .clips import DEMO, images_of
from .forked_attempts import crashes
from .jobs import TINY, image_job

WORKER = WorkerInfo(host=platform.node(), pid=1)


# -- images -------------------------------------------------------------------------------


def test_an_image_that_crashes_its_worker_is_named_and_all_others_are_edited(tmp_path):
    job = image_job(tmp_path, 11, model="identity:crash=6", each=11)
    # One that is not located, two in the batch, two at the image alone.
    assert crashes(job) == {"1-000000": 5}
    (receipt,) = job.receipts.all()
    (bad,) = [i for i in receipt.items if i.error]
    assert bad.index == 6 and "crashed or hung at this image" in bad.error
    assert assemble(job).failed == ((str(tmp_path / "in" / "6.png"), bad.error),)
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == sorted(f"{n}.png" for n in range(11) if n != 6)


def test_an_image_that_hangs_is_skipped_like_one_that_crashes(tmp_path):
    job = image_job(tmp_path, 2, model="identity:hang=1")
    assert crashes(job, HANGS_AFTER="0.2") == {"1-000000": 0, "1-000001": 3}
    assert [(i.index, bool(i.error)) for r in job.receipts.all() for i in r.items] == [
        (0, False), (1, True),
    ]  # fmt: skip


def test_a_healthy_chunk_records_no_batches_and_no_crash(tmp_path):
    job = image_job(tmp_path, 4, each=4)
    assert crashes(job) == {"1-000000": 0}
    names = sorted(p.name for p in (job.path / "attempts").iterdir())
    assert names == ["1-000000.1.end", "1-000000.1.json"]
    assert attempts.history(job, "1-000000").crashes == 0
    assembled = assemble(job)
    assert assembled.frames == 4 and not (job.path / "attempts").exists()


# -- video ----------------------------------------------------------------------------------


def grey(number, width, height):
    return np.full((height, width, 3), 10 + 3 * number, np.uint8)


def clip(path, image=grey, frames=14):
    clips.make(
        path, frames, codec="ffv1", pix_fmt="bgr0", matrix=None, image=image, options={"crf": "0"}
    )
    return path


def video_job(folder, settings, model, **options):
    folder.mkdir()
    source = clip(folder / "in.mkv")
    recipe = Recipe(
        instruction="x", model=model, size=64, chunk_frames=7, carryover=0, temporal_filter=0
    )
    request = scheduler.EditRequest(
        source=source, output=folder / "out.mkv", recipe=recipe,
        encoding=Encoding(codec="ffv1"), **options,
    )  # fmt: skip
    return scheduler.create_job(request, settings)


def reds(path):
    with av.open(str(path)) as container:
        return [int(f.to_ndarray(format="rgb24")[0, 0, 0]) for f in container.decode(video=0)]


@pytest.mark.parametrize(("guilty", "neighbour"), [(9, 8), (0, 1)])
def test_a_neighbour_replaces_a_frame_that_crashes(tmp_path, settings, guilty, neighbour):
    values = [10 + 3 * n for n in range(14)]
    job = video_job(tmp_path / "a", settings, f"identity:crash={values[guilty]}")
    assert sorted(crashes(job).values()) == [0, 5]
    result = assemble(job)
    (warning,) = result.warnings
    assert f"Frame {guilty} crashed or hung its worker" in warning
    assert f"frame {neighbour} replaces it" in warning
    values[guilty] = values[neighbour]
    assert reds(tmp_path / "a" / "out.mkv") == values


def test_a_frame_that_crashes_is_replaced_as_a_border_too(tmp_path, settings):
    """With borders and a temporal filter, other chunks read it, too, and replace it."""
    outputs = []
    for name, model, image in (
        ("crashing", "identity:crash=31", grey),
        ("replaced", "identity", lambda number, *size: grey(6 if number == 7 else number, *size)),
    ):
        outputs.append(tmp_path / f"{name}-out.mkv")
        request = scheduler.EditRequest(
            source=clip(tmp_path / f"{name}.mkv", image),
            output=outputs[-1],
            recipe=Recipe(instruction="x", model=model, size=64, chunk_frames=7),
            encoding=Encoding(codec="ffv1"),
        )
        job = scheduler.create_job(request, settings)
        counts = crashes(job)
        assert len(job.plan().chunks) > 2
        assert sum(counts.values()) == (5 if name == "crashing" else 0)
        assemble(job)
    assert reds(outputs[0]) == reds(outputs[1])


# -- crashes that are not a frame's fault -----------------------------------------------------


def record_crashes(job, chunk, *parts):
    """Write attempts that crashed while they edited these parts."""
    for part in parts:
        number = len(list((job.path / "attempts").glob(f"{chunk}.*.json"))) + 1
        path = job.attempt_path(chunk, number)
        path.parent.mkdir(exist_ok=True)
        from ip2p_batch.jobs.codec import encode

        path.write_bytes(encode(Attempt(chunk=chunk, worker=WORKER, numbers=part, at=time.time())))


def test_four_machines_lost_at_a_chunk_do_not_fail_it(tmp_path):
    job = image_job(tmp_path, 8, each=8)
    record_crashes(job, "1-000000", (), (0, 1, 2, 3), (4, 5, 6, 7), ())
    assert run_here(job) == "done"
    assert len(list((tmp_path / "out").iterdir())) == 8


def test_a_chunk_that_crashes_before_its_first_frame_fails(tmp_path):
    job = image_job(tmp_path, 8, each=8)
    record_crashes(job, "1-000000", (), (), (), ())
    assert run_here(job) == "failed"
    (failure,) = job.failures.all()
    assert (
        "died or hung 4 times" in failure.message and "outside any of its frames" in failure.message
    )
    assert "--size" in failure.hint
    assert run_here(job) == "done", "resume tries again"


def test_a_chunk_that_crashes_at_a_skipped_image_fails_and_names_it(tmp_path):
    job = image_job(tmp_path, 8, each=8)
    record_crashes(job, "1-000000", (), *[(5,)] * 4)
    assert run_here(job) == "failed"
    (failure,) = job.failures.all()
    assert "image 5" in failure.message


def run_here(job):
    executor = LocalExecutor(lambda recipe: IdentityEditor())
    return list(scheduler.follow_job(job, executor))[-1].kind


@example(size=1, frames=3, guilty={0, 1}, lost=[13, 16])
@given(
    size=st.integers(1, 8),
    frames=st.integers(1, 12),
    guilty=st.sets(st.integers(0, 11), max_size=3),
    lost=st.lists(st.integers(0, 30), max_size=4),
)
def test_exactly_the_frames_that_crash_are_found_however_many_machines_are_lost(
    size, frames, guilty, lost
):
    """The rules alone. Machines are lost, too, but no two of them at the same batch."""
    chunk = VideoChunk(id="c", wave=1, start=0, stop=frames, shot=0, reach=(0, frames))
    guilty = {n for n in guilty if n < frames}
    crashed, step, lost_at = [], 0, set()
    for _ in range(200):
        isolation = CrashIsolation(crashed, frames)
        isolation.check_crash_budget(chunk)
        poisoned = set(isolation.poisoned())
        died = None
        for at in range(0, frames, size):
            batch = range(at, min(at + size, frames))
            for part in isolation.split(batch):
                step += 1
                is_lost = step in lost and tuple(part) not in lost_at
                if (set(part) & guilty - poisoned or is_lost) and died is None:
                    died = part
                    if is_lost:
                        lost_at.add(tuple(part))
        if died is None:
            break
        part = tuple(died) if isolation.isolating else ()
        crashed.append(Attempt(chunk="c", worker=WORKER, numbers=part, at=0))
    assert died is None
    assert guilty <= poisoned
    if len(set(lost)) < 2:
        assert poisoned == guilty


def test_a_chunk_that_crashes_at_every_frame_fails_soon():
    chunk = ImageChunk(id="c", wave=1, start=0, stop=16)
    alone = [Attempt(chunk="c", worker=WORKER, numbers=(n // 2,), at=0) for n in range(18)]
    with pytest.raises(JobError, match="9 different"):
        CrashIsolation(alone[:1] + alone, 16).check_crash_budget(chunk)


# -- pixels -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_crash_isolation_gives_the_same_pixels_as_an_undisturbed_run(tmp_path, settings):
    """Frame by frame after crashes, with borders, anchors and the temporal filter."""
    editor = editor_for(TINY, settings)
    outputs = []
    for name in ("undisturbed", "disturbed"):
        outputs.append(tmp_path / f"{name}.mkv")
        request = scheduler.EditRequest(
            source=DEMO, output=outputs[-1], recipe=TINY, end=0.24, encoding=Encoding(codec="ffv1")
        )
        job = scheduler.create_job(request, settings)
        if name == "disturbed":
            for chunk in job.plan().chunks:
                is_border = isinstance(chunk, BorderChunk)
                numbers = chunk.frames if is_border else tuple(range(*chunk.reach))
                record_crashes(job, chunk.id, (), numbers[:2], numbers[:2])
                isolation = CrashIsolation(attempts.history(job, chunk.id).crashed, len(chunk))
                assert all(len(part) == 1 for part in isolation.split(numbers))
        assert list(scheduler.follow_job(job, LocalExecutor(lambda _: editor)))[-1].kind == "done"
    undisturbed, disturbed = map(images_of, outputs)
    assert len(undisturbed) == len(disturbed) == 6
    assert all(map(np.array_equal, undisturbed, disturbed))
