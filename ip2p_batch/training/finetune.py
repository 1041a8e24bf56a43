"""Teaching a model of full size a user's own edits, from pairs of pictures.

After "Instruction-tuning Stable Diffusion with InstructPix2Pix" (Hugging Face, 2023) and the
paper's section 3.2: text encoder and autoencoder stay as they are, the UNet learns, wholly or
through low-rank adapters (Hu et al., "LoRA", ICLR 2022).
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import torch
from accelerate import Accelerator

from ..editing.loading import load_pipeline
from ..errors import ModelError, RecipeError
from ..frame import Image
from ..media.contact_sheet import write_before_after
from ..media.images.codec import read_still
from ..models import catalog
from ..storage.atomic import write_atomic
from .conditioning import dropped, widen
from .denoising import Denoising, Objective
from .fit import Batch, Fitted, Fitting, Progress, derived, fit, new_accelerator
from .pairs import Pair
from .saving import save_pipeline
from .tensors import as_tensor, token_ids

#: Below so many pairs an adapter learns as well as the whole UNet, and forgets less.
SMALL = 5000
LORA_RANK = 16
LORA_LAYERS = ("to_q", "to_k", "to_v", "to_out.0")
LORA_FOLDER = "lora"
FACTS = "training.json"


class Tuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to make of a base model.

    Attributes:
        base: hub id, diffusers folder, bundled name, or a Stable Diffusion 1.5 checkpoint file.
        revision: of a hub id.
        size: side of the squares that are cut out of the pairs, in pixels, a multiple of 32.
        flip: half of the squares are mirrored.
        lora_rank: of the adapters; 0 trains the whole UNet; None decides by the number of pairs.
        gradient_checkpointing: a third slower, and half the memory or less.
        validation_pairs: held out from training, and edited at each validation.
        objective, fitting: what is asked of the model, and the loop's options.
    """

    base: str
    revision: str | None = None
    size: int = 256
    flip: bool = True
    lora_rank: int | None = None
    gradient_checkpointing: bool = False
    validation_pairs: int = 4
    objective: Objective = Objective()
    fitting: Fitting = Fitting()

    def __post_init__(self) -> None:
        if self.size < 64 or self.size % 32:
            raise RecipeError(f"--size is {self.size}; it must be a multiple of 32, at least 64.")
        if self.lora_rank is not None and self.lora_rank < 0:
            raise RecipeError("--lora-rank must be 0 (the whole UNet) or more.")

    def rank(self, pairs: int, *, widened: bool) -> int:
        """The adapters' rank, decided.

        A plain text-to-image UNet has to learn to look at the source at all: all of it learns.
        """
        if self.lora_rank is not None:
            return self.lora_rank
        return 0 if widened or pairs >= SMALL else LORA_RANK


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    model: str
    fitted: Fitted
    lora_rank: int
    pairs: int
    held_out: int


def fine_tune(
    pairs: Sequence[Pair],
    tuning: Tuning,
    output: Path,
    *,
    accelerator: Accelerator | None = None,
    progress: Progress = lambda *_: None,
    stop_at: int | None = None,
) -> Tuned:
    """Train, and write a diffusers folder that ``--model`` loads.

    ``output`` also gets checkpoints, ``curve.csv``, ``loss.png``, TensorBoard's ``logs/``, and
    ``validation/`` with sheets of held-out pairs; given again, an interrupted run goes on.

    Args:
        pairs: good rows of a dataset.
        tuning: what to train, and how.
        output: where.
        accelerator: of Hugging Face accelerate; several processes train together.
        progress: called after each step.
        stop_at: end after this step as if interrupted; no model is written.

    Raises:
        ModelError: the base cannot be loaded, or the loss is not a number any more.
        RecipeError: options do not go together, or with the checkpoint in ``output``.
        SourceError: a picture cannot be read.
        OutputError: ``output`` cannot be written.
    """
    accelerator = accelerator or new_accelerator(tuning.fitting)
    pipe = load_base(tuning.base, tuning.revision)
    widened = int(pipe.unet.config.in_channels) < 2 * int(pipe.vae.config.latent_channels)
    held_out, learned = _split(pairs, tuning)
    rank = tuning.rank(len(learned), widened=widened)
    prepare_unet(pipe, rank)
    _place_frozen(pipe, accelerator)
    if tuning.gradient_checkpointing:
        pipe.unet.enable_gradient_checkpointing()
    task = TuningTask(pipe, tuning, learned, held_out)
    fitted = fit(
        task, tuning.fitting, output,
        accelerator=accelerator, progress=progress, stop_at=stop_at,
    )  # fmt: skip
    if fitted.step == tuning.fitting.steps and accelerator.is_main_process:
        _write(pipe, rank, output, tuning, fitted)
    accelerator.wait_for_everyone()
    return Tuned(
        model=str(output), fitted=fitted, lora_rank=rank, pairs=len(learned),
        held_out=len(held_out),
    )  # fmt: skip


def load_base(base: str, revision: str | None = None) -> Any:
    """The parts of the base model, in float32 on the CPU.

    Raises:
        ModelError: it cannot be loaded.
    """
    path = Path(base).expanduser()
    if not path.is_file():
        return load_pipeline(base, revision=revision, dtype=torch.float32)
    if path.suffix != ".safetensors":
        raise ModelError(
            f"{path} is not read: a checkpoint that is no .safetensors file may run code.",
            hint="Convert it to .safetensors first.",
        )
    from diffusers import StableDiffusionInstructPix2PixPipeline

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations between diffusers and transformers
            return StableDiffusionInstructPix2PixPipeline.from_single_file(
                str(path), torch_dtype=torch.float32, safety_checker=None
            )
    except Exception as error:  # diffusers raises whatever it likes
        text = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{path} cannot be loaded as a Stable Diffusion checkpoint: {text}",
            hint="Reading such a file needs the hub once, for its configuration. A diffusers"
            " folder needs nothing else.",
        ) from error


def prepare_unet(pipe: Any, rank: int) -> None:
    """Let the UNet see the source, and mark what learns: all of it, or adapters of ``rank``.

    A convolution that was widened just now learns wholly, adapters or not.
    """
    channels = int(pipe.vae.config.latent_channels)
    widened = int(pipe.unet.config.in_channels) < 2 * channels
    widen(pipe.unet, 2 * channels)
    for part in (pipe.vae, pipe.text_encoder):
        part.requires_grad_(requires_grad=False)
    pipe.unet.requires_grad_(rank == 0)
    if rank:
        from peft import LoraConfig

        config = LoraConfig(
            r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(LORA_LAYERS)
        )
        pipe.unet.add_adapter(config)
        pipe.unet.conv_in.requires_grad_(widened)


def _split(pairs: Sequence[Pair], tuning: Tuning) -> tuple[list[Pair], list[Pair]]:
    """Pairs to validate with, and pairs to learn from; which is which depends on the seed."""
    count = min(tuning.validation_pairs, len(pairs) // 5)
    order = random.Random(derived(tuning.fitting.seed, "split")).sample(pairs, len(pairs))  # noqa: S311
    return order[:count], order[count:]


def _place_frozen(pipe: Any, accelerator: Accelerator) -> None:
    """What does not learn needs no float32."""
    kinds = {"fp16": torch.float16, "bf16": torch.bfloat16}
    dtype = kinds.get(accelerator.mixed_precision, torch.float32)
    for part in (pipe.vae, pipe.text_encoder):
        part.to(accelerator.device, dtype).eval()
    pipe.unet.to(accelerator.device)


class TuningTask:
    """Edits by a dataset's pairs; see :class:`~ip2p_batch.training.fit.Task`.

    Rows are drawn with chance, not in turn: which ones a step sees depends on nothing but its
    number, however often the run was interrupted.
    """

    def __init__(
        self, pipe: Any, tuning: Tuning, pairs: Sequence[Pair], held_out: Sequence[Pair]
    ) -> None:  # fmt: skip
        self.pipe, self.tuning, self.pairs, self.held_out = pipe, tuning, pairs, held_out
        self.own = catalog.defaults(tuning.base)
        self.model = Denoising(
            pipe.unet, pipe.text_encoder, pipe.vae, pipe.scheduler, tuning.objective
        )

    def batch(self, size: int, seed: int) -> Batch:
        rng = random.Random(seed)  # noqa: S311 - nothing secret is drawn
        chosen = [rng.choice(self.pairs) for _ in range(size)]
        squares = [cut(pair, self.tuning.size, rng, flip=self.tuning.flip) for pair in chosen]
        no_text, no_picture = dropped(
            torch.tensor([rng.random() for _ in range(size)]), self.tuning.objective.drop
        )
        texts = [
            "" if gone else pair.instruction
            for pair, gone in zip(chosen, no_text.tolist(), strict=True)
        ]
        return {
            "source": as_tensor(np.stack([source for source, _ in squares])),
            "edited": as_tensor(np.stack([edited for _, edited in squares])),
            "ids": token_ids(self.pipe.tokenizer, texts),
            "no_picture": no_picture,
        }

    def validate(self, step: int, folder: Path) -> dict[str, float]:
        """A sheet: what the pair says on the left, what the model makes on the right."""
        if not self.held_out:
            return {}
        rows, errors = [], []
        for pair in self.held_out:
            source, edited = cut(pair, self.tuning.size, None)
            output = run_once(
                self.pipe, source, pair.instruction, self.tuning.fitting.seed, self.own
            )
            rows.append((np.hstack([source, edited]), output))
            errors.append(np.square(output.astype(np.float32) - edited).mean())
        write_before_after(
            rows,
            folder / "validation" / f"step-{step:07d}.png",
            title=f"Step {step}: source and wanted, made",
            captions=[pair.instruction for pair in self.held_out],
        )
        mean = max(float(np.mean(errors)), 1e-6)
        return {"validation_psnr": 10 * float(np.log10(255**2 / mean))}


def cut(
    pair: Pair, size: int, rng: random.Random | None, *, flip: bool = False
) -> tuple[Image, Image]:
    """The same square out of both pictures, by chance, or without ``rng`` the middle one.

    Pictures are scaled so that the shorter side is ``size`` pixels.
    """
    images = [read_still(Path(path)).image for path in (pair.input, pair.edited)]
    height, width = images[0].shape[:2]
    scale = size / min(height, width)
    shape = (max(size, round(width * scale)), max(size, round(height * scale)))
    across, down = shape[0] - size, shape[1] - size
    left = across // 2 if rng is None else rng.randint(0, across)
    top = down // 2 if rng is None else rng.randint(0, down)
    mirrored = rng is not None and flip and rng.random() < 0.5
    squares = []
    for image in images:
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        scaled = cv2.resize(image, shape, interpolation=method)
        square = scaled[top : top + size, left : left + size]
        squares.append(np.ascontiguousarray(square[:, ::-1] if mirrored else square))
    return squares[0], squares[1]


def run_once(pipe: Any, image: Image, instruction: str, seed: int, own: Mapping[str, Any]) -> Image:
    """One edit by diffusers' own pipeline.

    Args:
        pipe: all parts, on one device.
        image: the source; sides are multiples of 8.
        instruction: what to change.
        seed: of the noise.
        own: the base model's own defaults for steps and scales, where it has some.
    """
    from PIL import Image as Pillow

    pipe.set_progress_bar_config(disable=True)
    half = pipe.vae.dtype
    with torch.autocast(pipe.unet.device.type, dtype=half, enabled=half != torch.float32):
        result = pipe(
            instruction,
            image=Pillow.fromarray(image),
            num_inference_steps=own.get("num_inference_steps", 20),
            guidance_scale=own.get("guidance_scale", 7.5),
            image_guidance_scale=own.get("image_guidance_scale", 1.5),
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="np",
        ).images[0]
    return np.ascontiguousarray((result * 255 + 0.5).astype(np.uint8))


def _write(pipe: Any, rank: int, output: Path, tuning: Tuning, fitted: Fitted) -> None:
    """The model as a diffusers folder, adapters merged into the weights and kept beside it."""
    if rank:
        from diffusers.utils import convert_state_dict_to_diffusers
        from peft import get_peft_model_state_dict

        state = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.unet))
        pipe.save_lora_weights(output / LORA_FOLDER, unet_lora_layers=state)
        pipe.unet.fuse_lora()
        pipe.unet.unload_lora()
    pipe.to(torch.float16 if pipe.unet.device.type == "cuda" else torch.float32)
    # What was right for the base is right for its child.
    save_pipeline(pipe, output, catalog.defaults(tuning.base))
    facts = {
        "tuning": msgspec.to_builtins(tuning),
        "lora_rank": rank,
        "steps": fitted.step,
        "loss": fitted.loss,
    }
    write_atomic(output / FACTS, msgspec.json.format(msgspec.json.encode(facts)))
