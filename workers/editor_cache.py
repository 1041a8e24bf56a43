"""Which editor a recipe's model means."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ip2p_batch.editing.editor import Editor, IdentityEditor
from ip2p_batch.errors import ModelError
from ip2p_batch.frame import Image
from ip2p_batch.models import catalog
from ip2p_batch.recipe import Recipe
from ip2p_batch.settings import Settings

#: Returns frames unchanged, to time and to test everything but the model.
#: ``identity:slow=0.05`` takes that many seconds per frame. To test bad chunks, a frame whose first
#: pixel has a given red value kills its process (``identity:crash=7``), its process group
#: (``identity:crash-group=7``), or never finishes (``identity:hang=7``).
IDENTITY = "identity"
#: Share of memory that must be free to keep one model's weights beside another's.
_ROOM = 0.8
#: Models whose weights are kept at a time, where they fit.
_MOST = 4

_kept: dict[tuple[str, str | None, str], Editor] = {}


def kept_editor_for(recipe: Recipe, settings: Settings) -> Editor:
    """The editor for ``recipe``, loaded if it is not here any more.

    Jobs take turns, and may have different models: those of a few are kept where memory is plenty,
    else those of one.

    Raises:
        Ip2pError: as :func:`editor_for`.
    """
    key = (recipe.model, recipe.revision, recipe.dtype)
    if key not in _kept:
        if len(_kept) >= _MOST or not has_room():
            _kept.clear()
            gc.collect()  # two models at a time may not fit
        _kept[key] = editor_for(recipe, settings)
    return _kept[key]


def editor_for(recipe: Recipe, settings: Settings) -> Editor:
    """Load the editor for ``recipe`` on this worker's device.

    Raises:
        ModelError: it cannot be found or loaded, or is not on the list of ``IP2P_ALLOWED_MODELS``.
        OutsideRoots: it is a folder that this worker may not use.
    """
    catalog.check_allowed(recipe.model, recipe.revision, settings.allowed_models)
    if recipe.tiny_vae:
        catalog.check_tiny_vae(recipe.model, settings.allowed_models)
    name, _, option = recipe.model.partition(":")
    if name == IDENTITY:
        return _identity(option)
    # Here, not above: seconds of imports that no other process should pay for.
    from ip2p_batch.editing.loading import load_editor

    model = recipe.model
    if model not in catalog.BUNDLED and Path(model).expanduser().is_dir():
        folder = settings.allowed_roots.allow(catalog.locate(model))
        for part in (*folder.glob("*"), *folder.glob("*/*")):
            settings.allowed_roots.allow(part)  # a link among the files leads no further, either
        model = str(folder)
    return load_editor(
        model,
        revision=recipe.revision,
        dtype=recipe.dtype,
        device=settings.device,
        threads=settings.torch_threads,
        share=settings.gpu_memory_fraction,
        cache=settings.cache,
    )


def has_room(meminfo: Path = Path("/proc/meminfo")) -> bool:
    """Whether weights of one more model fit for certain: nearly all memory is free.

    Of the GPU that is in use, else of this machine; False where that cannot be told.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
        return bool(free >= _ROOM * total)
    try:
        lines = (line.split() for line in meminfo.read_text().splitlines())
        sizes = {name: int(size) for name, size, *_ in lines}
        return sizes["MemAvailable:"] >= _ROOM * sizes["MemTotal:"]
    except (OSError, ValueError, KeyError):
        return False


def _identity(option: str) -> IdentityEditor:
    if not option:
        return IdentityEditor()
    key, _, value = option.partition("=")
    if key in _ENDINGS and value.isdecimal():
        return IdentityEditor(transform=_ending_at(int(value), _ENDINGS[key]))
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1
    if key != "slow" or seconds < 0:
        raise ModelError(f"{IDENTITY}:{option} is not known.", hint=f"Use {IDENTITY}:slow=SECONDS.")
    return _slow(seconds)


def _slow(seconds: float) -> IdentityEditor:
    @contextmanager
    def slow() -> Iterator[None]:
        time.sleep(seconds)
        yield

    def gate() -> AbstractContextManager[object]:
        return slow()

    return IdentityEditor(gate=gate)


def _ending_at(red: int, end: Callable[[], None]) -> Callable[[Image], Image]:
    def change(image: Image) -> Image:
        if image[0, 0, 0] == red:
            end()
        return image

    return change


_ENDINGS: dict[str, Callable[[], None]] = {
    "crash": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crash-group": lambda: os.killpg(0, signal.SIGKILL),
    "hang": lambda: time.sleep(1e6),
}
