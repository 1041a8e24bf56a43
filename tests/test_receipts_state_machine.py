"""The state of a job folder never goes backward, in any order of events.

Hypothesis chooses the events: commands start and stop, messages are lost, duplicated and late,
workers fail and finish twice, files vanish. The job folder, dispatch and assembly are real.
"""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from ip2p_batch import scheduler
from ip2p_batch.errors import EditError, IncompleteJob
from ip2p_batch.execution.assemble import assemble
from ip2p_batch.execution.attempt import give_up
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.plan import ASSEMBLY, ImageChunk, Plan, chunk_id
from ip2p_batch.jobs.records import Failure, Heartbeat, Receipt, WorkerInfo
from ip2p_batch.jobs.spec import Item, Job, Source
from ip2p_batch.queue.stub_executor import StubExecutor
from ip2p_batch.recipe import Recipe

WORKER = WorkerInfo(host="h", pid=1)


class CheckedExecutor(StubExecutor):
    """Checks that what is enqueued is due."""

    def enqueue(self, folder, chunks):
        assert not folder.ended and not folder.cancelled
        done = folder.receipts.ids()
        for chunk in chunks:
            before = {c.id for c in folder.plan().chunks if c.wave < chunk.wave}
            assert before <= done, "a wave was enqueued before the wave that it depends on"
        super().enqueue(folder, chunks)

    def enqueue_assembly(self, folder):
        assert not folder.ended and not folder.cancelled
        assert folder.receipts.ids() >= {c.id for c in folder.plan().chunks}
        super().enqueue_assembly(folder)


class JobFolderMachine(RuleBasedStateMachine):
    @initialize(first=st.integers(1, 3), second=st.integers(0, 4))
    def create(self, first, second):
        self.place = tempfile.TemporaryDirectory(prefix="machine-")
        chunks = [
            ImageChunk(id=chunk_id(wave, n), wave=wave, start=n, stop=n + 1)
            for wave, numbers in ((1, range(first)), (2, range(first, first + second)))
            for n in numbers
        ]
        items = [Item(source=f"/a/{n}.png", output=f"/b/{n}.png") for n in range(first + second)]
        source = Source(path="/a", stamp="s", items=len(items))
        job = Job(id="j", source=source, recipe=Recipe(instruction="x", size=64), output="/b")
        path = Path(self.place.name) / "j"
        self.job = JobFolder.create(path, job, Plan(chunks=tuple(chunks)), items=items)
        self.ids = [c.id for c in chunks]
        self.executor = CheckedExecutor(3)
        self.result = None
        self.dropped = False

    def receipt(self, chunk):
        return Receipt(
            chunk=chunk, fingerprint=self.job.job().fingerprint(), frames=1, digest="d",
            worker=WORKER, finished=1.0,
        )  # fmt: skip

    # -- coordinators ------------------------------------------------------------------

    @rule()
    def a_command_begins_or_resumes(self):
        scheduler.submit_job(self.job, self.executor)

    @rule()
    def a_follower_dispatches_again(self):
        self.job.dispatch.clear()
        scheduler.dispatch_next(self.job, self.executor)

    @rule()
    def a_user_cancels(self):
        self.job.cancel()

    # -- the queue ---------------------------------------------------------------------

    @precondition(lambda self: self.executor.waiting)
    @rule(data=st.data())
    def a_message_is_lost(self, data):
        self.executor.waiting.pop(data.draw(st.integers(0, len(self.executor.waiting) - 1)))

    @precondition(lambda self: self.executor.waiting)
    @rule(data=st.data())
    def a_message_is_duplicated(self, data):
        self.executor.waiting.append(data.draw(st.sampled_from(self.executor.waiting)))

    @rule()
    def redis_is_wiped(self):
        self.executor.wipe()

    # -- workers -----------------------------------------------------------------------

    @precondition(lambda self: self.executor.waiting)
    @rule(data=st.data(), fails=st.booleans(), acknowledged=st.booleans())
    def a_worker_takes_a_message(self, data, fails, acknowledged):
        at = data.draw(st.integers(0, len(self.executor.waiting) - 1))
        message = self.executor.waiting[at]
        self.deliver(message.chunk_id, fails)
        if acknowledged:
            self.executor.waiting.remove(message)

    @rule(data=st.data(), fails=st.booleans())
    def a_worker_returns_after_a_long_pause(self, data, fails):
        """It had the chunk, and checked what other workers did before it stopped responding."""
        chunk = data.draw(st.sampled_from(self.ids))
        if fails:
            self.job.failures.write(Failure(chunk=chunk, error="EditError", message="no"))
        else:
            self.settle(chunk, fails)

    def deliver(self, name, fails=False):
        if self.job.cancelled:
            return
        if name != ASSEMBLY:
            if self.job.receipts.get(name) is None:
                self.settle(name, fails)
            scheduler.dispatch_next(self.job, self.executor)
            return
        try:
            assemble(self.job)
        except IncompleteJob as error:
            if not self.job.dispatch.redispatch():
                give_up(self.job, ASSEMBLY, error, attempts=1, worker=WORKER)
            scheduler.dispatch_next(self.job, self.executor)

    def settle(self, chunk, fails):
        self.job.heartbeats.write(Heartbeat(chunk=chunk, worker=WORKER, done=0, at=0.0))
        if fails:
            give_up(self.job, chunk, EditError("no"), attempts=3, worker=WORKER)
        elif chunk[0] == "1" or self.job.receipts.ids() >= {i for i in self.ids if i[0] == "1"}:
            self.job.receipts.write(self.receipt(chunk))

    # -- the disk ----------------------------------------------------------------------

    @precondition(lambda self: not self.job.ended and self.job.receipts.ids())
    @rule(data=st.data(), cut=st.booleans())
    def a_receipt_is_lost_or_cut_short(self, data, cut):
        path = self.job.path / "receipts" / f"{data.draw(st.sampled_from(self.ids))}.json"
        if path.exists():
            path.write_bytes(path.read_bytes()[:20]) if cut else path.unlink()

    # -- what holds at every moment ----------------------------------------------------

    @invariant()
    def a_result_stays_as_it_is(self):
        now = self.job.result()
        if self.result is not None:
            assert now == self.result
        self.result = now

    @invariant()
    def a_finished_chunk_has_not_failed(self):
        assert not self.job.failures.chunk_ids() & self.job.receipts.ids()
        assert {f.chunk for f in self.job.failures.all()} == self.job.failures.chunk_ids()

    @invariant()
    def the_status_is_true(self):
        found = scheduler.read_status(self.job)
        assert 0 <= found.done <= found.total == len(self.ids)
        assert found.state.startswith("finished") == self.job.ended
        if found.state == "failed":
            assert self.job.failures.chunk_ids()

    # -- and in the end ----------------------------------------------------------------

    def teardown(self):
        if not hasattr(self, "place"):
            return
        for _ in range(6):  # resumes
            if self.job.ended:
                break
            scheduler.submit_job(self.job, self.executor)
            for _ in range(60):
                if not self.executor.waiting:
                    break
                self.deliver(self.executor.waiting.pop(0).chunk_id)
        assert self.job.ended, "no resume brings it to its end"
        assert self.job.result().frames == len(self.ids)
        self.a_result_stays_as_it_is()
        self.place.cleanup()


TestJobFolder = JobFolderMachine.TestCase
TestJobFolder.settings = settings(max_examples=60, stateful_step_count=30)
