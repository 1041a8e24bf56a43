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
    """Imports modules as everybody does.

    Celery's own puts the current folder before everything else: a user's folder of pictures may
    hold a ``workers`` or a ``random.py``.
    """

    def import_from_cwd(self, module: str, imp: Any = None, package: Any = None) -> ModuleType:
        return importlib.import_module(module, package)


def make_app(url: str, *, visibility_timeout: float = VISIBILITY_TIMEOUT) -> Celery:
    """The Celery app on the broker at ``url``; both sides of the queue use this one.

    Args:
        visibility_timeout: seconds; of all apps on one broker the shortest rules.
    """
    app = Celery("ip2p", broker=url, loader=Loader, set_as_current=False)
    app.conf.update(
        # JSON both ways, and nothing else is even read: pickle runs what it is sent.
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_queues=[Queue(QUEUE)],
        task_default_queue=QUEUE,
        task_create_missing_queues=False,
        # Receipts say what is done; results would only fill Redis.
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # An event per message halves the rate of handing over; workers' events feed Flower.
        task_send_sent_event=False,
        worker_send_task_events=True,
        # One process, one chunk, one GPU. Prefetching more would sit on work that another worker
        # could do; disabling it closes the moment before the limit of one takes hold.
        worker_pool="prefork",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # CUDA cannot be initialised again in a forked child (pytorch #40403).
        worker_pool_start_method="spawn",
        # Recycling a process would load the model again.
        worker_max_tasks_per_child=None,
        # Importing torch from a cold disk takes longer than the usual four seconds.
        worker_proc_alive_timeout=120,
        # For workers run by hand with REMAP_SIGTERM=SIGQUIT; the launcher does better, since
        # this sleeps for the whole window although the chunk may be done at once.
        worker_soft_shutdown_timeout=SOFT_SHUTDOWN,
        # On Redis a task survives a broken connection, and is acknowledged after it.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Redis may come up after its workers, and may be restarted: wait for it.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # Acknowledged when done, so that a worker's death gives the chunk back; but not for ever:
        # reject_on_worker_lost alone runs a deadly chunk without end, retry counts.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_retry_on_worker_lost=True,
        # A chunk that hung comes back, too, and is narrowed down like one that kills.
        task_acks_on_timeout=False,
        task_time_limit=TIME_LIMIT,
        broker_transport_options={
            "visibility_timeout": visibility_timeout,
            # Look for expired messages every 10 s; by default it is every 100 s.
            "unacked_restore_interval": min(10, visibility_timeout),
            "unacked_restore_throttle": 1,
            # A machine that dies in the midst of that holds the others up; for five minutes else.
            "unacked_mutex_expire": 10,
            "global_keyprefix": KEY_PREFIX,
            # The default separator is made of control characters, a nuisance in monitoring.
            "sep": SEPARATOR,
            "queue_order_strategy": "priority",
            "priority_steps": list(PRIORITY_STEPS),
            # Kombu notices a half-open connection only where reads can time out.
            "socket_timeout": 60,
            "socket_connect_timeout": 10,
            "socket_keepalive": not url.startswith("redis+socket"),
            "health_check_interval": 25,
            # Never True: redis-py then reconnects by itself in the midst of a read for orders, and
            # waits there, with no limit, for the first one. The worker takes no chunk ever again.
            "retry_on_timeout": False,
        },
        visibility_timeout=visibility_timeout,
    )
    if url.startswith("rediss://") and "ssl_" not in url:
        # Kombu's own default for rediss:// accepts any certificate.
        app.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    return app
