"""The interface between the model and the rest of the program. It imports no torch.

An editor holds weights; a session edits the frames of one chunk. Subclass both to edit with
something else. Only :meth:`Editor.session` and :meth:`EditSession.edit` are required::

    class Inverted(EditSession):
        def edit(self, frames, *, overrides=None):
            return [frame.with_image(255 - frame.image) for frame in frames]

    class InvertingEditor(Editor):
        def session(self, recipe, context=EMPTY_CONTEXT, **options):
            return Inverted()
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ..errors import EditError
from ..frame import Frame, Image
from ..jobs.plan import BatchHistogram
from ..jobs.records import ComputeProfile, InferenceConfig
from ..recipe import Recipe
from ..threads import CpuPool
from .tile_options import TileOptions

#: Called between denoising steps; raises to stop the edit (JobCancelled).
Checkpoint = Callable[[], None]


@dataclass(frozen=True, slots=True, eq=False)
class ContextFrame:
    """A frame that the frames of a chunk depend on: a border or an anchor.

    Attributes:
        frame: its source, resized for the edit.
        latents: what :meth:`EditSession.border_latents` returned for it; None: not computed yet.
    """

    frame: Frame
    latents: bytes | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ChunkContext:
    """All that the frames of a chunk depend on, except the recipe and themselves.

    Attributes:
        borders: ascending, each with latents; every frame of the chunk lies between two of them.
            Empty: frames are edited independently.
        anchors: frames that all frames of the chunk attend to. Either all have latents or none.
        reference_image: a finished image that all frames attend to; uint8 RGB of any size with
            sides that are multiples of 8.
        reference_hints: what the control nets see of the reference image, as
            :attr:`~ip2p_batch.frame.Frame.hints`; empty: they do not act on it.
    """

    borders: Sequence[ContextFrame] = ()
    anchors: Sequence[ContextFrame] = ()
    reference_image: Image | None = None
    reference_hints: tuple[Image, ...] = ()


EMPTY_CONTEXT = ChunkContext()


@dataclass(frozen=True, slots=True)
class Overrides:
    """What one image replaces in the recipe; None keeps the recipe's value."""

    instruction: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None


class EditSession(Protocol):
    """Edits the frames of one chunk by one recipe. Created by :meth:`Editor.session`.

    The methods can be called in any order. One thread at a time calls :meth:`edit` and
    :meth:`border_latents`; other threads may call :meth:`prepare` meanwhile.
    """

    @property
    def warnings(self) -> Sequence[str]:
        """Lines for the user, for example "The instruction was truncated to 75 tokens"."""
        return ()

    @property
    def notes(self) -> Mapping[int, str]:
        """What was done about single frames, by frame number: words that follow "Frame 17".

        For example "came out black in float16; edited again in float32".
        """
        return {}

    @property
    def batch_size(self) -> int:
        """How many frames one call of :meth:`edit` should get, at least 1."""
        return 1

    @property
    def border_batch_size(self) -> int:
        """How many frames one call of :meth:`border_latents` should get, at least 1."""
        return self.batch_size

    def prepare(self, frame: Frame) -> Frame:
        """Compute ahead what :meth:`edit` needs for a frame besides the model (optical flow).

        Optional: :meth:`edit` prepares frames that are not. Any thread may call this.

        Returns:
            The frame, of a class that carries the results.

        Raises:
            EditError: the frame does not lie between borders of the context, or has another size.
        """
        return frame

    @abstractmethod
    def edit(
        self, frames: Sequence[Frame], *, overrides: Sequence[Overrides] | None = None
    ) -> list[Frame]:
        """Edit any number of frames of one shape.

        Args:
            frames: uint8 RGB, both sides multiples of 8.
            overrides: one for each frame; None: the recipe applies to all.

        Returns:
            As many frames in the same order, with the same index and pts; only the images change.
            A frame's result does not depend on the other frames of the call.

        Raises:
            NotFinite: the model gave no finite image for some frames; holds the others.
            EditError: the model failed.
        """

    def border_latents(self, frames: Sequence[Frame]) -> list[bytes]:
        """Run border frames up to the step at which the frames between them start.

        Returns:
            For each frame the content of its latents file; see :class:`ContextFrame`. Editors that
            carry nothing over return empty ones.

        Raises:
            EditError: as for :meth:`edit`.
        """
        return [b"" for _ in frames]


@runtime_checkable
class TileSession(Protocol):
    """A session that can also run the tile pass; optional. See :mod:`.tile_refinement`."""

    @abstractmethod
    def refine(
        self,
        pairs: Sequence[tuple[Frame, Frame]],
        options: TileOptions,
        *,
        overrides: Sequence[Overrides] | None = None,
    ) -> list[Frame]:
        """Draw edits again at the size of their sources.

        Args:
            pairs: each a source and its edit at the same size, uint8 RGB of any shape.
            overrides: one for each pair; None: the recipe applies to all.

        Returns:
            As many frames in the same order, with index, pts and shape of their sources. A frame's
            result does not depend on the other frames of the call.

        Raises:
            NotFinite: as for :meth:`EditSession.edit`.
            EditError: the model failed.
        """


class Editor(Protocol):
    """Holds weights; one per process."""

    @property
    def device(self) -> str:
        """What it computes on, as users name it (``cpu``, ``NVIDIA H100``)."""
        return "cpu"

    @property
    def compute_profile(self) -> ComputeProfile | None:
        """What decides the last bits of its results; None if they are equal on all machines."""
        return None

    def profile_for(self, recipe: Recipe) -> ComputeProfile | None:
        """What decides the last bits of results by a recipe, its control nets included.

        Raises:
            ModelError: a control net cannot be loaded, or does not fit the model.
        """
        return self.compute_profile

    def autotune(
        self, recipe: Recipe, size: tuple[int, int], batch_histogram: BatchHistogram
    ) -> InferenceConfig:
        """Find out how to edit a job's frames fastest on this device; may take a minute.

        Args:
            size: width and height of the frames, multiples of 8.
            batch_histogram: how many frames are edited together, and how often; see
                :meth:`ip2p_batch.jobs.plan.Plan.batch_histogram`.
        """
        return InferenceConfig(batch_size=recipe.batch_size)

    @abstractmethod
    def session(
        self,
        recipe: Recipe,
        context: ChunkContext = EMPTY_CONTEXT,
        *,
        inference_config: InferenceConfig | None = None,
        cpu_pool: CpuPool | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> EditSession:
        """Create a session; cheap, since the weights stay loaded.

        Args:
            inference_config: result of :meth:`autotune`. Without it the device's defaults apply
                to what the recipe leaves open (``batch_size``, ``compile``).
            cpu_pool: threads for small pieces of work on the CPU; None: the caller's thread.
            checkpoint: see :data:`Checkpoint`.

        Raises:
            EditError: latents of the context are damaged, or of another frame, step or size.
            ModelError: the model cannot do what the recipe asks for.
        """


class IdentityEditor(Editor):
    """Returns frames unchanged. For tests, and to time everything except the model.

    Args:
        transform: applied to each image, if given; must keep its shape.
        gate: entered around each edited frame, for tests that delay or stop a worker.
    """

    def __init__(
        self,
        transform: Callable[[Image], Image] | None = None,
        gate: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.transform = transform
        self.gate = gate

    @property
    def device(self) -> str:
        return "identity"

    def session(
        self,
        recipe: Recipe,
        context: ChunkContext = EMPTY_CONTEXT,
        *,
        inference_config: InferenceConfig | None = None,
        cpu_pool: CpuPool | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> EditSession:
        for known in (*context.borders, *context.anchors):
            if known.latents not in (None, _LATENTS):
                raise EditError(f"The latents of border frame {known.frame.index} are damaged.")
        return _IdentitySession(self, checkpoint or (lambda: None))


#: The latents of every border; not empty, so that a damaged file is noticed.
_LATENTS = b"identity"


class _IdentitySession(EditSession, TileSession):
    def __init__(self, editor: IdentityEditor, checkpoint: Checkpoint) -> None:
        self._editor = editor
        self._checkpoint = checkpoint

    @property
    def batch_size(self) -> int:
        return 4

    def edit(
        self, frames: Sequence[Frame], *, overrides: Sequence[Overrides] | None = None
    ) -> list[Frame]:
        return [self._edit(frame) for frame in frames]

    def _edit(self, frame: Frame) -> Frame:
        self._checkpoint()
        with self._editor.gate():
            transform = self._editor.transform
            return frame if transform is None else frame.with_image(transform(frame.image))

    def refine(
        self,
        pairs: Sequence[tuple[Frame, Frame]],
        options: TileOptions,
        *,
        overrides: Sequence[Overrides] | None = None,
    ) -> list[Frame]:
        for _ in pairs:
            self._checkpoint()
        return [source.with_image(edit.image) for source, edit in pairs]

    def border_latents(self, frames: Sequence[Frame]) -> list[bytes]:
        for _ in frames:
            self._checkpoint()
        return [_LATENTS for _ in frames]
