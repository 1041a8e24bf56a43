"""The recipe: everything that decides the pixels of a result, and nothing else."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import tomli_w

from .errors import RecipeError

Scheduler = Literal["euler-ancestral", "euler", "ddim", "dpm++", "unipc"]
SCHEDULERS: tuple[str, ...] = get_args(Scheduler)
AnchorScope = Literal["shot", "video"]
Dtype = Literal["auto", "float32", "float16", "bfloat16"]
Compile = Literal["auto", "on", "off"]

#: The model of the InstructPix2Pix paper, as diffusers loads it.
DEFAULT_MODEL = "timbrooks/instruct-pix2pix"


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides pixels. Names are diffusers' own where diffusers has one.

    Attributes:
        instruction: what to change, in a sentence. A manifest may give each picture its own.
        negative_prompt: what to steer away from.
        model: ``tiny``, a diffusers folder, or a hub id.
        revision: branch, tag or commit of a hub id.
        scheduler: one of :data:`SCHEDULERS`.
        num_inference_steps: denoising steps, 1 to 1000.
        guidance_scale: s_T, how strongly the instruction is followed, 1 to 100.
        image_guidance_scale: s_I, how closely the source is kept, 1 to 100.
        guidance_interval: the share of the steps ``[a, b)`` in which guidance is on; outside of it
            only the branch with text and image is run. ``(0, 1)`` is throughout.
        seed: 0 to 2**63 - 1. Frames of one shot share its noise.
        size: longest side, in pixels, at which frames are edited (64 to 4096).
        tiny_vae: pictures go through a small autoencoder (TAESD): for previews.
        deepcache_interval: the whole UNet is run in every so many steps only, 1 (always) to 10; see
            ``editing/deepcache.py``.
        dtype: precision of the weights; ``auto`` is float16 on CUDA, bfloat16 on a CPU that
            computes in it, else float32.
        compile: the UNet goes through ``torch.compile``; ``auto`` where the job is long enough to
            pay for it. Last bits depend on it.
        batch_size: frames in one UNet call; 0 lets the device choose. Last bits depend on it.
        chunk_frames: frames in one span, from border to border (2 to 10000). A chunk is one span,
            or up to four in a long video; see ``plan.py``.
        carryover: share of the steps that a chunk's frames take over from its edited borders,
            0 (off) to below 1. See ``editing/carryover.py``.
        anchors: frames of each shot that all its frames look at in self-attention, 0 (off) to 16.
            See ``editing/attention.py``.
        anchor_scope: where they come from: each ``shot`` its own, or some of the whole ``video``
            for all its shots.
        reference_image: path of a finished picture, or video, that all frames look at, too.
        anchor_steps: share of the steps, from the first on, in which they do, 0 to 1.
        temporal_filter: frames to either side that each edited frame is averaged with along the
            source's motion, 0 (off) to 4. See ``temporal/filter.py``.
        deflicker: frames to either side that each edited frame's brightness is levelled with,
            0 (off) to 8. See ``temporal/deflicker.py``.
        scenes: whether scene cuts are looked for; nothing is carried across a cut.
    """

    instruction: str
    negative_prompt: str = ""
    model: str = DEFAULT_MODEL
    revision: str | None = None
    scheduler: Scheduler = "euler-ancestral"
    num_inference_steps: int = 20
    guidance_scale: float = 7.5
    image_guidance_scale: float = 1.5
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    seed: int = 0
    size: int = 512
    tiny_vae: bool = False
    deepcache_interval: int = 1
    dtype: Dtype = "auto"
    compile: Compile = "auto"
    batch_size: int = 0
    chunk_frames: int = 24
    carryover: float = 0.7
    anchors: int = 0
    anchor_scope: AnchorScope = "shot"
    reference_image: str | None = None
    anchor_steps: float = 1.0
    temporal_filter: int = 2
    deflicker: int = 0
    scenes: bool = True

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:  # also false for NaN
                raise RecipeError(
                    f"{_option(name)} is {value}; it must be from {low} to {high}.",
                    hint=f"Give {_option(name)} a value in that range.",
                )
        begin, end = self.guidance_interval
        if not 0 <= begin <= end <= 1:
            raise RecipeError(
                f"--guidance-interval is {begin},{end}; it must go from 0 to 1, upwards.",
                hint="Give two shares of the steps, such as 0.1,0.8.",
            )
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise RecipeError(
                    f"{_option(name)} {value} is not known.",
                    hint=f"Use one of: {', '.join(choices)}.",
                )
        if self.compile == "on" and self.deepcache_interval > 1:
            raise RecipeError(
                "--deepcache-interval runs parts of the UNet, which --compile on does not go with.",
                hint="Leave one of them out.",
            )
        texts = (self.instruction, self.negative_prompt, self.model, self.reference_image or "")
        if "\x00" in "".join(texts):
            raise RecipeError("A recipe's texts may not hold NUL characters.")

    def guided_steps(self) -> range:
        """The steps in which guidance is on."""
        begin, end = (round(self.num_inference_steps * share) for share in self.guidance_interval)
        return range(begin, end)

    def carried_steps(self) -> int:
        """Step at which a chunk's frames set in from their borders; 0 when nothing is carried."""
        return min(int(self.num_inference_steps * self.carryover), self.num_inference_steps - 1)

    @property
    def edits_borders(self) -> bool:
        """Whether borders have to be edited before the chunks between them."""
        return self.carried_steps() > 0

    @property
    def looks_beyond(self) -> int:
        """Frames beyond its ends that a chunk has to edit for those who steady its frames."""
        return self.temporal_filter + self.deflicker

    def anchored_steps(self) -> int:
        """Number of steps, from the first on, in which anchors are looked at."""
        looks = self.anchors > 0 or self.reference_image is not None
        return round(self.num_inference_steps * self.anchor_steps) if looks else 0

    def fingerprint(self) -> str:
        """SHA-256 over the recipe's canonical JSON, in hexadecimal."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def to_toml(self) -> str:
        """The recipe as a TOML document that :func:`load` reads back unchanged."""
        values = {k: v for k, v in msgspec.to_builtins(self).items() if v is not None}
        return tomli_w.dumps(values)


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("num_inference_steps", 1, 1000),
    ("guidance_scale", 1, 100),
    ("image_guidance_scale", 1, 100),
    ("seed", 0, 2**63 - 1),
    ("size", 64, 4096),
    ("deepcache_interval", 1, 10),
    ("batch_size", 0, 1024),
    ("chunk_frames", 2, 10000),
    ("carryover", 0, 0.99),
    ("anchors", 0, 16),
    ("anchor_steps", 0, 1),
    ("temporal_filter", 0, 4),
    ("deflicker", 0, 8),
)
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "scheduler": SCHEDULERS,
    "dtype": get_args(Dtype),
    "compile": get_args(Compile),
    "anchor_scope": get_args(AnchorScope),
}
#: Every field name, in the order of the class: the options a recipe file may set.
FIELDS: tuple[str, ...] = Recipe.__struct_fields__


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def make(values: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values.

    Raises:
        RecipeError: a field is unknown, of the wrong type or out of range.
    """
    unknown = sorted(set(values) - set(FIELDS))
    if unknown:
        raise RecipeError(
            f"A recipe has no field {unknown[0]!r}.", hint=f"Fields are: {', '.join(FIELDS)}."
        )
    try:
        return msgspec.convert(dict(values), Recipe)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, RecipeError):
            raise error.__cause__ from None
        raise RecipeError(f"The recipe is not valid: {error}") from None


def load(path: Path) -> dict[str, Any]:
    """The values that a TOML recipe file sets; not yet a recipe, since options may add to it.

    Raises:
        RecipeError: the file cannot be read, is not TOML, or sets an unknown field.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not a TOML recipe: {error}.") from None
    unknown = sorted(set(values) - set(FIELDS))
    if unknown:
        raise RecipeError(
            f"{path} sets {unknown[0]!r}, which no recipe has.",
            hint=f"Fields are: {', '.join(FIELDS)}.",
        )
    return values
