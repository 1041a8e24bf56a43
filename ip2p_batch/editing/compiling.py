"""The UNet through ``torch.compile``, with what was compiled kept for later processes."""

from __future__ import annotations

import os
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..errors import ModelError
from . import tuning_cache

#: Shapes, and ways of anchors, that one process may compile for.
_SHAPES = 256
_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


class CompiledUNet:
    """A UNet and its compiled form, made when it is first asked for.

    Args:
        unet: stays as it is, for those that do not want the other.
        cache: folder where compiled kernels are kept; None is torch's own, which a reboot empties.
    """

    def __init__(self, unet: Any, cache: Path | None) -> None:
        self._unet = unet
        self._cache = cache
        self._compiled: Any = None

    def get(self) -> Any:
        """The compiled form; compiling itself happens at the first call with each shape."""
        if self._compiled is None:
            if self._cache is not None:
                _keep_in(self._cache)
            # A worker meets many shapes in its life. Beyond its limit torch would go on without
            # compiling, and without a word: the bits would depend on the jobs before.
            torch._dynamo.config.recompile_limit = _SHAPES
            torch._dynamo.config.accumulated_recompile_limit = 4 * _SHAPES
            # Fixed shapes: one batch shape is a promise here, and dynamic ones are slower.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what torch's own modules import
                compiled = torch.compile(self._unet, dynamic=False)
            self._compiled = _Quietly(self._unet, compiled)
        return self._compiled

    def measure(
        self, call: Callable[[Any], object], wait: Callable[[], object]
    ) -> tuning_cache.Compiled:
        """Compile for the shape with which ``call`` calls a UNet, and time that.

        Raises:
            ModelError: it cannot be compiled on this machine.
        """
        before = tuning_cache.timed(lambda: call(self._unet), wait)
        start = time.perf_counter()
        try:
            call(self.get())
        except Exception as error:  # torch's compilers raise whatever they like
            raise cannot_compile(error) from error
        wait()
        seconds = time.perf_counter() - start
        return tuning_cache.Compiled(
            seconds, before, tuning_cache.timed(lambda: call(self.get()), wait)
        )


def cannot_compile(error: BaseException) -> ModelError:
    """What to say where compiling fails."""
    text = " ".join(str(error).split())[:200]
    return ModelError(
        f"The model cannot be compiled on this machine: {type(error).__name__}: {text}",
        hint="Install a C++ compiler (g++), or use --compile off.",
    )


def is_compiler_error(error: BaseException) -> bool:
    """Whether an error comes from torch's compilers and not from the model."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))


def _keep_in(folder: Path) -> None:
    """Have torch keep what it compiles in ``folder``, unless the user named a place."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    # Importing torch's compiler sets the variable, so it being set says little.
    if os.environ.get(_VARIABLE, default_cache_dir()) == default_cache_dir():
        os.environ[_VARIABLE] = str(folder)


class _Quietly:
    """A compiled UNet that keeps to itself what its compiler thinks of diffusers' code.

    Compiling happens in the first calls of a shape (with anchors, in one for each of their ways).
    """

    _FIRST = 4

    def __init__(self, unet: Any, compiled: Any) -> None:
        self._unet = unet
        self._compiled = compiled
        self._calls: Counter[torch.Size] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._unet, name)

    def __call__(self, sample: torch.Tensor, *rest: Any, **more: Any) -> Any:
        if self._calls[sample.shape] >= self._FIRST:
            return self._compiled(sample, *rest, **more)
        self._calls[sample.shape] += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._compiled(sample, *rest, **more)
