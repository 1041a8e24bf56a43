"""Compute profile: what decides the last bits of results in addition to the recipe."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..jobs.codec import encode
from ..jobs.records import ComputeProfile

#: Values of each tensor that are hashed, evenly spaced: training changes nearly all of them.
_VALUES = 64
#: Instruction sets for which oneDNN and ATen have separate kernels, besides the basic levels.
_SETS = ("avx512_bf16", "avx512_fp16", "avx512_vnni", "amx_tile", "amx_bf16", "amx_fp16")


def compute_profile(pipe: Any, device: str, dtype: torch.dtype) -> ComputeProfile:
    """The compute profile of an editor with the parts of ``pipe``.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
    """
    import diffusers

    on_cpu = device == "cpu"
    return ComputeProfile(
        model=digest(pipe.components),
        torch=str(torch.__version__),
        diffusers=diffusers.__version__,
        device=cpu_kind() if on_cpu else torch.cuda.get_device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        threads=torch.get_num_threads() if on_cpu else 0,
    )


def digest(parts: Mapping[str, Any]) -> str:
    """Hash the loaded weights of a model and their configuration to 16 hexadecimal digits.

    Only the name, shape and a few values of each tensor are hashed, which is much faster than
    hashing files of gigabytes. The digest differs between revisions of a model, and if some weights
    are missing.

    Args:
        parts: of the model, by name.
    """
    sha256 = hashlib.sha256()
    for name, part in sorted(parts.items()):
        config = getattr(part, "config", None)
        if isinstance(config, dict):  # a part of diffusers; keys with _ are paths and versions
            facts = {k: v for k, v in config.items() if not k.startswith("_")}
            sha256.update(encode([name, {k: str(facts[k]) for k in sorted(facts)}]))
        if not isinstance(part, torch.nn.Module):
            continue
        for key, tensor in sorted(part.state_dict().items()):
            sha256.update(encode([name, key, list(tensor.shape), str(tensor.dtype)]))
            sha256.update(_some_values(tensor))
    return sha256.hexdigest()[:16]


def _some_values(tensor: torch.Tensor) -> bytes:
    step = max(1, tensor.numel() // _VALUES)
    # By position in the tensor, since its memory layout is not a property of the weights.
    at = torch.arange(0, tensor.numel(), step, device=tensor.device)
    values = tensor.detach()[torch.unravel_index(at, tensor.shape)] if tensor.dim() else tensor
    return values.cpu().double().numpy().tobytes()


def cpu_kind() -> str:
    """The CPU's properties that affect results: ``cpu AuthenticAMD AVX512 avx512_bf16``."""
    get = getattr(torch.cpu, "get_capabilities", None)  # not in older torch
    has = get() if get is not None else {}
    sets = [name for name in _SETS if has.get(name)]
    limits = [f"{n}={os.environ[n]}" for n in ("ONEDNN_MAX_CPU_ISA",) if os.environ.get(n)]
    level = torch.backends.cpu.get_cpu_capability()
    return " ".join(["cpu", _maker(), level, *sets, *limits])


def _maker() -> str:
    """The vendor of the CPU: MKL has separate kernels for each."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() in ("vendor_id", "CPU implementer"):
                    return value.strip()
    except OSError:
        pass
    return platform.machine()
