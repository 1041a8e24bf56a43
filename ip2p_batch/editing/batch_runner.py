"""Halve batches while memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

import torch

from ..errors import EditError
from .compiling import cannot_compile, is_compiler_error
from .device_memory import is_out_of_memory
from .references import ReferenceFrames

T = TypeVar("T")
#: What a batch consists of.
BatchUnit = Literal["frame", "tile"]


class BatchRunner:
    """Runs a session's work in batches that fit into memory.

    Args:
        limits: largest batches that have not run out of memory so far; these are lowered.
        references: of the session; what they cache is freed when memory runs out.

    Attributes:
        warnings: a line for each time that memory ran out.
    """

    def __init__(self, limits: dict[BatchUnit, int], references: ReferenceFrames) -> None:
        self._limits = limits
        self._references = references
        self.warnings: list[str] = []

    def run(self, work: Callable[[int], T], batch: int, side: int, unit: BatchUnit = "frame") -> T:
        """``work(size)`` with ``size`` at most ``batch``, halved while memory runs out.

        Args:
            side: longest side of a frame or tile, in pixels.

        Raises:
            EditError: memory runs out with a batch of one.
            ModelError: the UNet cannot be compiled.
        """
        while True:
            size = min(batch, self._limits[unit])
            try:
                return work(size)
            except (MemoryError, RuntimeError) as error:
                if is_compiler_error(error):
                    raise cannot_compile(error) from error
                if not is_out_of_memory(error):
                    raise
            # After the handler: the error holds what ran out of memory.
            self._halve(size, side, unit)

    def _halve(self, size: int, side: int, unit: BatchUnit) -> None:
        self._references.clear_caches()
        if size == 1:
            raise EditError(
                f"Out of memory with one {unit} of {side} pixels.",
                hint=(f"Choose a --size below {side}" if unit == "frame" else "Use --detail source")
                + (", fewer --anchors" if self._references.has_anchors else "")
                + ", or fewer --workers where several share a GPU.",
            )
        self._limits[unit] = size // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.warnings.append(
            f"Out of memory with {size} {unit}s at once; continued with {size // 2}."
        )
