"""The control nets of a session, and of one batch of its frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from ...errors import EditError
from ...frame import Frame, Image
from ...recipe_parts import Control
from ..prompts import TextEmbeds, UNetTexts
from .nets import Adapter, ControlNet
from .residuals import Residuals, by_branch, summed

Tensor = torch.Tensor
Net = ControlNet | Adapter
#: Returns the embedding of a text, one sample.
EmbedText = Callable[[str], TextEmbeds]


def acts(control: Control, step: int, steps: int) -> bool:
    """Whether a net acts in a step, by the rule of diffusers' pipelines.

    >>> late = Control(kind="canny", start=0.5)
    >>> [acts(late, step, 4) for step in range(4)]
    [False, False, True, True]
    """
    off = step / steps < control.start or (step + 1) / steps > control.end
    return control.scale > 0 and not off


@dataclass(frozen=True, slots=True, eq=False)
class SessionNets:
    """The nets of a recipe.

    Attributes:
        nets: each with its part of the recipe, in the recipe's order.
        num_steps: of the denoising.
        constant: give zeros in steps in which no ControlNet acts, so that the UNet's arguments have
            the same shapes in all steps, as a compiled UNet needs.
    """

    nets: Sequence[tuple[Control, Net]]
    num_steps: int
    constant: bool = False

    @property
    def modules(self) -> list[torch.nn.Module]:
        """All that has weights."""
        return [module for _, net in self.nets for module in net.modules]

    def check(self, frame: Frame) -> None:
        """Check that a frame has a hint of its size for each net.

        Raises:
            EditError: it does not.
        """
        if len(frame.hints) != len(self.nets):
            raise EditError(
                f"Frame {frame.index} has {len(frame.hints)} hints; the recipe has"
                f" {len(self.nets)} control nets.",
                hint="Fill Frame.hints with one image for each entry of the recipe's control.",
            )
        for (control, _), hint in zip(self.nets, frame.hints, strict=True):
            if hint.shape != frame.image.shape:
                raise EditError(
                    f"The {control.kind} hint of frame {frame.index} has the shape {hint.shape},"
                    f" the frame {frame.image.shape}."
                )

    def batch(self, frames: Sequence[Frame], embed_text: EmbedText) -> ControlBatch:
        """The nets on a batch of frames, which all have hints.

        Raises:
            EditError: as :meth:`check`.
        """
        for frame in frames:
            self.check(frame)
        by_net = zip(*(frame.hints for frame in frames), strict=True)
        return self.batch_of_hints(list(map(list, by_net)), embed_text)

    def batch_of_hints(
        self, hints: Sequence[Sequence[Image]], embed_text: EmbedText
    ) -> ControlBatch:
        """As :meth:`batch`, from the hints of all frames for each net."""
        controls, adapters = [], []
        for (control, net), own in zip(self.nets, hints, strict=True):
            if isinstance(net, Adapter):
                adapters.append((control, [t * control.scale for t in net.features(own)]))
                continue
            caption = None
            if control.caption is not None:
                size = own[0].shape[:2]
                caption = embed_text(control.caption).expand(len(own)).at_size(*size)
            controls.append(_Controlled(control, net, net.embed(own), caption))
        return ControlBatch(self, len(hints[0]), controls, adapters)


@dataclass(frozen=True, slots=True, eq=False)
class _Controlled:
    """A ControlNet on a batch: ``embedded`` are the hints, ``caption`` its own text."""

    control: Control
    net: ControlNet
    embedded: Tensor
    caption: UNetTexts | None


@dataclass(frozen=True, slots=True, eq=False)
class ControlBatch:
    """What the nets add for one batch of frames; created by :meth:`SessionNets.batch`.

    Features of adapters are kept as they are added, so with the recipe's scale.
    """

    _session: SessionNets
    _frames: int
    _controls: Sequence[_Controlled]
    _adapters: Sequence[tuple[Control, Sequence[Tensor]]]
    _zeros: dict[int, Sequence[Tensor]] = field(default_factory=dict)

    def acting(self, step: int) -> tuple[int, ...]:
        """The positions in the recipe of the nets that act in a step."""
        steps = self._session.num_steps
        nets = self._session.nets
        return tuple(n for n, (control, _) in enumerate(nets) if acts(control, step, steps))

    def residuals(
        self, step: int, timestep: Tensor, model_input: Tensor, prompts: UNetTexts
    ) -> Residuals:
        """What is added to the UNet in a step.

        Args:
            model_input: noisy latents as the scheduler scales them, ``(frames, channels, h, w)``.
            prompts: of the branches that the step computes, sorted by branch; the text comes
                first, and all others have one text.
        """
        steps, branches = self._session.num_steps, len(prompts.embeds) // self._frames
        control = [
            self._of_control_net(own, timestep, model_input, prompts)
            for own in self._controls
            if acts(own.control, step, steps)
        ]
        features = [
            self._of_adapter(own, tensors, branches)
            for own, tensors in self._adapters
            if acts(own, step, steps)
        ]
        result = Residuals(summed(control) if control else (), summed(features) if features else ())
        if not self._session.constant:
            return result
        return self._with_zeros(result, timestep, model_input, prompts)

    def _of_control_net(
        self, own: _Controlled, timestep: Tensor, model_input: Tensor, prompts: UNetTexts
    ) -> list[Tensor]:
        frames, branches = self._frames, len(prompts.embeds) // self._frames
        text_only = own.control.branches == "text"
        # Branches with one text have equal residuals, since the net sees no image condition.
        if own.caption is not None:
            prompts = own.caption
        else:
            prompts = prompts.first(frames * (1 if text_only else min(branches, 2)))
        copies = len(prompts.embeds) // frames
        tensors = own.net.residuals(
            torch.cat([model_input] * copies),
            timestep,
            prompts,
            torch.cat([own.embedded] * copies),
            own.control.scale,
        )
        return [by_branch(t, frames, branches, text_only=text_only) for t in tensors]

    def _of_adapter(self, own: Control, tensors: Sequence[Tensor], branches: int) -> list[Tensor]:
        text_only = own.branches == "text"
        return [by_branch(t, self._frames, branches, text_only=text_only) for t in tensors]

    def _with_zeros(
        self, result: Residuals, timestep: Tensor, model_input: Tensor, prompts: UNetTexts
    ) -> Residuals:
        """The residuals, with zeros for the ControlNets if none acts, and so for T2I-Adapters.

        Zeros have the memory layout of what a net computes: a compiled UNet depends on that, too.
        """
        branches = len(prompts.embeds) // self._frames
        control, features = result.control, result.features
        if self._controls and not control:
            if branches not in self._zeros:
                own = self._of_control_net(self._controls[0], timestep, model_input, prompts)
                self._zeros[branches] = [torch.zeros_like(tensor) for tensor in own]
            control = self._zeros[branches]
        if self._adapters and not features:
            own = self._of_adapter(*self._adapters[0], branches)
            features = [torch.zeros_like(tensor) for tensor in own]
        return Residuals(control, features)
