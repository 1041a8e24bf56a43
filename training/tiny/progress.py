"""Progress of a build: stages, and the units of work done in each."""

from __future__ import annotations

from collections.abc import Callable

#: Called with the stage's name, the number of units done and of all units, and a comment.
Progress = Callable[[str, int, int, str], None]


def loss_of(progress: Progress, stage: str) -> Callable[[int, int, float], None]:
    """Report the steps of a training loop as progress of ``stage``."""
    return lambda step, steps, loss: progress(stage, step, steps, f"loss {loss:.4f}")
