"""Fixtures for all tests: nothing of the user's own settings, and one thread per process."""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from ip2p_batch.queue.celery_executor import CeleryExecutor
from ip2p_batch.queue.private_redis import PrivateRedis
from ip2p_batch.settings import Settings


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch, tmp_path_factory):
    """Keep the user's environment, job index and hub cache out of the tests."""
    for name in [n for n in os.environ if n.startswith("IP2P_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
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


def pytest_collection_modifyitems(items):
    """Tests marked gpu run where there is one."""
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))
