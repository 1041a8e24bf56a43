"""Values of a recipe that have parts: control nets and LoRAs.

Each is written as one text on the command line and in a list of a recipe file, or as a table in a
recipe file; the table can hold any model name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from msgspec import Meta

from .errors import RecipeError

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)", re.ASCII)
_Text = Annotated[str, Meta(min_length=1)]
_Fraction = Annotated[float, Meta(ge=0, le=1)]

Branches = Literal["all", "text"]


class RecipePart(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One value of a list in a recipe.

    Raises:
        RecipeError: by :meth:`parse` and :meth:`from_value`: see there.
    """

    #: Name of the field that the number after ``@`` sets.
    _number: ClassVar[str]

    @classmethod
    def grammar(cls) -> str:
        """How the text of a value is written."""
        raise NotImplementedError

    @classmethod
    def _head(cls, head: str) -> dict[str, Any]:
        """The fields in the part of the text before the number and the first comma."""
        raise NotImplementedError

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a value from its text, see :meth:`grammar`.

        Raises:
            RecipeError: the text has another form, or a value in it is out of range.
        """
        head, *options = text.split(",")
        head, number = _number_after_at(head)
        values = cls._head(head)
        if number is not None:
            values[cls._number] = number
        for option in options:
            name, equals, value = option.partition("=")
            if not equals or name.strip() not in cls.__struct_fields__:
                raise RecipeError(
                    f"{text!r} is not {cls.grammar()}: {option!r} sets none of"
                    f" {', '.join(cls.__struct_fields__)}.",
                    hint="A name with a comma can stand in a recipe file, as a table.",
                )
            values[name.strip()] = value.strip()
        return cls.from_value(values, text)

    @classmethod
    def from_value(cls, values: Mapping[str, Any], shown: object = None) -> Self:
        """Make a value from plain fields, such as those of a table in a recipe file.

        Raises:
            RecipeError: a field is unknown, missing, of the wrong type or out of range.
        """
        try:
            return msgspec.convert(dict(values), cls, strict=False)
        except msgspec.ValidationError as error:
            shown = dict(values) if shown is None else shown
            raise RecipeError(
                f"{shown!r} is not {cls.grammar()}: {error}.",
                hint="docs/cli.md has the fields and their ranges.",
            ) from None


class Control(RecipePart, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A control net: a ControlNet or T2I-Adapter, and the hints that it sees.

    Attributes:
        kind: how hints are made of a frame (``canny``, ``depth``, ...); any name if ``hints`` has
            them.
        model: a folder in diffusers' layout or a hub id; None: the net of this kind in the folder
            of the edit's own model.
        revision: branch, tag or commit of a model on the hub.
        scale: what the net's output is multiplied by; diffusers' ``controlnet_conditioning_scale``.
        start, end: the part of the denoising steps in which the net acts; diffusers'
            ``control_guidance_start`` and ``control_guidance_end``.
        branches: the guidance branches in which it acts. In ``text`` alone it counts s_T times.
        caption: what the net reads instead of the instruction.
        hints: a video, folder, image sequence or image with hints of one's own, one for each frame.
        preprocessor: the estimator that makes hints of ``depth``: a folder of transformers or a
            hub id; None: Depth Anything V2 Small.
    """

    kind: _Text
    model: _Text | None = None
    revision: _Text | None = None
    scale: Annotated[float, Meta(ge=0, le=10)] = 0.5
    start: _Fraction = 0.0
    end: _Fraction = 1.0
    branches: Branches = "all"
    caption: str | None = None
    hints: _Text | None = None
    preprocessor: _Text | None = None

    _number = "scale"

    @classmethod
    def grammar(cls) -> str:
        return "KIND[:MODEL][@SCALE][,NAME=VALUE]..."

    @classmethod
    def _head(cls, head: str) -> dict[str, Any]:
        kind, colon, model = head.partition(":")
        values = {"kind": kind.strip()}
        return values | {"model": model.strip()} if colon else values


class Lora(RecipePart, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A LoRA: a small change of the model's weights, which is merged into them.

    Attributes:
        model: a .safetensors file, a folder with one, or a hub id.
        weight: what the change is multiplied by.
        revision: branch, tag or commit of a LoRA on the hub.
        file: name of the file in a folder or on the hub; None: the only one.
        digest: SHA-256 of the file in hexadecimal, which planning fills in; another file is
            refused. None: any file.
    """

    model: _Text
    weight: Annotated[float, Meta(ge=-10, le=10)] = 1.0
    revision: _Text | None = None
    file: _Text | None = None
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None = None

    _number = "weight"

    @classmethod
    def grammar(cls) -> str:
        return "FILE|FOLDER|HUB[@WEIGHT][,NAME=VALUE]..."

    @classmethod
    def _head(cls, head: str) -> dict[str, Any]:
        return {"model": head.strip()}


def _number_after_at(text: str) -> tuple[str, float | None]:
    """Split a number after the last ``@`` off a text.

    >>> _number_after_at("canny:net@0.5"), _number_after_at("me@home/net")
    (('canny:net', 0.5), ('me@home/net', None))
    """
    rest, at, number = text.rpartition("@")
    if at and _NUMBER.fullmatch(number.strip()):
        return rest, float(number)
    return text, None
