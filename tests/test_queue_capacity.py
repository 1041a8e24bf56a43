"""The number of workers is limited by cores and memory."""

import pytest

from ip2p_batch.queue import capacity
from workers import launcher


@pytest.fixture
def small_machine(monkeypatch):
    monkeypatch.setattr(capacity, "available_cores", lambda: 2)
    monkeypatch.setattr(capacity, "available_memory", lambda: 3 * 2**30)


def test_as_many_workers_as_fit_are_started_with_a_warning(small_machine):
    count, warning = capacity.limited_workers(1000)
    assert count == 4
    assert warning.startswith("1000 workers are more than this machine holds; 4 are started")


def test_a_number_that_fits_stays_without_a_warning(small_machine):
    assert capacity.limited_workers(3) == (3, "")


def test_this_machine_has_cores_and_memory():
    assert capacity.available_cores() >= 1
    memory = capacity.available_memory()
    assert memory is None or memory > 2**20


def test_the_memory_of_a_container_counts(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert capacity._cgroup_memory(tmp_path) == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert capacity._cgroup_memory(tmp_path) is None


def test_the_launcher_starts_no_more_workers_than_fit(small_machine, monkeypatch, caplog):
    started = []
    monkeypatch.setattr(launcher.Launcher, "run", lambda self, **_: started.extend(self.slots) or 0)
    monkeypatch.setattr(
        launcher.Launcher, "__init__", lambda self, slots: setattr(self, "slots", slots)
    )
    assert launcher.launch("cpu", 1000, exit_with_parent=False) == 0
    assert len(started) == 4
    assert "1000 workers are more than this machine holds" in caplog.text
