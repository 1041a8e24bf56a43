"""What an editor is: the one interface between the model and the rest, and its plainest form.

This file imports no torch, so that planning and tests can use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from ..errors import EditError
from ..frame import Frame, Image
from ..jobs.plan import BatchHistogram
from ..jobs.records import ComputeProfile, InferenceConfig
from ..recipe import Recipe
from ..threads import CpuPool

#: Called between denoising steps; raises to stop the edit (JobCancelled).
Checkpoint = Callable[[], None]


class EditSession(Protocol):
    """One recipe on one chunk. Made by :meth:`Editor.session`."""

    @property
    def warnings(self) -> list[str]:
        """One line each: what the user should know ("the instruction was cut to 77 tokens")."""
        ...

    @property
    def notes(self) -> Mapping[int, str]:
        """What was done about single frames, by number: words that follow "Frame 17".

        "came out black in float16; edited again in float32".
        """
        ...

    @property
    def batch_size(self) -> int:
        """How many frames :meth:`edit` is best given at once."""
        ...

    @property
    def border_batch_size(self) -> int:
        """How many borders :meth:`save_borders` is best given at once."""
        ...

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
            NotFinite: the model gave no finite picture for some of them; has the others.
            EditError: the model failed.
        """
        ...

    def save_borders(self, borders: Sequence[tuple[Frame, Path]]) -> None:
        """Run border frames to the step where they are handed over; write each one's latents.

        Raises:
            EditError: as for :meth:`edit`.
            OSError: a path cannot be written.
        """
        ...

    def tie(self, borders: Sequence[tuple[Frame, Path]]) -> None:
        """Tie every later :meth:`edit` to these borders (source frame, latents file), in order.

        Frame numbers place each frame between two of them. A frame of which too much is hidden
        from both is edited as if there were no borders.

        Raises:
            EditError: latents are missing, damaged, or of another frame, step or size.
        """
        ...

    def steady(self, source: Frame, edited: Frame) -> list[Frame]:
        """Take the next frame of a shot, in order; give those that have all their neighbours.

        Temporal filter and deflicker. May be called in another thread than the rest.
        """
        ...

    def rest(self) -> list[Frame]:
        """The frames that :meth:`steady` still holds; no more are to come."""
        ...

    def anchor(self, anchors: Sequence[tuple[Frame, Path | None]]) -> None:
        """Let all frames from now on look at these frames of their shot, too.

        Args:
            anchors: source frames, of the size of those to come; with the latents file that
                :meth:`save_borders` made of each, or None for all where there are none yet.

        Raises:
            EditError: as for :meth:`tie`.
        """
        ...

    def look(self, picture: Image) -> None:
        """Let all frames and anchors from now on look at this finished picture, too.

        Args:
            picture: of any size with sides that are multiples of 8.
        """
        ...

    def prepare(self, frame: Frame) -> Frame:
        """Do ahead what editing this frame needs besides the model (optical flow).

        May be called in another thread than the rest, after :meth:`tie`; never must be.

        Returns:
            The frame itself.
        """
        ...


class Editor(Protocol):
    """Owns weights, one per process."""

    @property
    def device(self) -> str:
        """What it computes on, as a user would name it (``cpu``, ``NVIDIA H100``)."""
        ...

    @property
    def compute_profile(self) -> ComputeProfile | None:
        """What decides the last bits of its results; None where all machines give the same."""
        ...

    def autotune(
        self, recipe: Recipe, size: tuple[int, int], batch_histogram: BatchHistogram
    ) -> InferenceConfig:
        """How a job's frames had best be edited on this device.

        May take a minute where a long job is worth some measuring.

        Args:
            size: width and height of the frames, multiples of 8.
            batch_histogram: frames edited together, and how often; see
                :meth:`ip2p_batch.jobs.plan.Plan.batch_histogram`.
        """
        ...

    def session(
        self,
        recipe: Recipe,
        *,
        inference_config: InferenceConfig | None = None,
        cpu_pool: CpuPool | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> EditSession:
        """A session for ``recipe``; cheap, since the weights stay loaded.

        Args:
            inference_config: what :meth:`autotune` found; without it, what a recipe leaves open
                (``batch_size``, ``compile``) is the device's default.
            cpu_pool: threads for small work beside the model; None: the caller's.
        """
        ...


class IdentityEditor:
    """Gives frames back as they are. For tests, and to time everything but the model.

    Args:
        transform: applied to each image, if given; must keep its shape.
        gate: entered around each call of ``edit``, for tests that hold a worker up.
    """

    device = "identity"
    compute_profile: ComputeProfile | None = None

    def __init__(
        self,
        transform: Callable[[Image], Image] | None = None,
        gate: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.transform = transform
        self.gate = gate

    def autotune(
        self, recipe: Recipe, size: tuple[int, int], batch_histogram: BatchHistogram
    ) -> InferenceConfig:
        return InferenceConfig(batch_size=recipe.batch_size)

    def session(
        self,
        recipe: Recipe,
        *,
        inference_config: InferenceConfig | None = None,
        cpu_pool: CpuPool | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> EditSession:
        return _IdentitySession(self, checkpoint or (lambda: None))


#: What stands for a border's latents where nothing is edited.
_LATENTS = b"identity"


def _see(path: Path | None) -> None:
    if path is not None and not (path.is_file() and path.read_bytes() == _LATENTS):
        raise EditError(f"Border latents {path.name} are missing or damaged.")


class _IdentitySession:
    def __init__(self, editor: IdentityEditor, checkpoint: Checkpoint) -> None:
        self.warnings: list[str] = []
        self.notes: dict[int, str] = {}
        self.batch_size = self.border_batch_size = 4
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

    def save_borders(self, borders: Sequence[tuple[Frame, Path]]) -> None:
        for _, path in borders:
            self._checkpoint()
            path.write_bytes(_LATENTS)

    def tie(self, borders: Sequence[tuple[Frame, Path]]) -> None:
        for _, path in borders:
            _see(path)

    def steady(self, source: Frame, edited: Frame) -> list[Frame]:
        return [edited]

    def rest(self) -> list[Frame]:
        return []

    def anchor(self, anchors: Sequence[tuple[Frame, Path | None]]) -> None:
        for _, path in anchors:
            _see(path)

    def look(self, picture: Image) -> None:
        pass  # what is given back as it is has no look

    def prepare(self, frame: Frame) -> Frame:
        return frame
