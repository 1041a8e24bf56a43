"""What decides the last bits of an editor's results: weights, libraries, device, precision."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path
from typing import Any

import torch

from ..jobs.codec import encode
from ..jobs.records import ComputeProfile

#: Values looked at of each tensor, evenly spaced: any training changes nearly all of them.
_VALUES = 64
#: Instruction sets that oneDNN and ATen have kernels of their own for, beside the plain levels.
_SETS = ("avx512_bf16", "avx512_fp16", "avx512_vnni", "amx_tile", "amx_bf16", "amx_fp16")


def compute_profile(pipe: Any, device: str, dtype: torch.dtype) -> ComputeProfile:
    """The identity of an editor with the parts of ``pipe``.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
    """
    import diffusers

    on_cpu = device == "cpu"
    return ComputeProfile(
        model=digest(pipe),
        torch=str(torch.__version__),
        diffusers=diffusers.__version__,
        device=cpu_kind() if on_cpu else torch.cuda.get_device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        threads=torch.get_num_threads() if on_cpu else 0,
    )


def digest(pipe: Any) -> str:
    """16 hexadecimal digits of what was loaded: the weights as they are in use, and their setup.

    Of every tensor its name, shape and a few values are taken, so that it costs no more than a
    moment where hashing files of gigabytes would take many. Two hosts that have a model under
    the same name but of another revision differ, and so does one half of whose weights is missing.
    """
    found = hashlib.sha256()
    for name, part in sorted(pipe.components.items()):
        config = getattr(part, "config", None)
        if isinstance(config, dict):  # diffusers' own; those that begin with _ are paths, versions
            facts = {k: v for k, v in config.items() if not k.startswith("_")}
            found.update(encode([name, {k: str(facts[k]) for k in sorted(facts)}]))
        if not isinstance(part, torch.nn.Module):
            continue
        for key, tensor in sorted(part.state_dict().items()):
            found.update(encode([name, key, list(tensor.shape), str(tensor.dtype)]))
            found.update(_some_values(tensor))
    return found.hexdigest()[:16]


def _some_values(tensor: torch.Tensor) -> bytes:
    step = max(1, tensor.numel() // _VALUES)
    # By place and not by memory: how a tensor lies there is no matter of the weights.
    at = torch.arange(0, tensor.numel(), step, device=tensor.device)
    values = tensor.detach()[torch.unravel_index(at, tensor.shape)] if tensor.dim() else tensor
    return values.cpu().double().numpy().tobytes()


def cpu_kind() -> str:
    """The CPU as its results know it: ``cpu AuthenticAMD AVX512 avx512_bf16 avx512_vnni``."""
    get = getattr(torch.cpu, "get_capabilities", None)  # older torch cannot tell
    has = get() if get is not None else {}
    sets = [name for name in _SETS if has.get(name)]
    limits = [f"{n}={os.environ[n]}" for n in ("ONEDNN_MAX_CPU_ISA",) if os.environ.get(n)]
    level = torch.backends.cpu.get_cpu_capability()
    return " ".join(["cpu", _maker(), level, *sets, *limits])


def _maker() -> str:
    """Who made the CPU: MKL has another way for each."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() in ("vendor_id", "CPU implementer"):
                    return value.strip()
    except OSError:
        pass
    return platform.machine()
