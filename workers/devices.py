"""What a machine has to compute with, found out without loading torch."""

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
#: MiB of a GPU's memory from which on two workers share it: each has half, and its own weights.
#: Quick GPUs are large ones, and it is these that wait for one worker alone.
_ROOM_FOR_TWO = 38_000


def choose(devices: str, env: Mapping[str, str] | None = None) -> list[str]:
    """The GPUs to use, as values for ``CUDA_VISIBLE_DEVICES``; empty means the CPU.

    Args:
        devices: ``auto``, ``cpu``, ``cuda``, or numbers such as ``0,1``. Numbers count within
            ``CUDA_VISIBLE_DEVICES`` where that is set, as torch counts.

    Raises:
        RecipeError: ``devices`` is none of these, or there is no such GPU.
    """
    env = os.environ if env is None else env
    if devices == "cpu":
        return []
    if devices == "auto":
        return gpus(env) if torch_has_gpus() else []
    if devices == "cuda":
        found = gpus(env)
        if not found:
            raise RecipeError("--devices cuda: no GPU was found.", hint=_HINT)
        return found
    numbers = [d.strip().removeprefix("cuda:") for d in devices.split(",")]
    if not all(n.isdigit() for n in numbers) or len(set(numbers)) < len(numbers):
        raise RecipeError(f"--devices {devices} is not known.", hint=_HINT)
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
    """Names of the GPUs that this process may use; empty where there are none."""
    visible = _visible(os.environ if env is None else env)
    if visible is not None:
        return visible
    if shutil.which("nvidia-smi") is not None:
        said = _say(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"])
        return [line.strip() for line in said.splitlines() if line.strip().isdigit()]
    # Containers may lack nvidia-smi; AMD and WSL have another. Only torch knows, and asking it
    # costs seconds, so only where some driver is there.
    if not any(Path("/dev", name).exists() for name in ("nvidiactl", "kfd", "dxg")):
        return []
    said = _say([sys.executable, "-c", "import torch; print(torch.cuda.device_count())"])
    return [str(n) for n in range(int(said))] if said.strip().isdigit() else []


def with_room_for_two(gpus: Sequence[str]) -> list[str]:
    """Those of ``gpus`` that are best given two workers.

    While one decodes, steadies and encodes, the other computes. A GPU of which nothing is known
    (no ``nvidia-smi``, a part of a GPU) has one, and so has one that takes a single process.
    """
    if shutil.which("nvidia-smi") is None:
        return []
    columns = "index,uuid,memory.total,compute_mode,mig.mode.current"
    said = _say(["nvidia-smi", f"--query-gpu={columns}", "--format=csv,noheader,nounits"])
    roomy: list[tuple[str, str]] = []
    for line in said.splitlines():
        index, uuid, memory, mode, parted = (*map(str.strip, line.split(",")), *[""] * 5)[:5]
        large = memory.isdigit() and int(memory) >= _ROOM_FOR_TWO
        if large and mode == "Default" and parted != "Enabled":
            roomy.append((index, uuid))

    def is_one_of_them(gpu: str) -> bool:
        # CUDA takes the beginning of a uuid, too.
        by_uuid = gpu.startswith("GPU-")
        return any(uuid.startswith(gpu) if by_uuid else gpu == index for index, uuid in roomy)

    return [gpu for gpu in gpus if is_one_of_them(gpu)]


def _visible(env: Mapping[str, str]) -> list[str] | None:
    value = env.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return None
    names = []
    for name in (part.strip() for part in value.split(",")):
        if not name or name.startswith("-"):
            break  # as CUDA reads it: nothing after the first that is no device
        names.append(name)  # a number, or GPU-... and MIG-... by their ids
    return names


def _say(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def torch_has_gpus() -> bool:
    """Whether the installed torch was built for GPUs at all; reads its version file only."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        facts = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    except OSError:
        return True  # it does not say; loading a model will
    return bool(facts.get("cuda") or facts.get("hip"))


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
