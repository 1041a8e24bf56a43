"""Whether it is memory that ran out."""

from __future__ import annotations

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Tell running out of memory from other errors; torch has a class for that on GPUs only."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return "can't allocate memory" in text or "not enough memory" in text or "ALLOC_FAILED" in text
