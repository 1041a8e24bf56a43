"""Jobs of one command run one after another with one executor; a failure does not stop the rest."""

import pytest
from PIL import Image as Pil

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import BrokerError
from ip2p_batch.queue.stub_executor import StubExecutor
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor
from ip2p_batch.scheduler.sequence import follow_jobs

from . import clips

RECIPE = Recipe(instruction="copy", model="identity", size=64, carryover=0.0, temporal_filter=0)


@pytest.fixture
def sources(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("b.mp4", "c.mp4"):
        clips.make(folder / name, 6)
    Pil.new("RGB", (64, 48), (90, 120, 30)).save(folder / "a.png")
    return folder


@pytest.fixture
def folders(sources, tmp_path, settings):
    request = scheduler.EditRequest(source=sources, output=tmp_path / "out", recipe=RECIPE)
    return scheduler.create_jobs(request, [sources], settings).made


def local():
    return LocalExecutor(lambda _: IdentityEditor())


def ends(events):
    return [(e.job, e.kind) for e in events if e.kind in ("done", "failed", "cancelled")]


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_all_jobs_are_finished_in_order(folders, tmp_path, ahead):
    events = list(follow_jobs(folders, local(), ahead=ahead))
    assert ends(events) == [(folder.path.name, "done") for folder in folders]
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert written == ["a.png", "b.mp4", "c.mp4"]


def test_a_job_that_cannot_continue_does_not_stop_the_others(folders, sources):
    (sources / "b.mp4").write_bytes(b"another film")
    events = list(follow_jobs(folders, local()))
    assert [kind for _, kind in ends(events)] == ["done", "failed", "done"]
    (failed,) = [e for e in events if e.kind == "failed"]
    assert failed.data["error"] == "ResumeMismatch"
    assert "has changed" in failed.message


def test_a_job_whose_chunk_fails_does_not_stop_the_others(folders):
    def editor_for(recipe):
        raise RuntimeError("no editor")

    class Once(LocalExecutor):
        """Fails for one job only."""

        def _run_chunk(self, folder, chunk):
            own, other = self._editor_for, editor_for
            self._editor_for = other if folder.path == folders[1].path else own
            super()._run_chunk(folder, chunk)
            self._editor_for = own

    events = list(follow_jobs(folders, Once(lambda _: IdentityEditor())))
    assert [kind for _, kind in ends(events)] == ["done", "failed", "done"]


def test_jobs_that_ended_before_are_only_reported(folders):
    list(follow_jobs(folders[:1], local()))
    executor = StubExecutor()
    events = follow_jobs(folders[:1], executor)
    assert ends(events) == [(folders[0].path.name, "done")]
    assert executor.queue_length() == 0


def test_the_next_job_is_in_the_queue_while_one_is_edited(folders):
    executor = StubExecutor()
    events = follow_jobs(folders, executor, ahead=1)
    assert next(events).kind == "started"
    assert [bool(executor.queued_chunks(f).waiting) for f in folders] == [True, True, False]
    events.close()


def test_a_queue_that_is_lost_stops_all_jobs(folders):
    class Gone(StubExecutor):
        def enqueue(self, folder, chunks):
            raise BrokerError("gone")

    with pytest.raises(BrokerError):
        list(follow_jobs(folders, Gone()))
