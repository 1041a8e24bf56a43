"""Fixtures for all tests; each test runs with default settings and one thread per process."""

import itertools
import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

from ip2p_batch.queue.celery_executor import CeleryExecutor
from ip2p_batch.queue.private_redis import PrivateRedis
from ip2p_batch.settings import Settings

# A deadline would be an assertion on the speed of the machine. The examples of a
# property test share its fixtures.
hypothesis.settings.register_profile(
    "tests",
    deadline=None,
    print_blob=True,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
)
hypothesis.settings.load_profile("tests")

_count = itertools.count()


@pytest.fixture(scope="session")
def _user_folders(tmp_path_factory):
    return tmp_path_factory.mktemp("user")


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch, _user_folders):
    """Keep the user's environment, job index and hub cache out of the tests."""
    for name in [n for n in os.environ if n.startswith("IP2P_")]:
        monkeypatch.delenv(name)
    own = _user_folders / str(next(_count))  # created only by tests that write to it
    monkeypatch.setenv("XDG_STATE_HOME", str(own / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(own / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def settings() -> Settings:
    return Settings.from_env()


@pytest.fixture
def redis():
    """A private Redis of the test's own."""
    with PrivateRedis() as server:
        yield server


@pytest.fixture
def executor(redis):
    """An executor on that Redis."""
    executor = CeleryExecutor(redis.url)
    yield executor
    executor.close()


def pytest_configure():
    # A shell starts background commands with Ctrl-C ignored, and children would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item):
    """Skip tests marked gpu on machines without one; only these tests import torch for it."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device here")
