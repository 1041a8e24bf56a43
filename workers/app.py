"""The workers' Celery app, for the broker that IP2P_BROKER_URL names."""

from __future__ import annotations

from ip2p_batch.errors import BrokerError
from ip2p_batch.jobs.log import set_log_level
from ip2p_batch.queue.celery_app import make_app
from ip2p_batch.queue.messages import VISIBILITY_TIMEOUT
from ip2p_batch.settings import Settings

from . import message_filter
from .visibility import VisibilityRenewal

_settings = Settings.from_env()
_url = _settings.broker_url
if _url is None:
    raise BrokerError("A worker needs a broker.", hint="Set IP2P_BROKER_URL or give --broker.")

set_log_level(_settings.log_level)
message_filter.install()
app = make_app(_url, visibility_timeout=_settings.visibility_timeout or VISIBILITY_TIMEOUT)
app.conf.worker_log_format = "[%(asctime)s: %(levelname)s/%(processName)s] %(name)s: %(message)s"
# A spawned child imports only the modules that are listed here.
app.conf.imports = ("workers.tasks",)
app.steps["consumer"].add(VisibilityRenewal)
