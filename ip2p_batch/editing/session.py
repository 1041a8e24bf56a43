"""The session of InstructPix2Pix: one recipe on one chunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

from ..errors import NotFinite
from ..frame import Frame, Image
from ..jobs.records import InferenceConfig
from ..recipe import Recipe
from ..recipe_parts import Control
from . import carryover, float32_fallback, guidance, schedule
from .attention import AnchorKVCache
from .batch_runner import BatchRunner, BatchUnit
from .borders import Borders
from .carryover import BorderLatents
from .control.batch import Net, SessionNets
from .deepcache import DeepCacheUNet
from .denoising import Denoiser
from .editor import Checkpoint, ChunkContext, EditSession, Overrides, TileSession
from .float32_fallback import Decoded
from .group import GroupEditor, Sample, make_sample
from .prompts import PromptEncoder, text_encoders
from .references import ReferenceFrames
from .tile_options import TileOptions
from .tile_refinement import TileRefiner
from .vae import VaeCodec

#: Most frames that are denoised in lockstep where they share anchors.
LARGEST_GROUP = 32

T = TypeVar("T")


class SessionBackend(Protocol):
    """What the sessions of one editor share.

    Attributes:
        pipe: the parts of a ``StableDiffusionInstructPix2PixPipeline``, or of its SDXL form, on
            ``torch_device``.
        anchor_cache: of the UNet's self-attention layers; one session at a time uses it.
        prompt_encoder: with a cache.
        batch_limits: largest batch of frames and of tiles that has not run out of memory so far;
            sessions lower it.
    """

    pipe: Any
    torch_device: str
    anchor_cache: AnchorKVCache
    prompt_encoder: PromptEncoder
    batch_limits: dict[BatchUnit, int]

    def unet(self, *, compiled: bool) -> Any:
        """The UNet as it is, or compiled."""
        ...

    def vae(self, *, tiny: bool) -> VaeCodec:
        """The model's own VAE, or a small one for previews."""
        ...

    def deepcache_unet(self) -> DeepCacheUNet:
        """The UNet, to be run in full or in part."""
        ...

    def nets(self, controls: Sequence[Control]) -> Sequence[Net]:
        """The control nets of a recipe, in its order."""
        ...


class Pix2PixSession(EditSession, TileSession):
    """One recipe on one chunk; see :class:`~.editor.EditSession`.

    Raises:
        EditError: latents of the context are damaged, or of another frame, step or size.
        ModelError: the model cannot do what the recipe asks for.
    """

    def __init__(
        self,
        backend: SessionBackend,
        recipe: Recipe,
        context: ChunkContext,
        inference_config: InferenceConfig,
        checkpoint: Checkpoint,
    ) -> None:
        self._backend = backend
        self._recipe = recipe
        self._batch = inference_config.batch_size
        self._border_batch = inference_config.border_batch or inference_config.batch_size
        self._start_step = recipe.carried_steps(backend.pipe.scheduler.config)
        self._notes = float32_fallback.Notes()
        self._warnings: dict[str, None] = {}  # lines for the user, each once
        vae = backend.vae(tiny=recipe.tiny_vae)
        denoiser = _denoiser(backend, recipe, vae, compiled=inference_config.compiled)
        nets = _nets(backend, recipe, denoiser.num_steps, compiled=inference_config.compiled)
        if nets is not None:
            for anchor in context.anchors:
                nets.check(anchor.frame)
        self._borders = Borders(context.borders, self._start_step, denoiser.scheduler)
        self._references = ReferenceFrames(
            recipe,
            context,
            self._start_step,
            scheduler=denoiser.scheduler,
            vae=vae,
            kv_cache=backend.anchor_cache,
        )
        self._runner = BatchRunner(backend.batch_limits, self._references)
        self._group = GroupEditor(
            recipe=recipe,
            denoiser=denoiser,
            prompt_encoder=backend.prompt_encoder,
            vae=vae,
            borders=self._borders,
            references=self._references,
            checkpoint=checkpoint,
            warnings=self._warnings,
            notes=self._notes,
            nets=nets,
        )

    @property
    def warnings(self) -> Sequence[str]:
        return [*self._runner.warnings, *self._warnings]

    @property
    def notes(self) -> Mapping[int, str]:
        return self._notes

    @property
    def batch_size(self) -> int:
        return self._group_size(self._batch)

    @property
    def border_batch_size(self) -> int:
        return self._group_size(self._border_batch)

    def prepare(self, frame: Frame) -> Frame:
        return self._borders.locate(frame)

    def edit(
        self, frames: Sequence[Frame], *, overrides: Sequence[Overrides] | None = None
    ) -> list[Frame]:
        samples = [
            self._sample(frame, own)
            for frame, own in zip(frames, overrides or [Overrides()] * len(frames), strict=True)
        ]
        images: list[Image | None] = []
        for group in _groups(samples, self.batch_size):
            decoded = self._runner.run(partial(self._group.edit, group), self._batch, _side(group))
            images += [
                self._recovered(sample, half, partial(_edit_alone, sample=sample))
                for sample, half in zip(group, decoded, strict=True)
            ]
        return self._finished(frames, images)

    def refine(
        self,
        pairs: Sequence[tuple[Frame, Frame]],
        options: TileOptions,
        *,
        overrides: Sequence[Overrides] | None = None,
    ) -> list[Frame]:
        images = []
        own_values = overrides or [Overrides()] * len(pairs)
        for (source, start), own in zip(pairs, own_values, strict=True):
            sample = make_sample(source, self._recipe, own)
            run = partial(_refine, sample=sample, start=start.image, options=options)
            half = self._runner.run(partial(run, self._group), self._batch, options.size, "tile")
            images.append(self._recovered(sample, half, run))
        return self._finished([source for source, _ in pairs], images)

    def border_latents(self, frames: Sequence[Frame]) -> list[bytes]:
        step = self._start_step
        samples = [make_sample(frame, self._recipe) for frame in frames]
        files = []
        for group in _groups(samples, self.border_batch_size):
            run = partial(self._group.border_latents, group, step)
            found = self._runner.run(run, self._border_batch, _side(group))
            for sample, latents in zip(group, found, strict=True):
                finite = self._finite(sample, latents)
                files.append(carryover.to_bytes(sample.frame, step, finite))
        return files

    def _sample(self, frame: Frame, own: Overrides) -> Sample:
        located = self._borders.locate(frame)
        return make_sample(located, self._recipe, own, self._borders.start_step(located))

    def _group_size(self, batch: int) -> int:
        # Anchors run once for each group, so large groups are faster.
        return max(batch, LARGEST_GROUP) if self._references else batch

    # -- half precision ---------------------------------------------------------------------

    def _recovered(
        self, sample: Sample, half: Decoded, repeat: Callable[[GroupEditor], Decoded]
    ) -> Image | None:
        """A frame's image; if it has a defect, ``repeat`` makes it again with float32 weights."""
        if not half.defect:
            return half.image
        full = self._in_float32(repeat)
        dtype = self._group.denoiser.unet.dtype
        return float32_fallback.choose(sample.frame, half, full, dtype, self._notes)

    def _finite(self, sample: Sample, latents: BorderLatents) -> BorderLatents:
        """A border's latents; from float32 if they are not finite.

        Raises:
            NotFinite: they are not finite in float32 either.
        """
        if latents.finite:
            return latents
        dtype = self._group.denoiser.unet.dtype
        step = self._start_step
        run = partial(GroupEditor.border_latents, samples=[sample], stop=step, size=1)
        repeated = self._in_float32(run)
        if repeated is None or not repeated[0].finite:
            raise self._not_finite(sample.frame)
        self._notes.recovered(sample.frame, float32_fallback.NOT_FINITE, dtype, "edited")
        return repeated[0]

    def _in_float32(self, work: Callable[[GroupEditor], T]) -> T | None:
        """``work`` with all weights in float32; None if they already are, or if memory runs out."""
        pipe, vae = self._backend.pipe, self._group.vae.vae
        if not float32_fallback.is_half(pipe.unet) and not float32_fallback.is_half(vae):
            return None
        nets = [] if self._group.nets is None else self._group.nets.modules

        def upcast() -> T:
            with float32_fallback.upcast([pipe.unet, *text_encoders(pipe), vae, *nets]):
                encoder = PromptEncoder(pipe, self._backend.torch_device)
                # Not the compiled UNet, which would be compiled again for one frame.
                denoiser = replace(self._group.denoiser, unet=pipe.unet)
                return work(replace(self._group, denoiser=denoiser, prompt_encoder=encoder))

        self._references.clear_caches()
        try:
            return float32_fallback.unless_out_of_memory(upcast)
        finally:
            self._references.clear_caches()

    def _finished(self, frames: Sequence[Frame], images: Sequence[Image | None]) -> list[Frame]:
        """The frames with their images.

        Raises:
            NotFinite: a frame has no image.
        """
        pairs = list(zip(frames, images, strict=True))
        finished = [frame.with_image(image) for frame, image in pairs if image is not None]
        if len(finished) < len(pairs):
            failed = next(frame for frame, image in pairs if image is None)
            raise self._not_finite(failed, tuple(finished))
        return finished

    def _not_finite(self, frame: Frame, edited: Sequence[Frame] = ()) -> NotFinite:
        half = float32_fallback.is_half(self._group.denoiser.unet)
        return NotFinite(
            f"The model gave no finite image for frame {frame.index}"
            f"{', not even in float32' if half else ''}.",
            hint="Check that the model's files are complete, or try scales closer to 1.",
            edited=edited,
        )


def _side(samples: Sequence[Sample]) -> int:
    """The longest side of frames of one size, in pixels."""
    return int(max(samples[0].frame.image.shape[:2]))


def _denoiser(
    backend: SessionBackend, recipe: Recipe, vae: VaeCodec, *, compiled: bool
) -> Denoiser:
    # diffusers keeps this option outside of the pipeline's configuration.
    takes_scaled = getattr(backend.pipe, "is_cosxl_edit", False)
    return Denoiser(
        unet=backend.unet(compiled=compiled),
        scheduler=schedule.make(
            recipe.scheduler,
            backend.pipe.scheduler.config,
            recipe.num_inference_steps,
            backend.torch_device,
        ),
        guidance_weights=guidance.weights(recipe.guidance_scale, recipe.image_guidance_scale),
        guided_steps=recipe.guided_steps(),
        deepcache=backend.deepcache_unet() if recipe.deepcache_interval > 1 else None,
        deepcache_interval=recipe.deepcache_interval,
        condition_scale=vae.scaling_factor if takes_scaled else 1.0,
    )


def _nets(
    backend: SessionBackend, recipe: Recipe, num_steps: int, *, compiled: bool
) -> SessionNets | None:
    if not recipe.control:
        return None
    pairs = list(zip(recipe.control, backend.nets(recipe.control), strict=True))
    return SessionNets(pairs, num_steps, constant=compiled)


def _groups(samples: Sequence[Sample], size: int) -> list[Sequence[Sample]]:
    return [samples[at : at + size] for at in range(0, len(samples), size)]


def _edit_alone(group: GroupEditor, *, sample: Sample) -> Decoded:
    return group.edit([sample], size=1)[0]


def _refine(
    group: GroupEditor, size: int = 1, *, sample: Sample, start: Image, options: TileOptions
) -> Decoded:
    return TileRefiner(group, options).refine(sample, start, size)
