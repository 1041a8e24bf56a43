"""The options of a recipe, made from the fields of :class:`~ip2p_batch.recipe.Recipe`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, ClassVar

from ..models.presets import PRESETS
from ..planning.recipes import resolve_recipe
from ..recipe import DEFAULT_MODEL, FIELDS, Recipe
from ..recipe_fields import RecipeField
from .command import OptionGroup
from .help_format import RECIPE
from .options import option
from .param_types import choice, interval, number_or

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
    "lora": "LORA",
    "control": "CONTROL",
    "mask": "MASK",
}
#: Values that a shell completes where the field takes any text.
_COMPLETIONS = {"model": ["tiny", "identity", DEFAULT_MODEL]}


class RecipeOptions(OptionGroup):
    """A recipe file, a preset, and an option for each field of the recipe except the instruction.

    Attributes:
        file: the recipe file, if one was given.
        preset: the name of a preset, if one was given.
        given: the fields that were given as options.
    """

    def __init__(
        self, recipe: Path | None = None, preset: str | None = None, **fields: Any
    ) -> None:
        self.file = recipe
        self.preset = preset
        # A list that was not given is empty.
        self.given = {name: value for name, value in fields.items() if value not in (None, [])}

    @property
    def reads(self) -> tuple[Path, ...]:
        """The recipe file, if one was given."""
        return () if self.file is None else (self.file.expanduser(),)

    __signature__: ClassVar[inspect.Signature]


def recipe_help(field: RecipeField) -> str:
    """A field's description, allowed values and default, as in ``Steps. [1 to 9; default: 3]``."""
    facts = [] if _needs_no_values(field) else [field.values]
    if field.default not in (None, "", ()):
        facts.append(f"default: {_shown(field)}")
    return f"{field.description} [{'; '.join(facts)}]" if facts else field.description


def _needs_no_values(field: RecipeField) -> bool:
    flag_or_interval = isinstance(field.default, bool | tuple) and field.part is None
    return flag_or_interval or not field.values


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
    if field.part is not None:
        kind = list[str]
    elif kind is tuple:
        kind, more = Any, {"parser": interval}
    elif field.choices and field.range:
        kind, more = Any, number_or(field.choices)
    elif field.choices:
        more = choice(field.choices)
    elif field.name in _COMPLETIONS:
        more = {"autocompletion": lambda: list(_COMPLETIONS[field.name])}
    if kind is not bool:
        usual = "NAME" if field.choices else {int: "N", float: "X"}.get(kind, "TEXT")
        more["metavar"] = _METAVARS.get(field.name, usual)
    made = option(*option_names(field), panel=RECIPE, help=recipe_help(field), **more)
    return _parameter(field.name, kind, made)


def _parameter(name: str, kind: Any, made: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, made],
    )


_RECIPE_FILE = _parameter(
    "recipe",
    Path,
    option(
        "--recipe",
        "-r",
        metavar="FILE.toml",
        help="Read these options from a TOML file; options on the command line win.",
        panel=RECIPE,
    ),
)
_PRESET = _parameter(
    "preset",
    str,
    option(
        "--preset",
        metavar="NAME",
        help="Steps, scheduler, guidance interval, DeepCache, size and detail for speed or"
        " fidelity, as the model's folder has them; `fast` may bring a LoRA. Other options win"
        " over it, it wins over the recipe file.",
        panel=RECIPE,
        values=PRESETS,
        **choice(PRESETS),
    ),
)
RecipeOptions.__signature__ = inspect.Signature(
    [
        _RECIPE_FILE,
        _PRESET,
        *(_recipe_parameter(f) for f in FIELDS.values() if f.name != "instruction"),
    ]
)


def recipe_from(instruction: str | None, options: RecipeOptions) -> Recipe:
    """Merge a recipe: an option wins over the preset, that over the recipe file, and so on.

    See :func:`~ip2p_batch.planning.recipes.resolve_recipe`.

    Raises:
        RecipeError: a value is unknown or out of range.
        ModelError: the defaults or presets file in the model's folder is damaged.
    """
    from_file = Recipe.read_toml_values(options.file) if options.file is not None else {}
    given = {**options.given, "preset": options.preset}
    if instruction is not None:
        given["instruction"] = instruction
    return resolve_recipe(from_file, given)
