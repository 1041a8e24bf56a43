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
        jobs: ``IP2P_JOBS``, where job folders are made. Every worker must see it under the
            same path. None means ``state/jobs``, or, with a broker, beside the output.
        state: where this user's job index lives (``$XDG_STATE_HOME/ip2p-batch``).
        cache: what is measured of models and compiled from them, for later processes
            (``$XDG_CACHE_HOME/ip2p-batch``); may be deleted at any time.
        device: ``IP2P_DEVICE``: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: ``IP2P_THREADS``, torch threads in a CPU worker. The number decides the last
            bits of the result, so it is fixed and not taken from the machine.
        helpers: ``IP2P_HELPERS``, threads of one worker for work beside the model: optical flow,
            filters, fitting. The launcher divides the cores among workers on GPUs; on a CPU, where
            the model needs the cores, it is one. Results do not depend on it.
        gpu_share: ``IP2P_GPU_SHARE``, the share of its GPU's memory that a worker may take, above 0
            to 1; the launcher divides it among workers on one GPU.
        roots: ``IP2P_ROOTS``, absolute folders with ``:`` between them. A worker reads and writes
            nothing outside them for a job; none means any folder. See SECURITY.md.
        models: ``IP2P_MODELS``, names with commas between them: the models that may be loaded, as
            ``ip2p_batch.models.check_allowed`` reads them. None means any.
        stale: ``IP2P_STALE_SECONDS``: a claim that was not renewed for this long is no sign of
            life any more, and its chunk goes to another worker. Workers renew theirs every second.
        lease: ``IP2P_LEASE``, seconds from a worker's death until its chunk goes to another, of
            2 to 3600; None means the default. The shortest of all workers of a broker rules.
        patience: ``IP2P_PATIENCE``, seconds that any chunk may take before it counts as hung,
            beside what its frames need; None means the default.
    """

    broker_url: str | None
    jobs: Path | None
    state: Path
    device: str
    threads: int
    helpers: int = 1
    gpu_share: float = 1.0
    roots: Roots = ANYWHERE
    models: tuple[str, ...] | None = None
    cache: Path | None = None
    stale: float = 15.0
    lease: float | None = None
    patience: float | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read ``env`` (default: the process's own environment).

        Raises:
            RecipeError: a number is not one, or a root is not absolute.
        """
        env = os.environ if env is None else env
        jobs = env.get("IP2P_JOBS")
        return cls(
            broker_url=env.get("IP2P_BROKER_URL") or None,
            jobs=Path(jobs).absolute() if jobs else None,
            state=_state_home(env),
            device=env.get("IP2P_DEVICE") or "auto",
            threads=_threads("IP2P_THREADS", env),
            helpers=_threads("IP2P_HELPERS", env),
            gpu_share=_number("IP2P_GPU_SHARE", env, 0.01, 1.0, "number") or 1.0,
            roots=Roots.parse(env.get(ROOTS) or ""),
            models=_names(env.get("IP2P_MODELS") or ""),
            cache=_cache_home(env),
            stale=_number("IP2P_STALE_SECONDS", env, 0.1, 3600) or 15.0,
            lease=_number("IP2P_LEASE", env, 2, 3600),
            patience=_number("IP2P_PATIENCE", env, 1, 24 * 3600),
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
            f"IP2P_MODELS is {text!r}, which names no model.",
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
