"""The recipe: every setting that determines the pixels of a result.

Each field is declared once, in :class:`Recipe`: its type, range and description. Validation, the
command line's options and the tables in docs/cli.md are made from :data:`FIELDS`.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import tomli_w
from msgspec import Meta

from . import noise_schedule
from .errors import RecipeError
from .recipe_fields import RecipeField, check_text, declared_fields
from .recipe_parts import Control, Lora

Detail = Literal["source", "edit", "tiles"]
Scheduler = Literal["euler-ancestral", "euler", "ddim", "dpm++", "unipc", "lcm", "tcd"]
SCHEDULERS: tuple[str, ...] = get_args(Scheduler)
#: A part of the denoising steps.
Fraction = Annotated[float, Meta(ge=0, le=1)]

#: Longest side of edited frames in pixels.
EditSize = Annotated[int, Meta(ge=64, le=4096)]

#: The model of the InstructPix2Pix paper, as diffusers loads it.
DEFAULT_MODEL = "timbrooks/instruct-pix2pix"


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting that determines pixels. Names are diffusers' own where diffusers has one.

    Raises:
        RecipeError: a value has the wrong type, is out of range, or conflicts with another.
    """

    instruction: Annotated[
        str,
        Meta(description="What to change, in a sentence. A manifest may give each image its own."),
    ]
    negative_prompt: Annotated[str, Meta(description="What to avoid in the result.")] = ""
    model: Annotated[
        str,
        Meta(
            description="`tiny` (bundled, no download), a diffusers folder, a .safetensors"
            " checkpoint, or a Hugging Face hub id. A model folder may set its own defaults for"
            " steps, scales and size. `identity` copies frames unchanged, to test a setup."
        ),
    ] = DEFAULT_MODEL
    revision: Annotated[
        str | None, Meta(description="Branch, tag or commit of a model on the hub.")
    ] = None
    # editing/lora/
    lora: Annotated[
        tuple[Lora, ...],
        Meta(
            description="LoRA that is merged into the model, by weight; can be repeated. A file, a"
            " folder or a hub id."
        ),
    ] = ()
    # editing/control/, hints/
    control: Annotated[
        tuple[Control, ...],
        Meta(
            description="Control net that keeps the structure of the source: the kind of its hints,"
            " its model (a folder or a hub id) and its scale; can be repeated."
        ),
    ] = ()
    scheduler: Annotated[
        Scheduler,
        Meta(
            description="Sampler of the denoising steps. `lcm` and `tcd` are for models, or with"
            " a LoRA, distilled to 1 to 8 steps; they take at most 50."
        ),
    ] = "euler-ancestral"
    num_inference_steps: Annotated[int, Meta(ge=1, le=1000, description="Denoising steps.")] = 20
    guidance_scale: Annotated[
        float,
        Meta(
            ge=1,
            le=100,
            description="Text guidance scale s_T: higher follows the instruction more closely.",
        ),
    ] = 7.5
    image_guidance_scale: Annotated[
        float,
        Meta(
            ge=1,
            le=100,
            description="Image guidance scale s_I: higher stays closer to the source. At 1, steps"
            " take a third less time.",
        ),
    ] = 1.5
    guidance_interval: Annotated[
        tuple[Fraction, Fraction],
        Meta(
            description="Part of the denoising steps that uses both guidance scales: from fraction"
            " A up to fraction B. The other steps take a third to half of the time."
        ),
    ] = (0.0, 1.0)
    seed: Annotated[
        int,
        Meta(
            ge=0,
            le=2**63 - 1,
            description="Random seed. The result is the same on any number of workers.",
        ),
    ] = 0
    size: Annotated[
        EditSize | Literal["auto"],
        Meta(
            description="Edit size: the longest side, in pixels, at which frames are edited. `auto`"
            " is the smallest that loses no measurable quality with this model and source. The"
            " result has the source's size.",
        ),
    ] = "auto"
    # masks/
    mask: Annotated[
        str | None,
        Meta(
            description="What may change; the rest keeps the source's pixels. An image, folder or"
            " video that is white where it may; `alpha`, `luma:LOW-HIGH` or `chroma:COLOR`, made"
            " from the source itself; `track:FILE@SECONDS`, one drawn image that is followed along"
            " the motion; `boxes:FILE.csv`, boxes with times."
        ),
    ] = None
    mask_invert: Annotated[bool, Meta(description="Exchange what may change and what stays.")] = (
        False
    )
    mask_grow: Annotated[
        int,
        Meta(
            ge=-1024,
            le=1024,
            description="Pixels of the source by which the mask grows; negative: shrinks.",
        ),
    ] = 0
    mask_feather: Annotated[
        Annotated[int, Meta(ge=0, le=1024)] | Literal["auto"],
        Meta(
            description="Width of the mask's soft edge, in pixels of the source; it lies inside"
            " of what may change. `auto` is 2, and 0 for `alpha` and `chroma`, which have soft"
            " edges of their own."
        ),
    ] = "auto"
    # transfer/, execution/full_size.py
    detail: Annotated[
        Detail,
        Meta(
            description="Where the detail of the full-size result comes from. `source`: the edit is"
            " transferred to the source's own pixels. `edit`: the edited frame is enlarged."
            " `tiles`: the model then draws the transferred edit again at full size, tile by tile,"
            " which takes many times longer; for edits that draw."
        ),
    ] = "source"
    # editing/tiles.py
    tile_strength: Annotated[
        Fraction,
        Meta(
            description="Fraction of the denoising steps that `--detail tiles` runs on each tile."
            " Higher draws more anew."
        ),
    ] = 0.8
    tiny_vae: Annotated[
        bool,
        Meta(
            description="Use a small autoencoder (TAESD) for previews: faster, but less sharp.",
        ),
    ] = False
    # editing/deepcache.py
    deepcache_interval: Annotated[
        int,
        Meta(
            ge=1,
            le=10,
            description="DeepCache: run the full UNet every N steps and only its outer layers"
            " otherwise. Faster, lower quality.",
        ),
    ] = 1
    dtype: Annotated[
        Literal["auto", "float32", "float16", "bfloat16"],
        Meta(
            description="Precision of the weights. `auto` is float16 on CUDA, bfloat16 on a CPU"
            " that supports it, else float32."
        ),
    ] = "auto"
    compile: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="Compile the UNet with torch.compile, which takes minutes but makes each"
            " step faster. `auto` compiles only for jobs long enough to gain time."
        ),
    ] = "auto"
    batch_size: Annotated[
        int,
        Meta(
            ge=0,
            le=1024,
            description="Frames in one UNet call. 0 measures which number is fastest on the"
            " device.",
        ),
    ] = 0
    # planning/planner.py
    chunk_frames: Annotated[
        int,
        Meta(
            ge=2,
            le=10000,
            description="Frames between two borders. A chunk, the unit of work, has one such span,"
            " or up to four in a long video.",
        ),
    ] = 24
    # editing/carryover.py
    carryover: Annotated[
        float,
        Meta(
            ge=0,
            le=0.99,
            description="Fraction of the denoising steps inherited from the nearest edited border"
            " frames. Frames start at the step with the noise level of this fraction. Higher is"
            " faster and steadier; 0, or too few steps, turns it off.",
        ),
    ] = 0.7
    # editing/attention.py
    anchors: Annotated[
        int,
        Meta(
            ge=0,
            le=16,
            description="Anchor frames per shot, whose keys and values every frame attends to, for"
            " a consistent style. 0 turns them off.",
        ),
    ] = 0
    anchor_scope: Annotated[
        Literal["shot", "video"],
        Meta(description="Choose anchors in each shot, or once for all shots of the video."),
    ] = "shot"
    reference_image: Annotated[
        str | None,
        Meta(
            description="Style reference: an edited image or video that every frame attends to.",
        ),
    ] = None
    anchor_steps: Annotated[
        Fraction,
        Meta(
            description="Fraction of the denoising steps, from the first on, in which frames attend"
            " to anchors and to the style reference."
        ),
    ] = 1.0
    # temporal/filter.py
    temporal_filter: Annotated[
        int,
        Meta(
            ge=0,
            le=4,
            description="Radius, in frames, of the average along the source's motion that removes"
            " flicker. 0 turns it off.",
        ),
    ] = 2
    # temporal/deflicker.py
    deflicker: Annotated[
        int,
        Meta(
            ge=0,
            le=8,
            description="Radius, in frames, of brightness smoothing, for edits whose brightness"
            " pulses. 0 turns it off.",
        ),
    ] = 0
    scenes: Annotated[
        bool, Meta(description="Detect scene cuts. Nothing is carried across a cut.")
    ] = True

    def __post_init__(self) -> None:
        for name, field in FIELDS.items():
            # Converted: 7 for 7.0, also inside a tuple, would have another fingerprint.
            msgspec.structs.force_setattr(self, name, field.convert(getattr(self, name)))
        begin, end = self.guidance_interval
        if begin > end:
            raise RecipeError(
                f"guidance_interval is {begin:g},{end:g}; the first fraction must not be greater"
                " than the second.",
                hint="Give two fractions of the steps, such as 0.1,0.8.",
            )
        most = noise_schedule.DISTILLATION_STEPS
        if self.scheduler in noise_schedule.DISTILLED and self.num_inference_steps > most:
            raise RecipeError(
                f"num_inference_steps is {self.num_inference_steps}; the scheduler"
                f" {self.scheduler} takes at most {most}.",
                hint="Choose 1 to 8 steps for a distilled model, or another --scheduler.",
            )
        if self.compile == "on" and self.deepcache_interval > 1:
            raise RecipeError(
                "deepcache_interval above 1 does not work with compile = on.",
                hint="Leave out --deepcache-interval or --compile on.",
            )
        shaped = self.mask_invert or self.mask_grow or self.mask_feather != "auto"
        if self.mask is None and shaped:
            raise RecipeError(
                "mask_invert, mask_grow and mask_feather shape a mask, and there is none.",
                hint="Name one with --mask.",
            )
        for name in FIELDS:
            check_text(name, getattr(self, name))
        if not self.model.strip():  # as a path, it would be the current folder
            raise RecipeError(
                "model is empty.", hint="Name a model; check the variable that has it."
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Make a recipe from plain values, such as those of a TOML or JSON file.

        Raises:
            RecipeError: a field is unknown, missing, of the wrong type or out of range.
        """
        _check_names(values, "The recipe")
        if "instruction" not in values:
            raise RecipeError(
                "The recipe has no instruction.", hint="Say what to change, in a sentence."
            )
        return cls(**values)

    @classmethod
    def read_toml(cls, path: Path) -> Recipe:
        """Read a recipe file.

        Raises:
            RecipeError: the file cannot be read, or is not a valid recipe.
        """
        return cls.from_dict(cls.read_toml_values(path))

    @staticmethod
    def read_toml_values(path: Path) -> dict[str, Any]:
        """Read the values that a recipe file sets; it may leave out any field.

        Returns:
            Fields by name, and the name of a ``preset`` if the file has one.

        Raises:
            RecipeError: the file cannot be read, is not TOML, or sets an unknown field.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RecipeError(f"{path} cannot be read: {error.strerror}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path} is not a TOML recipe: {error}.") from None
        _check_names({k: v for k, v in values.items() if k != "preset"}, str(path))
        return values

    def to_toml(self) -> str:
        """Write the recipe as a TOML document that :meth:`read_toml` reads back unchanged."""
        values = {k: v for k, v in msgspec.to_builtins(self).items() if v is not None}
        return tomli_w.dumps(values)

    def fingerprint(self) -> str:
        """SHA-256 of the recipe's canonical JSON, in hexadecimal."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def guided_steps(self) -> range:
        """Denoising steps that use guidance."""
        begin, end = (round(self.num_inference_steps * share) for share in self.guidance_interval)
        return range(begin, end)

    def carried_steps(self, scheduler_config: Mapping[str, Any] | None = None) -> int:
        """Denoising steps that a chunk's frames inherit from their borders; 0 without carryover.

        See :func:`ip2p_batch.noise_schedule.carried_steps`.

        Args:
            scheduler_config: of the model; None: Stable Diffusion's.
        """
        config = noise_schedule.NoiseConfig.of(scheduler_config)
        return noise_schedule.carried_steps(
            self.scheduler, self.num_inference_steps, self.carryover, config
        )

    @property
    def edits_borders(self) -> bool:
        """Whether borders are edited before the chunks between them."""
        return self.carried_steps() > 0

    @property
    def temporal_radius(self) -> int:
        """Frames that a chunk edits beyond each of its ends, as input of the temporal filters."""
        return self.temporal_filter + self.deflicker

    def anchored_steps(self) -> int:
        """Denoising steps, from the first on, that attend to anchors or a style reference."""
        attends = self.anchors > 0 or self.reference_image is not None
        return round(self.num_inference_steps * self.anchor_steps) if attends else 0


#: Every field of a recipe by name, in the order of the class.
FIELDS: Mapping[str, RecipeField] = declared_fields(Recipe)


def _check_names(values: Mapping[str, Any], source: str) -> None:
    unknown = sorted(set(values) - set(FIELDS))
    if unknown:
        raise RecipeError(
            f"{source} sets {unknown[0]!r}, which is not a recipe field.",
            hint=f"Fields are: {', '.join(FIELDS)}.",
        )
