"""What a user can ask for, declared once: groups of options, and the way from them to a recipe.

A group is a frozen dataclass whose fields are Typer options. A command takes whole groups as
parameters and ``groups.spread`` turns each into its options, so that ``edit`` and ``plan`` share
them and functions further down receive one object.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import typer

from ..jobs.spec import Encoding, Priority
from ..planning.recipes import resolve_recipe
from ..recipe import DEFAULT_MODEL, SCHEDULERS, AnchorScope, Compile, Dtype, Recipe, load
from ..settings import Settings
from .help_format import CREW, LOOK, REPORTS, RESULT
from .param_types import choice, devices, interval, seconds

CODECS = ("h264", "hevc", "av1", "ffv1")
FORMATS = ("png", "jpeg", "webp", "tiff", "bmp", "avif")
PRIORITIES: tuple[str, ...] = get_args(Priority)
DTYPES: tuple[str, ...] = get_args(Dtype)
ANCHOR_SCOPES: tuple[str, ...] = get_args(AnchorScope)
COMPILE: tuple[str, ...] = get_args(Compile)

_DEFAULTS: dict[str, Any] = {f.name: f.default for f in msgspec.structs.fields(Recipe)}


def _look(field: str, *names: str, help: str, default: str | None = None, **more: Any) -> Any:
    """An option that sets a recipe's field; its default comes from the recipe's class."""
    shown = default if default is not None else str(_DEFAULTS[field])
    return _option(
        f"--{field.replace('_', '-')}", *names, panel=LOOK, help=help, default=shown, **more
    )


def _option(*names: str, panel: str, help: str, default: str = "", **more: Any) -> Any:
    """A Typer option that says in its help what happens without it."""
    text = f"{help} [default: {default}]" if default else help
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False, **more)


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """The recipe's fields as options; None means that the option was not given."""

    recipe: Annotated[
        Path | None,
        _option(
            "--recipe",
            "-r",
            metavar="FILE.toml",
            help="Take these options from a file; options given here win over it.",
            panel=LOOK,
        ),
    ] = None
    model: Annotated[
        str | None,
        _look(
            "model",
            "-m",
            metavar="MODEL",
            help="'tiny' (bundled, needs no download), a diffusers folder, or a hub id. A folder"
            " may bring its own steps, scales and size.",
            autocompletion=lambda: ["tiny", DEFAULT_MODEL],
        ),
    ] = None
    revision: Annotated[
        str | None,
        _look("revision", metavar="REV", help="Branch, tag or commit of a hub id.", default=""),
    ] = None
    num_inference_steps: Annotated[
        int | None,
        _look("num_inference_steps", "-n", metavar="N", help="Denoising steps."),
    ] = None
    guidance_scale: Annotated[
        float | None,
        _look("guidance_scale", "-g", metavar="X", help="s_T: how strongly to follow the words."),
    ] = None
    image_guidance_scale: Annotated[
        float | None,
        _look(
            "image_guidance_scale",
            "-i",
            metavar="X",
            help="s_I: how closely to keep to the source. At 1 it takes a third less time.",
        ),
    ] = None
    guidance_interval: Annotated[
        Any,
        _look(
            "guidance_interval",
            metavar="A,B",
            parser=interval,
            help="Share of the steps in which s_T and s_I count, such as 0,0.8: outside of it a"
            " step takes a third to a half of the time.",
            default="0,1",
        ),
    ] = None
    tiny_vae: Annotated[
        bool | None,
        _option(
            "--tiny-vae/--no-fast-vae",
            help="For previews: pictures go through a small autoencoder, quicker and less sharp.",
            panel=LOOK,
            default="no-fast-vae",
        ),
    ] = None
    compile: Annotated[
        str | None,
        _look(
            "compile",
            metavar="WHEN",
            help="Compile the UNet (minutes, then quicker): auto where the job is long enough to"
            " pay for it, on, or off.",
            **choice(COMPILE),
        ),
    ] = None
    deepcache_interval: Annotated[
        int | None,
        _look(
            "deepcache_interval",
            metavar="N",
            help="Run the whole UNet in every N-th step only, its outer layers in all: quicker,"
            " at a price.",
        ),
    ] = None
    negative_prompt: Annotated[
        str | None,
        _look("negative_prompt", metavar="TEXT", help="What to steer away from.", default=""),
    ] = None
    seed: Annotated[
        int | None,
        _look("seed", "-s", metavar="N", help="Same seed, same result, on however many workers."),
    ] = None
    scheduler: Annotated[
        str | None,
        _look(
            "scheduler",
            metavar="NAME",
            help=f"One of: {', '.join(SCHEDULERS)}.",
            **choice(SCHEDULERS),
        ),
    ] = None
    size: Annotated[
        int | None,
        _look(
            "size",
            metavar="PX",
            help="Longest side at which frames are edited; the result has the source's own size.",
        ),
    ] = None
    dtype: Annotated[
        str | None,
        _look(
            "dtype",
            metavar="TYPE",
            help=f"Precision of the weights: {', '.join(DTYPES)}.",
            **choice(DTYPES),
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        _look(
            "batch_size",
            metavar="N",
            help="Frames in one call of the model; 0 lets the device choose.",
        ),
    ] = None
    chunk_frames: Annotated[
        int | None,
        _look(
            "chunk_frames",
            metavar="N",
            help="Frames from border to border. A chunk, the unit of work, is one such span, or up"
            " to four in a long video.",
        ),
    ] = None
    carryover: Annotated[
        float | None,
        _look(
            "carryover",
            metavar="X",
            help="Share of the steps that frames take over from their chunk's edited borders:"
            " steadier and faster; 0 turns it off.",
        ),
    ] = None
    anchors: Annotated[
        int | None,
        _look(
            "anchors",
            metavar="K",
            help="Frames of each shot that all others look at in self-attention: one look"
            " throughout; 0 turns it off.",
        ),
    ] = None
    anchor_scope: Annotated[
        str | None,
        _look(
            "anchor_scope",
            metavar="WHERE",
            help="Whether each shot has its own anchors, or all shots share the video's.",
            **choice(ANCHOR_SCOPES),
        ),
    ] = None
    reference_image: Annotated[
        str | None,
        _look(
            "reference_image",
            metavar="FILE",
            help="A finished picture, or video, whose look you like: all frames look at it, too.",
            default="",
        ),
    ] = None
    anchor_steps: Annotated[
        float | None,
        _look("anchor_steps", metavar="X", help="Share of the steps, from the first, that do."),
    ] = None
    temporal_filter: Annotated[
        int | None,
        _look(
            "temporal_filter",
            metavar="R",
            help="Frames to either side that each is averaged with along the source's motion:"
            " takes flicker away; 0 turns it off.",
        ),
    ] = None
    deflicker: Annotated[
        int | None,
        _look(
            "deflicker",
            metavar="R",
            help="Frames to either side that each one's brightness is levelled with, for edits"
            " that pump; 0 turns it off.",
        ),
    ] = None
    scenes: Annotated[
        bool | None,
        _option(
            "--scenes/--no-scenes",
            help="Look for scene cuts; nothing is carried across a cut.",
            panel=LOOK,
            default="scenes",
        ),
    ] = None

    def given(self) -> dict[str, Any]:
        """Recipe fields that were given as options."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del values["recipe"]
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Result:
    """Where the result goes and how it is written."""

    output: Annotated[
        Path | None,
        _option(
            "--output",
            "-o",
            metavar="PATH",
            help="File or folder for the result.",
            panel=RESULT,
            default="beside the source, named ...-edited",
        ),
    ] = None
    overwrite: Annotated[
        bool,
        _option("--overwrite", help="Replace what exists.", panel=RESULT),
    ] = False
    start: Annotated[
        float | None,
        _option(
            "--start",
            metavar="TIME",
            parser=seconds,
            help="Edit a video from here: seconds, MM:SS or HH:MM:SS.fff.",
            panel=RESULT,
        ),
    ] = None
    end: Annotated[
        float | None,
        _option("--end", metavar="TIME", parser=seconds, help="... to here.", panel=RESULT),
    ] = None
    codec: Annotated[
        str,
        _option(
            "--codec",
            metavar="NAME",
            help=f"Video codec: {', '.join(CODECS)} (ffv1 is lossless).",
            **choice(CODECS),
            panel=RESULT,
            default="h264",
        ),
    ] = "h264"
    crf: Annotated[
        int | None,
        _option(
            "--crf",
            min=0,
            max=63,
            metavar="N",
            help="Video quality, lower is better.",
            panel=RESULT,
            default="the codec's own",
        ),
    ] = None
    format: Annotated[
        str | None,
        _option(
            "--format",
            metavar="NAME",
            help=f"Picture format: {', '.join(FORMATS)}.",
            **choice(FORMATS, {"jpg": "jpeg", "tif": "tiff"}),
            panel=RESULT,
            default="each picture's own",
        ),
    ] = None
    quality: Annotated[
        int | None,
        _option(
            "--quality",
            min=1,
            max=100,
            metavar="N",
            help="Quality of JPEG, WebP and AVIF pictures.",
            panel=RESULT,
            default="the format's own",
        ),
    ] = None

    def encoding(self) -> Encoding:
        values = {"codec": self.codec, "crf": self.crf}
        return msgspec.convert({**values, "format": self.format, "quality": self.quality}, Encoding)


JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="A job's id, the start of it, or its folder.", show_default=False
    ),
]


def broker_option(default: str = "") -> Any:
    """``--broker``; ``default`` is what a command does without one."""
    return _option(
        "--broker",
        "-b",
        envvar="IP2P_BROKER_URL",
        metavar="URL",
        help="Redis that the workers listen to, e.g. redis://host/0.",
        panel=CREW,
        default=default,
    )


DevicesOption = Annotated[
    str | None,
    _option(
        "--devices",
        metavar="LIST",
        parser=devices,
        autocompletion=lambda: ["auto", "cpu", "0", "0,1"],
        help="'auto' (every GPU, else the CPU), GPU numbers such as 0,1, or 'cpu'.",
        panel=CREW,
        default="auto, or what IP2P_DEVICE says",
    ),
]
WorkersOption = Annotated[
    int | None,
    _option(
        "--workers",
        "-w",
        min=1,
        metavar="N",
        help="Worker processes on this machine.",
        panel=CREW,
        default="two on each GPU with 40 GB, one on others, else one per core",
    ),
]


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Who works: a private Redis with workers of its own, or a broker that has workers."""

    broker: Annotated[str | None, broker_option("a private one for this command")] = None
    workers: WorkersOption = None
    devices: DevicesOption = None

    def settings(self) -> Settings:
        """The environment's settings with this broker."""
        return dataclasses.replace(Settings.from_env(), broker_url=self.broker or None)


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """How a command speaks."""

    json: Annotated[
        bool,
        _option("--json", help="One JSON object a line on stdout.", panel=REPORTS),
    ] = False
    quiet: Annotated[
        bool,
        _option("--quiet", "-q", help="Only say what went wrong.", panel=REPORTS),
    ] = False


def recipe_from(instruction: str | None, look: RecipeOptions) -> Recipe:
    """Option, else recipe file, else the model folder's own defaults, else the recipe's.

    Raises:
        RecipeError: a value is unknown or out of range.
        ModelError: the model folder's own defaults are damaged.
    """
    from_file = load(look.recipe) if look.recipe is not None else {}
    values = {**from_file, **look.given()}
    if instruction is not None:
        values["instruction"] = instruction
    return resolve_recipe(values)
