"""Worker processes: Celery tasks that call :mod:`ip2p_batch`, and the launcher that runs them.

``python -m workers`` starts the launcher, which starts one Celery worker per GPU slot or group of
CPU cores (:mod:`workers.worker`). The current folder of a user may contain a ``workers`` module,
too, so commands start the launcher with ``PYTHONSAFEPATH``; see
:func:`ip2p_batch.queue.local_workers.launcher_env`.
"""

from .launcher import Launcher, Slot, launch, slots

__all__ = ["Launcher", "Slot", "launch", "slots"]
