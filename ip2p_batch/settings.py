"""Settings from the environment: broker, device, folders.

A worker reads them when it needs them; what is planned or run by a command gets them as one object.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import RecipeError
from .storage.roots import ANYWHERE, Roots
from .storage.roots import VARIABLE as ROOTS


def _cache_home(env: Mapping[str, str]) -> Path:
    base = env.get("XDG_CACHE_HOME") or str(Path(env.get("HOME") or Path.home()) / ".cache")
    return Path(base) / "ip2p-batch"


def _state_home(env: Mapping[str, str]) -> Path:
    base = env.get("XDG_STATE_HOME") or str(Path(env.get("HOME") or Path.home()) / ".local/state")
    return Path(base) / "ip2p-batch"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings from ``IP2P_*`` environment variables.

    Attributes:
        broker_url: ``IP2P_BROKER_URL``; None means a private Redis for the command's own time.
        jobs_dir: ``IP2P_JOBS_DIR``, where job folders are made. Every worker must see it under the
            same path. None means ``state/jobs``, or, with a broker, beside the output.
        state: where this user's job index lives (``$XDG_STATE_HOME/ip2p-batch``).
        cache: what is measured of models and compiled from them, for later processes
            (``$XDG_CACHE_HOME/ip2p-batch``); may be deleted at any time.
        device: ``IP2P_DEVICE``: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        torch_threads: ``IP2P_TORCH_THREADS``, torch threads in a CPU worker. The number decides the last
            bits of the result, so it is fixed and not taken from the machine.
        cpu_threads: ``IP2P_CPU_THREADS``, threads of one worker for work beside the model: optical flow,
            filters, fitting. The launcher divides the cores among workers on GPUs; on a CPU, where
            the model needs the cores, it is one. Results do not depend on it.
        gpu_memory_fraction: ``IP2P_GPU_MEMORY_FRACTION``, the share of its GPU's memory that a worker may take, above 0
            to 1; the launcher divides it among workers on one GPU.
        allowed_roots: ``IP2P_ALLOWED_ROOTS``, absolute folders with ``:`` between them. A worker reads and writes
            nothing outside them for a job; none means any folder. See SECURITY.md.
        allowed_models: ``IP2P_ALLOWED_MODELS``, names with commas between them: the models that may be loaded, as
            ``ip2p_batch.models.check_allowed`` reads them. None means any.
        heartbeat_timeout: ``IP2P_HEARTBEAT_TIMEOUT``: a claim that was not renewed for this long is no sign of
            life any more, and its chunk goes to another worker. Workers renew theirs every second.
        visibility_timeout: ``IP2P_VISIBILITY_TIMEOUT``, seconds from a worker's death until its chunk goes to another, of
            2 to 3600; None means the default. The shortest of all workers of a broker rules.
        chunk_timeout: ``IP2P_CHUNK_TIMEOUT``, seconds that any chunk may take before it counts as hung,
            beside what its frames need; None means the default.
    """

    broker_url: str | None
    jobs_dir: Path | None
    state: Path
    device: str
    torch_threads: int
    cpu_threads: int = 1
    gpu_memory_fraction: float = 1.0
    allowed_roots: Roots = ANYWHERE
    allowed_models: tuple[str, ...] | None = None
    cache: Path | None = None
    heartbeat_timeout: float = 15.0
    visibility_timeout: float | None = None
    chunk_timeout: float | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read ``env`` (default: the process's own environment).

        Raises:
            RecipeError: a number is not one, or a root is not absolute.
        """
        env = os.environ if env is None else env
        jobs_dir = env.get("IP2P_JOBS_DIR")
        return cls(
            broker_url=env.get("IP2P_BROKER_URL") or None,
            jobs_dir=Path(jobs_dir).absolute() if jobs_dir else None,
            state=_state_home(env),
            device=env.get("IP2P_DEVICE") or "auto",
            torch_threads=_threads("IP2P_TORCH_THREADS", env),
            cpu_threads=_threads("IP2P_CPU_THREADS", env),
            gpu_memory_fraction=_number("IP2P_GPU_MEMORY_FRACTION", env, 0.01, 1.0, "number")
            or 1.0,
            allowed_roots=Roots.parse(env.get(ROOTS) or ""),
            allowed_models=_names(env.get("IP2P_ALLOWED_MODELS") or ""),
            cache=_cache_home(env),
            heartbeat_timeout=_number("IP2P_HEARTBEAT_TIMEOUT", env, 0.1, 3600) or 15.0,
            visibility_timeout=_number("IP2P_VISIBILITY_TIMEOUT", env, 2, 3600),
            chunk_timeout=_number("IP2P_CHUNK_TIMEOUT", env, 1, 24 * 3600),
        )


def _number(
    name: str, env: Mapping[str, str], least: float, most: float, what: str = "number of seconds"
) -> float | None:
    text = env.get(name)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value <= most:
        raise RecipeError(
            f"{name} is {text!r}, which is not a {what} from {least} to {most}.",
            hint="Unset it to take the default.",
        )
    return value


def _names(text: str) -> tuple[str, ...] | None:
    """A list with commas; None where it is empty.

    Raises:
        RecipeError: nothing but commas, which would allow nothing.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if text and not names:
        raise RecipeError(
            f"IP2P_ALLOWED_MODELS is {text!r}, which names no model.",
            hint="Unset it to allow any, or name models with commas between them.",
        )
    return names or None


def _threads(name: str, env: Mapping[str, str]) -> int:
    text = env.get(name) or "1"
    if not text.isdecimal() or int(text) < 1:
        raise RecipeError(
            f"{name} is {text!r}, which is not a whole number from 1 up.",
            hint="Unset it, or give the number of threads of one worker.",
        )
    return int(text)
