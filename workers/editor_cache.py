"""Load the editor that a recipe names, and keep it loaded."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec

from ip2p_batch.editing.editor import Editor, IdentityEditor
from ip2p_batch.editing.lora import files as lora_files
from ip2p_batch.errors import ModelError
from ip2p_batch.frame import Image
from ip2p_batch.models import catalog
from ip2p_batch.planning import nets
from ip2p_batch.recipe import Recipe
from ip2p_batch.recipe_parts import Lora
from ip2p_batch.settings import Settings

#: ``identity:slow=0.05`` takes that many seconds per frame, to time and to test everything but the
#: model. To test bad chunks, a frame whose first pixel has a given red value kills its process
#: (``identity:crash=7``), its process group (``identity:crash-group=7``), or never finishes
#: (``identity:hang=7``).
IDENTITY = catalog.IDENTITY
#: Fraction of memory that must be free to load one more model.
_MIN_FREE = 0.8
#: Models that stay loaded at a time, where they fit.
MAX_MODELS = 4
#: Model, revision, LoRAs and precision.
_Key = tuple[str, str | None, tuple[Lora, ...], str]


class EditorCache:
    """Loaded editors, by model, LoRAs and precision.

    Jobs take turns and may have different models. A few models stay loaded where there is plenty
    of memory; elsewhere only one does.

    Args:
        has_room: returns whether one more model certainly fits.
    """

    def __init__(self, settings: Settings, has_room: Callable[[], bool] | None = None) -> None:
        self._settings = settings
        self._has_room = has_room or memory_for_another_model
        self._editors: dict[_Key, Editor] = {}

    def __len__(self) -> int:
        return len(self._editors)

    def get(self, recipe: Recipe) -> Editor:
        """Return the editor for ``recipe``, and load it where it is not loaded.

        Raises:
            Ip2pError: as :func:`editor_for` and :func:`~ip2p_batch.planning.nets.check_allowed`.
        """
        nets.check_allowed(recipe, self._settings, roots=True)
        key = (recipe.model, recipe.revision, recipe.lora, recipe.dtype)
        if key not in self._editors:
            if len(self._editors) >= MAX_MODELS or not self._has_room():
                self._editors.clear()
                gc.collect()  # two models at a time may not fit
            self._editors[key] = editor_for(recipe, self._settings)
        return self._editors[key]


def editor_for(recipe: Recipe, settings: Settings) -> Editor:
    """Load the editor for ``recipe`` on this worker's device.

    Raises:
        ModelError: the model or a LoRA cannot be found or loaded, ``IP2P_ALLOWED_MODELS`` does not
            name it, or the LoRA's file is not the one of the recipe.
        OutsideRoots: the model or a LoRA is a folder or file that this worker may not use.
    """
    catalog.check_allowed(recipe.model, recipe.revision, settings.allowed_models)
    loras = [_usable_lora(lora, settings) for lora in recipe.lora]
    if recipe.tiny_vae:
        catalog.check_tiny_vae(recipe.model, settings.allowed_models)
    name, _, option = recipe.model.partition(":")
    if name == IDENTITY:
        return _identity(option)
    # Importing torch and diffusers takes seconds, and most processes load no model.
    from ip2p_batch.editing.loading import load_editor

    model = recipe.model
    if model not in catalog.BUNDLED and Path(model).expanduser().exists():
        model = str(settings.allowed_roots.allow_folder(catalog.locate(model), levels=2))
    return load_editor(
        model,
        revision=recipe.revision,
        loras=loras,
        dtype=recipe.dtype,
        device=settings.device,
        threads=settings.torch_threads,
        share=settings.gpu_memory_fraction,
        cache=settings.cache,
    )


def _usable_lora(lora: Lora, settings: Settings) -> Lora:
    """A LoRA that this worker may use, by the real path of its file.

    Raises:
        ModelError: it is not allowed, or there is no such file.
        OutsideRoots: its file is outside of the allowed folders.
    """
    lora_files.check_allowed(lora, settings.allowed_models)
    path = lora_files.local_file(lora)
    if path is None:
        return lora
    return msgspec.structs.replace(lora, model=str(settings.allowed_roots.allow(path)), file=None)


def memory_for_another_model(meminfo: Path = Path("/proc/meminfo")) -> bool:
    """Return whether one more model certainly fits, since nearly all memory is free.

    Reads the memory of the GPU that is in use, else of this machine. False where it is unknown.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
        return bool(free >= _MIN_FREE * total)
    try:
        lines = (line.split() for line in meminfo.read_text().splitlines())
        sizes = {name: int(size) for name, size, *_ in lines}
        return sizes["MemAvailable:"] >= _MIN_FREE * sizes["MemTotal:"]
    except (OSError, ValueError, KeyError):
        return False


def _identity(option: str) -> IdentityEditor:
    if not option:
        return IdentityEditor()
    key, _, value = option.partition("=")
    if key in _FAULTS and value.isdecimal():
        return IdentityEditor(transform=_fault_at(int(value), _FAULTS[key]))
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


def _fault_at(red: int, fault: Callable[[], None]) -> Callable[[Image], Image]:
    def transform(image: Image) -> Image:
        if image[0, 0, 0] == red:
            fault()
        return image

    return transform


_FAULTS: dict[str, Callable[[], None]] = {
    "crash": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crash-group": lambda: os.killpg(0, signal.SIGKILL),
    "hang": lambda: time.sleep(1e6),
}
