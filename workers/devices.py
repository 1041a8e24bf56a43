"""Find the GPUs and cores of this machine without loading torch."""

from __future__ import annotations

import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ip2p_batch.errors import RecipeError

_HINT = "Use auto, cpu, or GPU numbers such as 0,1."
#: MiB of memory from which two workers share a GPU, each with half of it and its own weights. Such
#: GPUs are fast, so that one worker alone leaves them idle while it decodes and encodes.
_MEMORY_FOR_TWO = 38_000


def choose(devices: str, env: Mapping[str, str] | None = None) -> list[str]:
    """Return the GPUs to use, as values of ``CUDA_VISIBLE_DEVICES``; empty means the CPU.

    Args:
        devices: ``auto``, ``cpu``, ``cuda``, or numbers such as ``0,1``. Numbers count within
            ``CUDA_VISIBLE_DEVICES`` where that is set, as torch counts.

    Raises:
        RecipeError: ``devices`` has another form, or there is no such GPU.
    """
    env = os.environ if env is None else env
    if devices == "cpu":
        return []
    if devices == "auto":
        return gpus(env) if torch_has_gpus() else []
    if devices == "cuda":
        visible_gpus = gpus(env)
        if not visible_gpus:
            raise RecipeError("--devices cuda: no GPU was found.", hint=_HINT)
        return visible_gpus
    numbers = [d.strip().removeprefix("cuda:") for d in devices.split(",")]
    if not all(n.isdigit() for n in numbers) or len(set(numbers)) < len(numbers):
        raise RecipeError(f"--devices {devices} is unknown.", hint=_HINT)
    visible = _visible(env)
    if visible is None:
        return numbers
    try:
        return [visible[int(n)] for n in numbers]
    except IndexError:
        raise RecipeError(
            f"--devices {devices}: CUDA_VISIBLE_DEVICES names {len(visible)} GPUs.", hint=_HINT
        ) from None


def gpus(env: Mapping[str, str] | None = None) -> list[str]:
    """Return the ids of the GPUs that this process may use."""
    visible = _visible(os.environ if env is None else env)
    if visible is not None:
        return visible
    if shutil.which("nvidia-smi") is not None:
        lines = _output_of(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"])
        return [line.strip() for line in lines.splitlines() if line.strip().isdigit()]
    # Containers may lack nvidia-smi, and AMD and WSL have other tools. Loading torch takes seconds,
    # so it is asked only where a driver exists.
    if not any(Path("/dev", name).exists() for name in ("nvidiactl", "kfd", "dxg")):
        return []
    count = _output_of([sys.executable, "-c", "import torch; print(torch.cuda.device_count())"])
    return [str(n) for n in range(int(count))] if count.strip().isdigit() else []


def with_memory_for_two(gpus: Sequence[str]) -> list[str]:
    """Return those of ``gpus`` on which two workers are faster than one.

    One worker computes while the other one decodes, filters and encodes. One worker is right for a
    GPU of unknown memory (no ``nvidia-smi``, a MIG part) or in exclusive-process mode.
    """
    if shutil.which("nvidia-smi") is None:
        return []
    columns = "index,uuid,memory.total,compute_mode,mig.mode.current"
    lines = _output_of(["nvidia-smi", f"--query-gpu={columns}", "--format=csv,noheader,nounits"])
    large: list[tuple[str, str]] = []
    for line in lines.splitlines():
        index, uuid, memory, mode, mig = (*map(str.strip, line.split(",")), *[""] * 5)[:5]
        has_memory = memory.isdigit() and int(memory) >= _MEMORY_FOR_TWO
        if has_memory and mode == "Default" and mig != "Enabled":
            large.append((index, uuid))

    def is_large(gpu: str) -> bool:
        # CUDA accepts the beginning of a uuid.
        by_uuid = gpu.startswith("GPU-")
        return any(uuid.startswith(gpu) if by_uuid else gpu == index for index, uuid in large)

    return [gpu for gpu in gpus if is_large(gpu)]


def _visible(env: Mapping[str, str]) -> list[str] | None:
    value = env.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return None
    names = []
    for name in (part.strip() for part in value.split(",")):
        if not name or name.startswith("-"):
            break  # CUDA ignores everything after the first invalid entry
        names.append(name)  # a number, or an id such as GPU-... or MIG-...
    return names


def _output_of(command: list[str]) -> str:
    """Return the output of a command; empty where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def torch_has_gpus() -> bool:
    """Return whether the installed torch was built for GPUs; reads only its version file."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        facts = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    except OSError:
        return True  # unknown; loading a model will show it
    return bool(facts.get("cuda") or facts.get("hip"))
