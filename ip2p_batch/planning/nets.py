"""Check the control nets of a recipe, and identify their files. Loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from ..editing import guidance
from ..errors import ModelError
from ..models import catalog, control_nets, net_checks
from ..recipe import Recipe
from ..recipe_parts import Control
from ..settings import Settings
from .hints import check_estimators_allowed

#: Work of a ControlNet in a step, as a share of the UNet's.
_CONTROLNET_SHARE = 0.353


def check_nets(recipe: Recipe) -> None:
    """Refuse nets that are not there or do not fit the model, as far as this machine has the files.

    Nets and models that are not downloaded yet are checked by the worker that loads them.

    Raises:
        ModelError: one line that names the net.
    """
    if not _used(recipe):
        return
    configs = control_nets.model_configs(recipe.model, recipe.revision) or (None, None)
    for control in _used(recipe):
        place = _place(recipe, control)
        config = control_nets.read_config(place, control.revision)
        if config is not None:
            has_caption = control.caption is not None
            net_checks.check_net(place, config, recipe.model, *configs, caption=has_caption)


def net_notes(recipe: Recipe) -> list[str]:
    """Lines on nets whose scale acts otherwise than the user may expect."""
    weight = guidance.weights(recipe.guidance_scale, recipe.image_guidance_scale).text
    return [
        f"The {control.kind} net acts in the text branch alone, where guidance multiplies it by"
        f" {weight:g}: a scale of {control.scale:g} acts like {control.scale * weight:g} in all"
        " branches."
        for control in _used(recipe)
        if control.branches == "text" and weight != 1
    ]


def check_allowed(recipe: Recipe, settings: Settings, *, roots: bool) -> None:
    """Check that the nets of a recipe, and its depth estimators, may be loaded.

    Args:
        roots: check folders against ``IP2P_ALLOWED_ROOTS``, too, as workers do.

    Raises:
        ModelError: ``IP2P_ALLOWED_MODELS`` does not name one, or there is no such net.
        OutsideRoots: one is a folder that workers may not use.
    """
    check_estimators_allowed(recipe, settings, roots=roots)
    for control in _used(recipe):
        place = _place(recipe, control)
        control_nets.check_allowed(place, control.revision, settings.allowed_models)
        if roots and not control_nets.is_hub_id(place) and not control_nets.is_bundled(place):
            settings.allowed_roots.allow_folder(place)


def net_digests(recipe: Recipe) -> tuple[str, ...]:
    """The digest of each net that is a folder on this machine, in the recipe's order.

    Empty for hub ids, which their name and revision identify, and for nets that are not there:
    :func:`check_nets` reports these.
    """
    return tuple("" if folder is None else _digest(folder) for folder in net_folders(recipe))


class NetWork(NamedTuple):
    """A control net of a recipe, and what it adds to the work of an edit.

    Attributes:
        control: the part of the recipe.
        sort: ``ControlNet`` or ``T2I-Adapter``; ``control net`` if its files are not here yet.
        place: its folder or hub id.
        share: of the work of the UNet in all steps; None where the sort is unknown.
    """

    control: Control
    sort: str
    place: str
    share: float | None


def net_work(recipe: Recipe) -> list[NetWork]:
    """The control nets of a recipe with their work, in its order.

    By counted operations of Stable Diffusion 1.5 at 512x512: a ControlNet takes .283 TFLOP for each
    .803 of the UNet, in its steps; a T2I-Adapter .060 for the whole frame.

    Raises:
        ModelError: a net is not there.
    """
    found = []
    for control in _used(recipe):
        place = _place(recipe, control)
        config = control_nets.read_config(place, control.revision) or {}
        sort = config.get("_class_name")
        if sort == net_checks.ADAPTER:
            found.append(NetWork(control, "T2I-Adapter", place, 0.0))
        elif config:
            share = _CONTROLNET_SHARE * max(0.0, control.end - control.start)
            found.append(NetWork(control, "ControlNet", place, share))
        else:
            found.append(NetWork(control, "control net", place, None))
    return found


def net_folders(recipe: Recipe) -> tuple[Path | None, ...]:
    """The folder of each net, in the recipe's order; None for hub ids and missing nets."""
    return tuple(_folder(recipe, control) for control in _used(recipe))


def with_absolute_nets(recipe: Recipe) -> Recipe:
    """Make the paths of nets absolute, since workers have another working folder."""
    replaced = tuple(
        msgspec.structs.replace(
            control,
            model=control_nets.absolute(control.model),
            preprocessor=control_nets.absolute(control.preprocessor),
        )
        for control in recipe.control
    )
    return msgspec.structs.replace(recipe, control=replaced)


def _used(recipe: Recipe) -> tuple[Control, ...]:
    """The parts of the recipe that load a net: none for the editor that has no model."""
    return () if recipe.model.partition(":")[0] == catalog.IDENTITY else recipe.control


def _place(recipe: Recipe, control: Control) -> str:
    return control_nets.locate(recipe.model, control.kind, control.model)


def _folder(recipe: Recipe, control: Control) -> Path | None:
    try:
        place = _place(recipe, control)
    except ModelError:
        return None
    return None if control_nets.is_hub_id(place) else Path(place)


def _digest(folder: Path) -> str:
    try:
        return control_nets.digest(folder)
    except ModelError:
        return ""
