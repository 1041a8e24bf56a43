"""Renew the visibility timeout of the messages that this worker has not acknowledged.

Kombu returns a message to the queue when it is not acknowledged within the visibility timeout, even
while a healthy worker processes it (https://github.com/celery/celery/issues/5935). With renewal
the timeout can be minutes instead of hours: a dead worker's chunk is redelivered soon, and a long
chunk still runs once. Uses private parts of Kombu 5.7, whose version is pinned.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from celery import bootsteps

log = logging.getLogger(__name__)


class VisibilityRenewal(bootsteps.StartStopStep):
    """A thread next to the consumer that renews its messages, four times per timeout."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stop = threading.Event()

    def start(self, parent: Any) -> None:
        self._stop.set()  # stops the thread of the previous connection
        self._stop = threading.Event()
        # A new event per thread, so that a later start does not resume an old thread.
        threading.Thread(
            target=_keep_renewing, args=(parent, self._stop), name="visibility", daemon=True
        ).start()

    def stop(self, parent: Any) -> None:
        """Stop the thread; Celery also calls this when the connection is lost, before a restart."""
        self._stop.set()

    def terminate(self, parent: Any) -> None:
        self._stop.set()


def _keep_renewing(consumer: Any, stop: threading.Event) -> None:
    timeout = consumer.app.conf.broker_transport_options["visibility_timeout"]
    while not stop.wait(timeout / 4):
        try:
            renew(consumer.task_consumer.channel)
        except Exception as error:  # Redis may be restarting: the next renewal may succeed
            log.warning("messages were not renewed: %s", error)


def renew(channel: Any) -> int:
    """Renew every unacknowledged message of ``channel``; return their number."""
    tags = list(channel.qos._delivered)
    if tags:
        with channel.conn_or_acquire() as client:
            # XX: do not bring back a message that was acknowledged a moment ago.
            client.zadd(channel.unacked_index_key, dict.fromkeys(tags, time.time()), xx=True)
    return len(tags)
