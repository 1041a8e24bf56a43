"""The tile pass: draw an edit again at the source's own resolution.

A small edit that is enlarged has lines of the wrong width, or none. The tile pass starts from such
an image, adds the noise of an intermediate denoising step k (SDEdit, Meng et al., ICLR 2022, arXiv
2108.01073) and runs the remaining steps in overlapping tiles (:mod:`.tiles`) that show the source
pixel by pixel. The start keeps the tiles consistent with the whole; the source gives the detail.

* One scheduler step takes the averaged prediction of all tiles, so that samplers with a history and
  ancestral noise work as for a whole image.
* A mask keeps the source in the whole field, as in a whole image (:mod:`.mask_blend`).
* Noise is drawn as for every frame (:mod:`.noise`), in one field of the size of the whole image's
  latents: it does not depend on the tiles, and all frames of a shot share it.
* Source and start are encoded, and the result is decoded, in the same tiles with the same weights.
* Every model call has one shape, ``size`` tiles of one frame. The last call repeats a tile.

Memory, in addition to the tiles of one call: a few fields of latents of the whole image in float32
(each a twelfth of its uint8 pixels for Stable Diffusion, as much as these for the bundled model),
and one row of decoded tiles. Anchors, the style reference and DeepCache act on the small edit only;
so do control nets, unless the source has hints of its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from ..frame import Frame, Image, Mask
from . import float32_fallback, noise, schedule
from .control.batch import ControlBatch
from .float32_fallback import Decoded
from .group import GroupEditor, Sample, padded
from .mask_blend import KeptSource, MaskBlend
from .prompts import TextEmbeds, UNetTexts
from .tile_options import MARGIN, TileOptions
from .tiles import Tile, TileGrid, add_tile, cut_image, mirrored
from .vae import not_finite, to_pixels

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class TileRefiner:
    """Runs the tile pass with weights of one precision.

    Attributes:
        group: its denoiser, VAE, prompts and notes are used.
    """

    group: GroupEditor
    options: TileOptions

    def refine(self, sample: Sample, start: Image, size: int) -> Decoded:
        """Refine one frame in batches of ``size`` tiles.

        Args:
            sample: the frame is the source.
            start: uint8 RGB of the shape of the source.

        Returns:
            The image has the shape of the source.
        """
        height, width = sample.frame.image.shape[:2]
        grid = TileGrid.of_latents(width, height, self.options, self.group.vae.factor)
        with torch.inference_mode():
            latents = self._denoise(sample, start, grid, size)
            return self._decode(latents, sample.frame, grid, size)

    # -- denoising --------------------------------------------------------------------------

    def _denoise(self, sample: Sample, start: Image, grid: TileGrid, size: int) -> Tensor:
        """The finished latents of the whole image, scaled, shape ``(1, channels, height, width)``.

        Their size is that of the grid.
        """
        denoiser = self.group.denoiser
        scheduler = deepcopy(denoiser.scheduler)  # it counts its steps and keeps a history
        draws = schedule.draws_noise(scheduler)
        first = denoiser.num_steps - self.options.steps(denoiser.num_steps)
        image_latents = self._encode(sample.frame.image, grid, size).to(denoiser.unet.dtype)
        prompts = self._prompts(sample, size)
        hints = self._hints(sample.frame)
        x = self._noisy_start(sample.seed, start, grid, size, first)
        masks = MaskBlend([self._kept(sample.frame.mask, image_latents[0], grid)])
        generators = [noise.generator(sample.seed)]
        if draws:
            noise.skip(generators, _shape(x), first)
        schedule.begin_at(scheduler, first)
        for step in range(first, denoiser.num_steps):
            timestep = denoiser.scheduler.timesteps[step]
            model_input = scheduler.scale_model_input(x, timestep).to(denoiser.unet.dtype)
            predict = partial(
                self._predict,
                grid,
                model_input,
                image_latents,
                prompts=prompts,
                hints=hints,
                step=step,
            )
            prediction = self._averaged(grid, size, predict)
            if masks:  # the scale makes DDIM, LCM and TCD wait for the GPU
                scale = schedule.signal_and_noise_scale(scheduler, step)
                kind = scheduler.config.prediction_type
                prediction = masks.prediction(x, prediction, scale, kind)
            options = {"generator": generators} if draws else {}
            x = scheduler.step(prediction, timestep, x, return_dict=False, **options)[0]
        return masks.finished(x)

    def _kept(self, mask: Mask | None, image_latents: Tensor, grid: TileGrid) -> KeptSource | None:
        """What the mask of a whole image keeps; None without a mask."""
        if mask is None:
            return None
        vae, pixels = self.group.vae, grid.scaled(self.group.vae.factor)
        rows, columns = (
            mirrored(length, covered)
            for length, covered in zip(mask.shape, (pixels.height, pixels.width), strict=True)
        )
        return KeptSource.of(mask[rows[:, None], columns], image_latents, vae)

    def _predict(
        self,
        grid: TileGrid,
        model_input: Tensor,
        image_latents: Tensor,
        tiles: Sequence[Tile],
        *,
        prompts: UNetTexts,
        hints: Sequence[Image],
        step: int,
    ) -> Tensor:
        """The UNet's prediction with guidance for a batch of tiles, float32."""
        shown, sources = (
            torch.cat([grid.cut(field, tile) for tile in tiles])
            for field in (model_input, image_latents)
        )
        denoiser = self.group.denoiser
        control = self._control(hints, grid, tiles)
        conditions = denoiser.conditions(sources)
        return denoiser.predict(shown, conditions, prompts, step, control=control)

    def _hints(self, frame: Frame) -> Sequence[Image]:
        """The hints of a source at full size; none where it has none, or without control nets."""
        nets = self.group.nets
        if nets is None or not frame.hints:
            if nets is not None:
                self.group.warnings["Control nets do not act in the tile pass."] = None
            return ()
        nets.check(frame)
        return frame.hints

    def _control(
        self, hints: Sequence[Image], grid: TileGrid, tiles: Sequence[Tile]
    ) -> ControlBatch | None:
        """The control nets on a batch of tiles.

        Embedded hints are not kept between steps: those of all tiles of a large image would take
        much memory, and to embed them takes a twentieth of a net's time.
        """
        if self.group.nets is None or not hints:
            return None
        pixels = grid.scaled(self.group.vae.factor)
        in_pixels = dict(zip(grid.tiles, pixels.tiles, strict=True))
        cut = [[cut_image(hint, pixels, in_pixels[t]) for t in tiles] for hint in hints]
        return self.group.nets.batch_of_hints(cut, self.group.caption)

    def _noisy_start(
        self, seed: int, start: Image, grid: TileGrid, size: int, first: int
    ) -> Tensor:
        """The noisy latents before step ``first``: ``x = a x0 + s n``, or noise alone at step 0."""
        scheduler, vae = self.group.denoiser.scheduler, self.group.vae
        if first == 0:
            shape = (vae.channels, grid.height, grid.width)
            unit = noise.unit(seed, shape)[None].to(vae.device)
            return unit * float(scheduler.init_noise_sigma)
        x0 = self._encode(start, grid, size) * vae.scaling_factor
        a, s = schedule.signal_and_noise_scale(scheduler, first)
        return a * x0 + s * noise.unit(seed, _shape(x0))[None].to(vae.device)

    def _prompts(self, sample: Sample, size: int) -> UNetTexts:
        """The texts of one batch of tiles, sorted by branch."""
        text = self.group.instruction(sample.instruction)
        negative = self.group.negative_prompt(sample.negative_prompt)
        branches = self.group.denoiser.branches
        embeds = [(text if b == "text" else negative).expand(size) for b in branches]
        return TextEmbeds.cat(embeds).at_size(self.options.size, self.options.size)

    def _encode(self, image: Image, grid: TileGrid, size: int) -> Tensor:
        """Unscaled latents of an image, float32, shape ``(1, channels, height, width)``."""
        vae = self.group.vae
        pixels = grid.scaled(vae.factor)
        in_pixels = dict(zip(grid.tiles, pixels.tiles, strict=True))
        return self._averaged(
            grid,
            size,
            lambda tiles: vae.encode([cut_image(image, pixels, in_pixels[t]) for t in tiles]),
        )

    def _averaged(
        self, grid: TileGrid, size: int, compute: Callable[[Sequence[Tile]], Tensor]
    ) -> Tensor:
        """Compute all tiles in batches, and average them where they overlap.

        Args:
            compute: gets ``size`` tiles; returns shape ``(size, channels, tile, tile)``.

        Returns:
            Float32, shape ``(1, channels, height, width)``.
        """
        total: Tensor | None = None
        weights = self._weights(grid)
        for tiles in _batches(grid, size):
            self.group.checkpoint()
            outputs = compute(padded(tiles, size)).float()
            if total is None:
                total = outputs.new_zeros(1, outputs.shape[1], grid.height, grid.width)
            for tile, output in zip(tiles, outputs, strict=False):
                add_tile(total[0], output, weights, tile)
        assert total is not None
        return total

    def _weights(self, grid: TileGrid) -> tuple[Tensor, Tensor]:
        rows, columns = (torch.from_numpy(w).to(self.group.vae.device) for w in grid.weights)
        return rows, columns

    # -- decoding ---------------------------------------------------------------------------

    def _decode(self, latents: Tensor, frame: Frame, grid: TileGrid, size: int) -> Decoded:
        """Decode the latents of a whole image to an image of the frame's shape."""
        if not bool(latents.isfinite().all()):
            return Decoded(None, float32_fallback.NOT_FINITE)
        pixels = grid.scaled(self.group.vae.factor)
        in_pixels = dict(zip(grid.tiles, pixels.tiles, strict=True))
        image = np.empty_like(frame.image)
        strip = _Strip(pixels, self._weights(pixels), image)
        for tiles in _batches(grid, size):
            self.group.checkpoint()
            parts = [grid.cut(latents, tile) for tile in padded(tiles, size)]
            values = self.group.vae.decode_values(torch.cat(parts))
            for n in not_finite(values[: len(tiles)]).nonzero().flatten().tolist():
                repeated = self._decode_in_float32(parts[n], frame)
                if repeated is None:
                    return Decoded(None, float32_fallback.NOT_FINITE)
                values[n] = repeated
            for tile, own in zip(tiles, values, strict=False):
                strip.add(in_pixels[tile], own)
        strip.flush(pixels.height)
        return Decoded(image, float32_fallback.find_defect(image, frame.image))

    def _decode_in_float32(self, latents: Tensor, frame: Frame) -> Tensor | None:
        """The values of one tile; None if they are not finite in float32 either."""
        codec = self.group.vae
        dtype = codec.vae.dtype
        if not float32_fallback.is_half(codec.vae):
            return None

        def decode() -> Tensor:
            with float32_fallback.upcast([codec.vae]):
                return codec.decode_values(latents)

        values = float32_fallback.unless_out_of_memory(decode)
        if values is None or not bool(values.isfinite().all()):
            return None
        self.group.notes.recovered(frame, float32_fallback.NOT_FINITE, dtype, "decoded")
        return values[0]


class _Strip:
    """Averages decoded tiles row by row, so that one row of tiles is held in float32.

    Args:
        grid: in pixels.
        weights: of the grid, on the device of the tiles.
        image: gets the finished pixels; the grid covers it and its margin.
    """

    def __init__(self, grid: TileGrid, weights: tuple[Tensor, Tensor], image: Image) -> None:
        self._weights = weights
        self._image = image
        self._top = 0
        self._total = weights[0].new_zeros(3, grid.tile, grid.width)

    def add(self, tile: Tile, values: Tensor) -> None:
        """Add a tile; tiles come row by row."""
        self.flush(tile.top)
        add_tile(self._total, values, self._weights, tile, self._top)

    def flush(self, stop: int) -> None:
        """Write the rows above ``stop``, which no later tile shows."""
        count = stop - self._top
        if not count:
            return
        height, width = self._image.shape[:2]
        first, last = max(self._top - MARGIN, 0), min(stop - MARGIN, height)
        if first < last:
            shown = slice(first + MARGIN - self._top, last + MARGIN - self._top)
            values = self._total[:, shown, MARGIN : MARGIN + width]
            self._image[first:last] = to_pixels(values).permute(1, 2, 0).cpu().numpy()
        self._total = torch.cat(
            [self._total[:, count:], torch.zeros_like(self._total[:, :count])], dim=1
        )
        self._top = stop


def _batches(grid: TileGrid, size: int) -> Iterator[Sequence[Tile]]:
    for at in range(0, len(grid.tiles), size):
        yield grid.tiles[at : at + size]


def _shape(x: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = x.shape
    return int(channels), int(height), int(width)
