"""Renew the lease on the messages that this worker holds.

Redis has no notion of a consumer that is alive: Kombu gives a message back to the queue when it
was not acknowledged within the visibility timeout, also when a healthy worker is at it (celery
#5935). With renewal the timeout can be minutes instead of hours, so a dead worker's chunk is soon
taken up, and a long chunk still runs once. Uses private parts of Kombu 5.7; its version is pinned.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from celery import bootsteps

log = logging.getLogger(__name__)


class LeaseRenewal(bootsteps.StartStopStep):
    """A thread beside the consumer that renews each message in hand, four times a timeout."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stop = threading.Event()

    def start(self, parent: Any) -> None:
        self._stop.set()  # a thread of the connection before this one, if any
        self._stop = threading.Event()
        # An event of its own: the thread must not mistake a later start for its own.
        threading.Thread(
            target=_keep_renewing, args=(parent, self._stop), name="lease", daemon=True
        ).start()

    def stop(self, parent: Any) -> None:
        """Called when the connection is lost, too; then :meth:`start` comes again."""
        self._stop.set()

    def terminate(self, parent: Any) -> None:
        self._stop.set()


def _keep_renewing(consumer: Any, stop: threading.Event) -> None:
    timeout = consumer.app.conf.broker_transport_options["visibility_timeout"]
    while not stop.wait(timeout / 4):
        try:
            renew(consumer.task_consumer.channel)
        except Exception as error:  # Redis may be restarting: try again at the next turn
            log.warning("could not renew leases: %s", error)


def renew(channel: Any) -> int:
    """Set the time of every message that ``channel`` holds to now; how many those are."""
    tags = list(channel.qos._delivered)
    if tags:
        with channel.conn_or_acquire() as client:
            # XX: a message that was acknowledged in this moment is not brought back.
            client.zadd(channel.unacked_index_key, dict.fromkeys(tags, time.time()), xx=True)
    return len(tags)
