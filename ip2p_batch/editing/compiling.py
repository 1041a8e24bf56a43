"""Compile the UNet with ``torch.compile``; the kernels are cached for later processes."""

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

#: Variants, by shape and by use of anchors, that one process may compile.
_MAX_VARIANTS = 256
_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


class CompiledUNet:
    """A UNet and its compiled form, which is created at first use.

    Args:
        unet: not changed.
        cache: folder for compiled kernels; None is torch's own, which a reboot empties.
    """

    def __init__(self, unet: Any, cache: Path | None) -> None:
        self._unet = unet
        self._cache = cache
        self._compiled: Any = None

    def get(self) -> Any:
        """The compiled form; it compiles at the first call with each shape."""
        if self._compiled is None:
            if self._cache is not None:
                _set_kernel_cache(self._cache)
            # A worker gets many shapes over time. Beyond its limit torch silently stops compiling,
            # and results would then depend on the jobs before.
            torch._dynamo.config.recompile_limit = _MAX_VARIANTS
            torch._dynamo.config.accumulated_recompile_limit = 4 * _MAX_VARIANTS
            # All batches have one shape, and dynamic shapes are slower.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # from imports of torch's own modules
                compiled = torch.compile(self._unet, dynamic=False)
            self._compiled = _QuietUNet(self._unet, compiled)
        return self._compiled

    def measure(
        self, call: Callable[[Any], object], wait: Callable[[], object]
    ) -> tuning_cache.Compiled:
        """Compile for the shape of ``call``'s arguments, and time it before and after.

        Raises:
            ModelError: this machine cannot compile it.
        """
        before = tuning_cache.timed(lambda: call(self._unet), wait)
        start = time.perf_counter()
        try:
            call(self.get())
        except Exception as error:  # torch's compilers raise errors of any type
            raise cannot_compile(error) from error
        wait()
        seconds = time.perf_counter() - start
        return tuning_cache.Compiled(
            seconds, before, tuning_cache.timed(lambda: call(self.get()), wait)
        )


def cannot_compile(error: BaseException) -> ModelError:
    """The error to raise if compiling fails."""
    text = " ".join(str(error).split())[:200]
    return ModelError(
        f"The model cannot be compiled on this machine: {type(error).__name__}: {text}",
        hint="Install a C++ compiler (g++), or use --compile off.",
    )


def is_compiler_error(error: BaseException) -> bool:
    """Whether an error comes from torch's compilers and not from the model."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))


def _set_kernel_cache(folder: Path) -> None:
    """Let torch cache kernels in ``folder``, unless the user configured a folder."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    # Importing torch's compiler sets the variable to its default.
    if os.environ.get(_CACHE_VARIABLE, default_cache_dir()) == default_cache_dir():
        os.environ[_CACHE_VARIABLE] = str(folder)


class _QuietUNet:
    """A compiled UNet without the compiler's warnings about diffusers' code.

    It compiles in the first calls with a shape; with anchors, once for each mode of their cache.
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
