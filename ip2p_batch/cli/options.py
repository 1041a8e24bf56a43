"""Groups of options that several commands share, and the way from them to a recipe.

The options of a recipe are made from the fields of :class:`~ip2p_batch.recipe.Recipe`, which
declares their types, ranges and descriptions.
"""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args, get_type_hints

import msgspec
import typer

from ..jobs.spec import Encoding, Priority
from ..planning.recipes import resolve_recipe
from ..recipe import DEFAULT_MODEL, FIELDS, Recipe, RecipeField
from ..settings import Settings
from .command import OptionGroup
from .help_format import OUTPUT, RECIPE, REPORTING, WORKERS
from .param_types import choice, devices, interval, seconds

_ENCODING = get_type_hints(Encoding)
CODECS: tuple[str, ...] = get_args(_ENCODING["codec"])
FORMATS: tuple[str, ...] = get_args(get_args(_ENCODING["format"])[0])
PRIORITIES: tuple[str, ...] = get_args(Priority)

#: Short names of recipe options.
_SHORT = {
    "model": "-m",
    "num_inference_steps": "-n",
    "guidance_scale": "-g",
    "image_guidance_scale": "-i",
    "seed": "-s",
}
#: Placeholders in the help; else ``N``, ``X``, ``NAME`` or ``TEXT``, by the field's type.
_METAVARS = {
    "model": "MODEL",
    "revision": "REV",
    "size": "PX",
    "guidance_interval": "A,B",
    "reference_image": "FILE",
}
#: Values that a shell completes where the field takes any text.
_COMPLETIONS = {"model": ["tiny", "identity", DEFAULT_MODEL]}


def option(*names: str, panel: str, help: str, default: str = "", **more: Any) -> Any:
    """A Typer option whose help ends with its default, if ``default`` describes it."""
    text = f"{help} [default: {default}]" if default else help
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False, **more)


class RecipeOptions(OptionGroup):
    """A recipe file, and one option for each field of the recipe except the instruction.

    Attributes:
        file: the recipe file, if one was given.
        given: the fields that were given as options.
    """

    def __init__(self, recipe: Path | None = None, **fields: Any) -> None:
        self.file = recipe
        self.given = {name: value for name, value in fields.items() if value is not None}

    __signature__: ClassVar[inspect.Signature]


def recipe_help(field: RecipeField) -> str:
    """A field's description, allowed values and default, as in ``Steps. [1 to 9; default: 3]``."""
    facts = [] if isinstance(field.default, bool | tuple) or not field.values else [field.values]
    if field.default not in (None, ""):
        facts.append(f"default: {_shown(field)}")
    return f"{field.description} [{'; '.join(facts)}]" if facts else field.description


def _shown(field: RecipeField) -> str:
    """A field's default as it is written on the command line."""
    if isinstance(field.default, bool):
        return "on" if field.default else "off"
    if isinstance(field.default, tuple):
        return ",".join(f"{part:g}" for part in field.default)
    return str(field.default)


def option_names(field: RecipeField) -> list[str]:
    """The names of the option that sets ``field``."""
    if isinstance(field.default, bool):
        return [f"{field.option}/{field.option.replace('--', '--no-', 1)}"]
    return [field.option, *([_SHORT[field.name]] if field.name in _SHORT else [])]


def _recipe_parameter(field: RecipeField) -> inspect.Parameter:
    """The option of one field; None stands for an option that was not given."""
    kind: Any = str if field.default is None else type(field.default)
    more: dict[str, Any] = {}
    if kind is tuple:
        kind, more = Any, {"parser": interval}
    elif field.choices:
        more = choice(field.choices)
    elif field.name in _COMPLETIONS:
        more = {"autocompletion": lambda: list(_COMPLETIONS[field.name])}
    if kind is not bool:
        usual = "NAME" if field.choices else {int: "N", float: "X"}.get(kind, "TEXT")
        more["metavar"] = _METAVARS.get(field.name, usual)
    made = option(*option_names(field), panel=RECIPE, help=recipe_help(field), **more)
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, made],
    )


_RECIPE_FILE = inspect.Parameter(
    "recipe",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Path | None,
        option(
            "--recipe",
            "-r",
            metavar="FILE.toml",
            help="Read these options from a TOML file; options on the command line win.",
            panel=RECIPE,
        ),
    ],
)
RecipeOptions.__signature__ = inspect.Signature(
    [_RECIPE_FILE, *(_recipe_parameter(f) for f in FIELDS.values() if f.name != "instruction")]
)


@dataclass(frozen=True, kw_only=True)
class OutputOptions(OptionGroup):
    """Where the result goes and how it is written."""

    output: Annotated[
        Path | None,
        option(
            "--output",
            "-o",
            metavar="PATH",
            help="File or folder for the result.",
            panel=OUTPUT,
            default="next to the source, named ...-edited",
        ),
    ] = None
    overwrite: Annotated[
        bool, option("--overwrite", help="Replace existing results.", panel=OUTPUT)
    ] = False
    start: Annotated[
        float | None,
        option(
            "--start",
            metavar="TIME",
            parser=seconds,
            help="Edit a video from this time on: seconds, MM:SS or HH:MM:SS.fff.",
            panel=OUTPUT,
        ),
    ] = None
    end: Annotated[
        float | None,
        option(
            "--end",
            metavar="TIME",
            parser=seconds,
            help="Edit a video up to this time.",
            panel=OUTPUT,
        ),
    ] = None
    codec: Annotated[
        str,
        option(
            "--codec",
            metavar="NAME",
            help=f"Video codec: {', '.join(CODECS)} (lossless).",
            **choice(CODECS),
            panel=OUTPUT,
            default="h264",
        ),
    ] = "h264"
    crf: Annotated[
        int | None,
        option(
            "--crf",
            min=0,
            max=63,
            metavar="N",
            help="Video quality (constant rate factor); lower is better.",
            panel=OUTPUT,
            default="the codec's",
        ),
    ] = None
    format: Annotated[
        str | None,
        option(
            "--format",
            metavar="NAME",
            help=f"Picture format: {', '.join(FORMATS)}.",
            **choice(FORMATS, {"jpg": "jpeg", "tif": "tiff"}),
            panel=OUTPUT,
            default="the source picture's",
        ),
    ] = None
    quality: Annotated[
        int | None,
        option(
            "--quality",
            min=1,
            max=100,
            metavar="N",
            help="Quality of JPEG, WebP and AVIF pictures.",
            panel=OUTPUT,
            default="the format's",
        ),
    ] = None

    def encoding(self) -> Encoding:
        """How the result is encoded."""
        values = {"codec": self.codec, "crf": self.crf}
        return msgspec.convert({**values, "format": self.format, "quality": self.quality}, Encoding)


JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="Id of the job, a unique start of it, or its folder.",
        show_default=False,
    ),
]


def broker_option(default: str = "") -> Any:
    """``--broker``; ``default`` says what a command does without one."""
    return option(
        "--broker",
        "-b",
        envvar="IP2P_BROKER_URL",
        metavar="URL",
        help="URL of the workers' Redis, such as redis://host/0.",
        panel=WORKERS,
        default=default,
    )


DevicesOption = Annotated[
    str | None,
    option(
        "--devices",
        metavar="LIST",
        parser=devices,
        autocompletion=lambda: ["auto", "cpu", "0", "0,1"],
        help="auto (every GPU, or the CPU without one), GPU numbers such as 0,1, or cpu.",
        panel=WORKERS,
        default="IP2P_DEVICE, or auto",
    ),
]
WorkersOption = Annotated[
    int | None,
    option(
        "--workers",
        "-w",
        min=1,
        metavar="N",
        help="Worker processes on this machine.",
        panel=WORKERS,
        default="two per GPU with 40 GB or more, one per smaller GPU; on a CPU, one per core",
    ),
]


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(OptionGroup):
    """Which workers do the job: workers of this command, or those of a broker."""

    broker: Annotated[
        str | None, broker_option("a private Redis and workers for this command only")
    ] = None
    workers: WorkersOption = None
    devices: DevicesOption = None

    def settings(self) -> Settings:
        """The environment's settings with this broker."""
        return dataclasses.replace(Settings.from_env(), broker_url=self.broker or None)


@dataclass(frozen=True, kw_only=True)
class ReportOptions(OptionGroup):
    """How a command reports its progress and result."""

    json: Annotated[
        bool,
        option("--json", help="Write one JSON object per line to stdout.", panel=REPORTING),
    ] = False
    quiet: Annotated[bool, option("--quiet", "-q", help="Print errors only.", panel=REPORTING)] = (
        False
    )


def recipe_from(instruction: str | None, options: RecipeOptions) -> Recipe:
    """Merge a recipe: an option wins over the recipe file, that over the model's own defaults.

    Raises:
        RecipeError: a value is unknown or out of range.
        ModelError: the defaults file in the model's folder is damaged.
    """
    from_file = Recipe.read_toml_values(options.file) if options.file is not None else {}
    values = {**from_file, **options.given}
    if instruction is not None:
        values["instruction"] = instruction
    return resolve_recipe(values)
