"""What an editor is: the one interface between the model and the rest, and its plainest form.

This file imports no torch, so that planning and tests can use it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from ..frame import Frame, Image
from ..recipe import Recipe

#: Called between denoising steps; raises to stop the edit (JobCancelled).
Checkpoint = Callable[[], None]


class EditSession(Protocol):
    """One recipe on one chunk. Made by :meth:`Editor.session`."""

    #: One line each: what the user should know ("the instruction was cut to 77 tokens").
    warnings: list[str]
    #: Frames in one call of the model; :meth:`edit` is best given so many at once.
    batch_size: int

    def edit(
        self,
        frames: Sequence[Frame],
        *,
        instructions: Sequence[str] | None = None,
        negative_prompts: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> list[Frame]:
        """Edit frames of one shape; any number of them, batched inside.

        Args:
            frames: images of one shape, both sides multiples of 8.
            instructions, negative_prompts, seeds: one each per frame, for stills that have
                their own; by default the recipe's.

        Returns:
            Same length, order, index and pts; only the images change. A frame's result does
            not depend on the other frames, beyond float rounding.

        Raises:
            EditError: the model failed, or gave no finite picture.
        """
        ...

    def save_border(self, frame: Frame, path: Path) -> None:
        """Run a border frame to the step where it is handed over; write its latents to ``path``.

        Raises:
            EditError: as for :meth:`edit`.
            OSError: ``path`` cannot be written.
        """
        ...

    def tie(self, left: tuple[Frame, Path], right: tuple[Frame, Path]) -> None:
        """Tie every later :meth:`edit` to these two borders (source frame, latents file).

        Frame numbers place each frame between the two: ``left.index <= index <= right.index``. A
        frame of which too much is hidden from both is edited as if there were no borders.

        Raises:
            EditError: latents are missing, damaged, or of another frame, step or size.
        """
        ...


class Editor(Protocol):
    """Owns weights, one per process."""

    @property
    def device(self) -> str:
        """What it computes on, as a user would name it (``cpu``, ``NVIDIA H100``)."""
        ...

    def session(self, recipe: Recipe, *, checkpoint: Checkpoint | None = None) -> EditSession:
        """A session for ``recipe``; cheap, since the weights stay loaded."""
        ...


class IdentityEditor:
    """Gives frames back as they are. For tests, and to time everything but the model.

    Args:
        transform: applied to each image, if given; must keep its shape.
        gate: entered around each call of ``edit``, for tests that hold a worker up.
    """

    device = "identity"

    def __init__(
        self,
        transform: Callable[[Image], Image] | None = None,
        gate: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.transform = transform
        self.gate = gate

    def session(self, recipe: Recipe, *, checkpoint: Checkpoint | None = None) -> EditSession:
        return _IdentitySession(self, checkpoint or (lambda: None))


class _IdentitySession:
    def __init__(self, editor: IdentityEditor, checkpoint: Checkpoint) -> None:
        self.warnings: list[str] = []
        self.batch_size = 4
        self._editor = editor
        self._checkpoint = checkpoint

    def edit(
        self,
        frames: Sequence[Frame],
        *,
        instructions: Sequence[str] | None = None,
        negative_prompts: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> list[Frame]:
        result = []
        for frame in frames:
            self._checkpoint()
            with self._editor.gate():
                change = self._editor.transform
                result.append(frame if change is None else frame.with_image(change(frame.image)))
        return result

    def save_border(self, frame: Frame, path: Path) -> None:
        self._checkpoint()
        path.write_bytes(b"identity")

    def tie(self, left: tuple[Frame, Path], right: tuple[Frame, Path]) -> None:
        for _, path in (left, right):
            path.stat()
