"""Events of a job, for those that follow it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from .codec import FrozenStruct

EventKind = Literal[
    "planning", "planned", "started", "progress", "chunk", "warning", "failed_item",
    "assembling", "done", "failed", "cancelled", "paused", "resumed", "training",
    "summary",
]  # fmt: skip


class Event(FrozenStruct, frozen=True, kw_only=True):
    """Something a user may want to see; one JSON object a line with ``--json``.

    The last event of a command with several jobs is ``summary``.

    Attributes:
        done, total: frames or images.
        stage: what ``planning`` is at ("reading frames", "finding scene cuts"), or ``training``.
        data: anything else, JSON types only.
    """

    kind: EventKind
    job: str = ""
    done: int = 0
    total: int = 0
    stage: str = ""
    message: str = ""
    data: dict[str, Any] = msgspec.field(default_factory=dict)
