"""The kinds of hints. Loads no numpy: planning checks their names."""

from __future__ import annotations

from ..errors import RecipeError
from ..recipe_parts import Control
from .depth_model import KIND, check_estimator, estimator_of

#: Made without weights, by :mod:`.make`.
KINDS: tuple[str, ...] = ("canny", "lineart", "tile", "blur", "luminance", "color")
#: These and ``depth``, which is made by an estimator.
ALL_KINDS: tuple[str, ...] = (*KINDS, KIND)


def check_kind(kind: str) -> None:
    """Refuse a kind whose hints cannot be made.

    Raises:
        RecipeError: names the kinds.
    """
    if kind not in KINDS:
        raise RecipeError(
            f"{kind!r} is no kind of hints that are made here: {', '.join(ALL_KINDS)}.",
            hint=f"Give your own with hints=FILE, for example --control {kind},hints=FILE.",
        )


def check_kinds(nets: tuple[Control, ...]) -> None:
    """Refuse a control net whose hints are neither made here nor given.

    Raises:
        RecipeError: names the kinds; or a preprocessor is given that nothing uses.
        ModelError: the depth estimator is a folder without its files.
    """
    for net in nets:
        estimator = estimator_of(net)
        if estimator is not None:
            check_estimator(estimator)
        elif net.preprocessor is not None:
            raise RecipeError(
                f"preprocessor={net.preprocessor} makes hints of depth only, and not {net.kind}.",
                hint="Omit it.",
            )
        elif net.hints is None:
            check_kind(net.kind)
