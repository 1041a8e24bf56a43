"""The fields of a recipe as data: their types, ranges and descriptions.

Validation, the command line's options and the tables in docs/cli.md are made from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from .errors import RecipeError
from .recipe_parts import RecipePart

#: In the class below, ``type`` is a field.
_PartType = type[RecipePart]


@dataclass(frozen=True, kw_only=True)
class RecipeField:
    """The declaration of one field of :class:`~ip2p_batch.recipe.Recipe`.

    Attributes:
        name: the field's name in Python and in a recipe file.
        type: its type with its constraints, as msgspec takes it.
        description: what it does, in a sentence or two.
        default: None where there is no default.
        choices: the only values that a text may have; empty for any text.
        range: the values that a number or a boolean may have, in words; empty for a text.
        part: type of the values of a list; None for a field with one value.
    """

    name: str
    type: Any
    description: str
    default: Any
    choices: tuple[str, ...]
    range: str
    part: _PartType | None

    @property
    def option(self) -> str:
        """The command-line option that sets it."""
        return "--" + self.name.replace("_", "-")

    @property
    def values(self) -> str:
        """The allowed values, in words: ``1 to 1000``, ``auto, on, off``; empty for any text."""
        if self.part is not None:
            return self.part.grammar()
        return ", ".join(filter(None, (*self.choices, self.range)))

    def convert(self, value: Any) -> Any:
        """Check a value and give it the field's own type.

        Raises:
            RecipeError: it has another type or is out of range.
        """
        if self.part is not None and isinstance(value, list | tuple):
            value = tuple(map(self._as_part, value))
        try:
            return msgspec.convert(value, self.type)
        except msgspec.ValidationError:
            raise RecipeError(
                f"{self.name} is {value!r}; it must be {self._requirement}.",
                hint=f"Change {self.option}, or {self.name} in the recipe file.",
            ) from None

    def _as_part(self, value: Any) -> Any:
        """A value of a list from its text or its fields."""
        assert self.part is not None
        if isinstance(value, str):
            return self.part.parse(value)
        return self.part.from_value(value) if isinstance(value, Mapping) else value

    @property
    def _requirement(self) -> str:
        if self.part is not None:
            return f"a list of {self.values}"
        if self.choices and self.range:
            return f"{' or '.join(self.choices)} or a whole number from {self.range}"
        if self.choices:
            return f"one of: {self.values}"
        kinds = {int: "a whole number from ", float: "a number from ", bool: "one of: "}
        return f"{kinds.get(type(self.default), '')}{self.values or 'a text'}"


def _range(info: msgspec.inspect.Type) -> str:
    """The values of a type with constraints, in words; empty for any text."""
    if isinstance(info, msgspec.inspect.Metadata):
        return _range(info.type)
    if isinstance(info, msgspec.inspect.UnionType):
        return next(filter(None, map(_range, info.types)), "")
    if isinstance(info, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        return f"{info.ge:g} to {'2^63 - 1' if info.le == 2**63 - 1 else format(info.le, 'g')}"
    if isinstance(info, msgspec.inspect.VarTupleType):
        return ""
    if isinstance(info, msgspec.inspect.TupleType):
        return f"{len(info.item_types)} numbers, each {_range(info.item_types[0])}"
    return "true, false" if isinstance(info, msgspec.inspect.BoolType) else ""


def _choices(kind: Any) -> tuple[str, ...]:
    """The texts that a type allows; empty for any text."""
    literals = (part for part in (kind, *get_args(kind)) if get_origin(part) is Literal)
    return tuple(c for literal in literals for c in get_args(literal) if isinstance(c, str))


def _part(kind: Any) -> type[RecipePart] | None:
    """The type of a list's values; None for a type that is no list of parts."""
    found = [a for a in get_args(kind) if isinstance(a, type) and issubclass(a, RecipePart)]
    return found[0] if found else None


def declared_fields(recipe: type[msgspec.Struct]) -> dict[str, RecipeField]:
    """The declarations of the fields of a recipe's class, by name, in their order."""
    types = get_type_hints(recipe, include_extras=True)
    fields = {}
    for field in msgspec.structs.fields(recipe):
        annotated = types[field.name]
        meta = next(m for m in annotated.__metadata__ if m.description is not None)
        default = None if field.default is msgspec.NODEFAULT else field.default
        fields[field.name] = RecipeField(
            name=field.name,
            type=annotated,
            description=meta.description,
            default=default,
            choices=_choices(annotated.__origin__),
            range=_range(msgspec.inspect.type_info(annotated)),
            part=_part(annotated.__origin__),
        )
    return fields


def check_text(name: str, value: object) -> None:
    """Refuse a text, also in a part, that JSON or a file system cannot hold.

    Raises:
        RecipeError: NUL characters, or bytes that are not UTF-8.
    """
    if isinstance(value, RecipePart):
        for field in value.__struct_fields__:
            check_text(f"{field} of {name}", getattr(value, field))
    if isinstance(value, tuple):
        for part in value:
            check_text(name, part)
    if not isinstance(value, str):
        return
    if "\x00" in value:
        raise RecipeError(f"{name} contains a NUL character.", hint="Remove it.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RecipeError(
            f"{name} is not UTF-8.",
            hint="Write it in UTF-8; `locale` shows the terminal's encoding.",
        ) from None
