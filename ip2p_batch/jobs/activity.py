"""Whether a job is being worked on, and which process of this machine is about to."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from ..storage.locks import Lock, lock_file, probe_lock
from .attempts import is_crashed, live_heartbeats
from .folder import JobFolder
from .records import Heartbeat

#: Locked by the process that dispatches and repairs a job.
LEADER_LOCK = "leader.lock"
#: Locked by the command that planned a job, until it has run it.
_OWNER_LOCK = "owner.lock"
#: Marker: the job was sent to the workers of a broker, which need no command that follows it.
_ON_BROKER = "on-broker"

#: Open lock files of this process, by job folder.
_claims: dict[Path, int] = {}


def claim(folder: JobFolder) -> None:
    """Keep other commands from starting another job on the same output, until :func:`unclaim`.

    Two commands may claim one job: they run it together.
    """
    if folder.path in _claims:
        unclaim(folder)  # its folder may have been deleted and made anew since
    try:
        file = os.open(folder.at(_OWNER_LOCK), os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return  # writing the job reports it
    if lock_file(file) is Lock.OURS:
        _claims[folder.path] = file
    else:
        os.close(file)


def unclaim(folder: JobFolder) -> None:
    """Undo :func:`claim`; the end of the process does, too."""
    if (file := _claims.pop(folder.path, None)) is not None:
        os.close(file)


def mark_on_broker(folder: JobFolder, *, on_broker: bool) -> None:
    """Record whether workers of a broker run the job, or those of a command."""
    if on_broker:
        folder.mark_once(_ON_BROKER)
    else:
        folder.unmark(_ON_BROKER)


def running_heartbeats(folder: JobFolder) -> list[Heartbeat]:
    """Recent heartbeats of unfinished chunks, without those of killed processes of this host."""
    here = platform.node()
    return [
        heartbeat
        for heartbeat in live_heartbeats(folder, folder.receipts.ids())
        if heartbeat.worker.host != here or not is_crashed(folder, heartbeat.chunk)
    ]


def is_led(folder: JobFolder) -> bool:
    """Whether work on the job continues between two chunks, as far as locks tell."""
    return folder.marked(_ON_BROKER) or probe_lock(folder.at(LEADER_LOCK)) is not Lock.OURS


def is_followed(folder: JobFolder) -> bool:
    """Whether a command runs the job, or is about to; False where the disk has no locks."""
    if probe_lock(folder.at(LEADER_LOCK)) is Lock.HELD:
        return True
    return folder.path not in _claims and probe_lock(folder.at(_OWNER_LOCK)) is Lock.HELD


def is_active(folder: JobFolder) -> bool:
    """Whether the job may write results from now on, without any further command."""
    if folder.ended or folder.superseded is not None:
        return False
    if is_followed(folder) or running_heartbeats(folder):
        return True
    stopped = folder.cancelled or folder.paused or folder.failures.chunk_ids()
    return folder.marked(_ON_BROKER) and not stopped
