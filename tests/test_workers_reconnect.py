"""Workers continue after their connections to Redis break, every time."""

import time
from contextlib import closing

import pytest

from ip2p_batch import scheduler
from ip2p_batch.queue.celery_executor import CeleryExecutor

from .faults.rig import Proxy
from .jobs import image_job
from .waiting import wait_for
from .worker_processes import run_launcher


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_worker_whose_connections_are_cut_takes_chunks_again(tmp_path, redis):
    proxy = Proxy(redis.socket)
    direct = CeleryExecutor(redis.url)
    try:
        url, soon = f"redis://127.0.0.1:{proxy.port}/0", {"IP2P_VISIBILITY_TIMEOUT": "3"}
        with run_launcher(url, tmp_path / "log", **soon), closing(direct):
            wait_for(lambda: direct.workers(0.5))
            for number, pause in enumerate((0.1, 0.0, 0.2, 0.05, 0.15, 0.1)):
                # Idle, while reconnecting, or while editing a chunk.
                job = image_job(tmp_path / str(number), 2, model="identity:slow=0.2")
                if number % 2:
                    scheduler.dispatch_next(job, direct)
                proxy.cut()
                time.sleep(pause)
                proxy.cut()
                # Where the cut lost a message, the following command dispatches it again.
                assert list(scheduler.follow_job(job, direct))[-1].kind == "done"
    finally:
        proxy.close()
