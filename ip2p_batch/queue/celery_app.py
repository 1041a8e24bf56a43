"""The Celery app, configured for long GPU tasks on Redis."""

from __future__ import annotations

import importlib
import ssl
from types import ModuleType
from typing import Any

from celery import Celery
from celery.loaders.app import AppLoader
from kombu import Queue

from .messages import (
    KEY_PREFIX,
    PRIORITY_STEPS,
    QUEUE,
    SEPARATOR,
    SOFT_SHUTDOWN,
    TIME_LIMIT,
    VISIBILITY_TIMEOUT,
)


class Loader(AppLoader):
    """Import modules the normal way.

    Celery's own loader puts the current folder first in the import path, and a user's folder of
    images may contain a ``workers`` folder or a ``random.py``.
    """

    def import_from_cwd(self, module: str, imp: Any = None, package: Any = None) -> ModuleType:
        return importlib.import_module(module, package)


def make_app(url: str, *, visibility_timeout: float = VISIBILITY_TIMEOUT) -> Celery:
    """Make the Celery app for the broker at ``url``. Scheduler and workers use the same one.

    The comments give the reason for every option; ``docs/deploy.md`` describes the effects. The
    app has no tasks: the ``workers`` package adds them.

    Args:
        url: broker URL; see :func:`~ip2p_batch.queue.redis_url.connect`. It is not checked here.
        visibility_timeout: seconds until an unacknowledged message is delivered again. Of all apps
            on one broker, the shortest applies.
    """
    app = Celery("ip2p", broker=url, loader=Loader, set_as_current=False)
    app.conf.update(
        # JSON only, in both directions: pickle executes code from a message.
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_queues=[Queue(QUEUE)],
        task_default_queue=QUEUE,
        task_create_missing_queues=False,
        # Receipts record what is done; results would only fill Redis.
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # An event per message halves the enqueue rate. Workers' events feed Flower.
        task_send_sent_event=False,
        worker_send_task_events=True,
        # One process, one chunk, one GPU. A prefetched message waits here while another worker is
        # idle; disabling prefetch also covers the moment before the limit of one applies.
        worker_pool="prefork",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # CUDA cannot be initialised again in a forked child (pytorch/pytorch#40403).
        worker_pool_start_method="spawn",
        # Recycling a process would load the model again.
        worker_max_tasks_per_child=None,
        # Importing torch from a cold disk takes longer than the usual four seconds.
        worker_proc_alive_timeout=120,
        # For workers started by hand with REMAP_SIGTERM=SIGQUIT. It always sleeps for the whole
        # time, so the launcher stops its workers in another way.
        worker_soft_shutdown_timeout=SOFT_SHUTDOWN,
        # With Redis a task survives a broken connection and is acknowledged after it.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Redis may start after its workers, and may restart: wait for it.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # Acknowledge after the task, so that a worker's death returns the chunk to the queue.
        # reject_on_worker_lost alone would run a poisoned chunk forever; retries are counted.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_retry_on_worker_lost=True,
        # A chunk that hangs returns, too, and its frame is isolated like one that crashes.
        task_acks_on_timeout=False,
        task_time_limit=TIME_LIMIT,
        broker_transport_options={
            "visibility_timeout": visibility_timeout,
            # Check for expired messages every 10 s; the default is about 100 s.
            "unacked_restore_interval": min(10, visibility_timeout),
            "unacked_restore_throttle": 1,
            # A machine that dies during the check blocks the others this long; 300 s by default.
            "unacked_mutex_expire": 10,
            "global_keyprefix": KEY_PREFIX,
            # The default separator has control characters, which garble monitoring tools.
            "sep": SEPARATOR,
            "queue_order_strategy": "priority",
            "priority_steps": list(PRIORITY_STEPS),
            # Kombu notices a half-open connection only where reads can time out.
            "socket_timeout": 60,
            "socket_connect_timeout": 10,
            "socket_keepalive": not url.startswith("redis+socket"),
            "health_check_interval": 25,
            # Never True: redis-py then reconnects during a read of control messages and waits there
            # without a limit. The worker takes no more chunks.
            "retry_on_timeout": False,
        },
        visibility_timeout=visibility_timeout,
    )
    if url.startswith("rediss://") and "ssl_" not in url:
        # Kombu's default for rediss:// accepts any certificate.
        app.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    return app
