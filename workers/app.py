"""The workers' Celery app; the broker is that of IP2P_BROKER_URL."""

from __future__ import annotations

from ip2p_batch.errors import BrokerError
from ip2p_batch.queue.celery_app import make_app
from ip2p_batch.queue.messages import VISIBILITY_TIMEOUT
from ip2p_batch.settings import Settings

from . import message_filter
from .lease import LeaseRenewal

_settings = Settings.from_env()
_url = _settings.broker_url
if _url is None:
    raise BrokerError(
        "A worker needs a broker to listen to.", hint="Set IP2P_BROKER_URL or give --broker."
    )

message_filter.install()
app = make_app(_url, visibility_timeout=_settings.visibility_timeout or VISIBILITY_TIMEOUT)
# A spawned child only knows modules that are listed here.
app.conf.imports = ("workers.tasks",)
app.steps["consumer"].add(LeaseRenewal)
