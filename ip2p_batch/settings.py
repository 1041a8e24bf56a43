"""Settings from the environment: broker, device, folders, limits.

Commands, the Python API and worker processes read them once, at their start. What needs only the
heartbeat timeout reads it from the environment if its caller passes none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta
from platformdirs import user_cache_path, user_state_path

from .errors import RecipeError
from .storage.roots import ANYWHERE, Roots
from .storage.roots import VARIABLE as ROOTS

T = TypeVar("T")

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

_APP = "ip2p-batch"
_UNSET = "Unset it to use the default."

#: Kinds of numbers in variables; the description ends the message about a wrong value.
Count = Annotated[int, Meta(ge=1, le=10**18, description="a whole number from 1 up")]
Share = Annotated[float, Meta(ge=0.01, le=1, description="a number from 0.01 to 1")]
HeartbeatSeconds = Annotated[
    float, Meta(ge=0.1, le=3600, description="a number of seconds from 0.1 to 3600")
]
VisibilitySeconds = Annotated[
    float, Meta(ge=2, le=3600, description="a number of seconds from 2 to 3600")
]
ChunkSeconds = Annotated[
    float, Meta(ge=1, le=86400, description="a number of seconds from 1 to 86400")
]


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings from ``IP2P_*`` environment variables.

    Attributes:
        broker_url: ``IP2P_BROKER_URL``; None starts a private Redis for each command.
        jobs_dir: ``IP2P_JOBS_DIR``, the folder of new job folders. Every worker must see it under
            the same path. None is ``state/jobs``, or, with a broker, next to the output.
        state: the user's job index (``$XDG_STATE_HOME/ip2p-batch``, or the system's default); None
            for a user without a home folder, see :meth:`state_folder`.
        cache: measurements and compiled models for later processes
            (``$XDG_CACHE_HOME/ip2p-batch``, or the system's default); may be deleted any time.
            None where nothing is kept.
        device: ``IP2P_DEVICE``: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        torch_threads: ``IP2P_TORCH_THREADS``, torch threads of a CPU worker. The number changes
            the last bits of results, so it is fixed and not taken from the machine.
        cpu_threads: ``IP2P_CPU_THREADS``, threads of one worker for work next to the model: flow,
            filters, resizing. The launcher divides the cores among GPU workers; on a CPU, where
            the model needs the cores, it is one. Results do not depend on it.
        gpu_memory_fraction: ``IP2P_GPU_MEMORY_FRACTION``, share of its GPU's memory that a worker
            may use, above 0 to 1; the launcher divides it among the workers of a GPU.
        allowed_roots: ``IP2P_ALLOWED_ROOTS``, absolute folders separated by ``:``. A worker reads
            and writes nothing outside them for a job; empty allows any folder. See SECURITY.md.
        allowed_models: ``IP2P_ALLOWED_MODELS``, models that may be loaded, separated by commas;
            see :func:`ip2p_batch.models.catalog.check_allowed`. None allows any.
        heartbeat_timeout: ``IP2P_HEARTBEAT_TIMEOUT``, seconds after which a heartbeat is no sign
            of life and its chunk goes to another worker. Workers renew theirs every second.
        visibility_timeout: ``IP2P_VISIBILITY_TIMEOUT``, seconds from a worker's death until its
            message goes to another, 2 to 3600; None is the default. The shortest of all workers
            of a broker applies.
        chunk_timeout: ``IP2P_CHUNK_TIMEOUT``, seconds that any chunk may take before it counts as
            hung, in addition to what its frames need; None is the default.
        log_level: ``IP2P_LOG_LEVEL``: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``. ``DEBUG``
            traces every chunk, see :mod:`ip2p_batch.jobs.log`.
    """

    broker_url: str | None
    jobs_dir: Path | None
    state: Path | None
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
    log_level: LogLevel = "WARNING"

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read ``env`` (default: the process's own environment).

        ``state`` and ``cache`` always follow the process's environment.

        Raises:
            RecipeError: a number or level is not one, or a root is not absolute.
        """
        env = os.environ if env is None else env
        jobs_dir = env.get("IP2P_JOBS_DIR")
        threads_hint = "Unset it, or give the number of threads of one worker."
        return cls(
            broker_url=env.get("IP2P_BROKER_URL") or None,
            jobs_dir=Path(jobs_dir).absolute() if jobs_dir else None,
            state=_user_folder(user_state_path),
            device=env.get("IP2P_DEVICE") or "auto",
            torch_threads=number("IP2P_TORCH_THREADS", Count, 1, env=env, hint=threads_hint),
            cpu_threads=number("IP2P_CPU_THREADS", Count, 1, env=env, hint=threads_hint),
            gpu_memory_fraction=number("IP2P_GPU_MEMORY_FRACTION", Share, 1.0, env=env),
            allowed_roots=Roots.parse(env.get(ROOTS) or ""),
            allowed_models=_names(env.get("IP2P_ALLOWED_MODELS") or ""),
            cache=_user_folder(user_cache_path),
            heartbeat_timeout=number("IP2P_HEARTBEAT_TIMEOUT", HeartbeatSeconds, 15.0, env=env),
            visibility_timeout=number("IP2P_VISIBILITY_TIMEOUT", VisibilitySeconds, None, env=env),
            chunk_timeout=number("IP2P_CHUNK_TIMEOUT", ChunkSeconds, None, env=env),
            log_level=_log_level(env.get("IP2P_LOG_LEVEL") or "WARNING"),
        )

    def state_folder(self) -> Path:
        """The folder of the user's job index.

        Raises:
            RecipeError: the user has no home folder, as in a container with any user id.
        """
        if self.state is None:
            raise RecipeError(
                "This user has no home folder, so jobs cannot be recorded.",
                hint="Set HOME or XDG_STATE_HOME to a folder that can be written.",
            )
        return self.state


def _user_folder(find: Callable[[str], Path]) -> Path | None:
    """A folder of this user, or None where the user has no home folder."""
    try:
        folder = find(_APP)
    except RuntimeError:  # platformdirs 4.5 and newer; older ones leave the "~"
        return None
    return folder if folder.is_absolute() else None


def number(
    variable: str,
    kind: Any,
    default: T,
    *,
    env: Mapping[str, str] | None = None,
    hint: str = _UNSET,
) -> T:
    """The number in an environment variable; ``default`` where it is unset or empty.

    Args:
        variable: its name.
        kind: ``Annotated`` with ``msgspec.Meta``: the range, and the description for the error.
        default: of the kind's type, or None.
        env: None means the process's environment.
        hint: the next step for the user whose variable is wrong.

    Raises:
        RecipeError: the variable does not hold such a number.
    """
    text = (os.environ if env is None else env).get(variable)
    if not text:
        return default
    try:
        value: T = msgspec.convert(text.strip(), kind, strict=False)
    except msgspec.ValidationError:
        (meta,) = kind.__metadata__
        raise RecipeError(
            f"{variable} is {text!r}, which is not {meta.description}.", hint=hint
        ) from None
    return value


def _log_level(text: str) -> LogLevel:
    """Return a level by its name in any case.

    Raises:
        RecipeError: there is no such level.
    """
    level: LogLevel
    for level in get_args(LogLevel):
        if text.upper() == level:
            return level
    raise RecipeError(
        f"IP2P_LOG_LEVEL is {text!r}, which is not a level: {', '.join(get_args(LogLevel))}.",
        hint=_UNSET,
    )


def _names(text: str) -> tuple[str, ...] | None:
    """Names separated by commas; None where the text is empty.

    Raises:
        RecipeError: only commas, which would allow nothing.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if text and not names:
        raise RecipeError(
            f"IP2P_ALLOWED_MODELS is {text!r}, which lists no model.",
            hint="Unset it to allow any model, or list models separated by commas.",
        )
    return names or None
