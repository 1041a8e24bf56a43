"""``doctor``: check what jobs need on this machine. A failed check does not stop the others."""

from __future__ import annotations

import json as jsonlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from ..errors import Ip2pError, RecipeError
from ..models import catalog
from ..queue.capacity import available_cores
from ..recipe import DEFAULT_MODEL
from ..settings import Settings
from . import exits, formatting, terminal
from .jobs import JsonOption
from .options import broker_option

State = Literal["ok", "warn", "fail"]
_COLORS = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}
#: Bytes of free disk space below which a warning is given.
_MIN_FREE_BYTES = 2 * 1024**3
_HUB = "https://huggingface.co"

#: A broken library may crash its process, so each is tried in a process of its own.
_MEDIA_PROGRAM = """
import json, av, PIL
encoders = {
    "h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9",
    "prores": "prores_ks", "dnxhr": "dnxhd", "ffv1": "ffv1", "qtrle": "qtrle",
}
def has(name):
    try:
        av.codec.Codec(name, "w")
    except Exception:
        return False
    return True
print(json.dumps({
    "av": av.__version__, "pillow": PIL.__version__,
    "ffmpeg": getattr(av, "ffmpeg_version_info", "?"),
    "missing": [n for n, e in encoders.items() if not has(e)],
}))
"""
_TORCH_PROGRAM = """
import json, torch
gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
print(json.dumps({
    "torch": torch.__version__, "cuda": torch.version.cuda,
    "gpus": [f"{g.name}, {g.total_memory / 2**30:.0f} GiB" for g in gpus],
}))
"""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check. ``fail``: no job can run; ``warn``: some jobs cannot."""

    name: str
    state: State
    detail: str
    hint: str = ""


def doctor(
    broker: Annotated[str | None, broker_option()] = None,
    online: Annotated[
        bool,
        typer.Option(
            "--online",
            help="Also check that the model hub can be reached.",
            rich_help_panel="Checks",
        ),
    ] = False,
    json: JsonOption = False,
) -> int:
    """Check this machine: Python, codecs, Redis, torch and its devices, models, folders.

    The exit code is 1 if anything is missing that every job needs.

    Examples:
      ip2p-batch doctor
      ip2p-batch doctor --broker redis://host/0 --online
    """
    worst: set[State] = set()
    for check in examine(Settings.from_env(), broker=broker, online=online):
        worst.add(check.state)
        if json:
            terminal.say_json(check)
        else:
            _print(check)
        sys.stdout.flush()
    return exits.SOME_FAILED if "fail" in worst else exits.DONE


def _print(check: Check) -> None:
    detail = f" {check.name.ljust(10)}  {check.detail}"
    terminal.say(detail, label=check.state.ljust(4), color=_COLORS[check.state])
    if check.hint:
        terminal.say(f"{' ' * 18}{check.hint}")


def examine(settings: Settings, *, broker: str | None, online: bool) -> Iterator[Check]:
    """Run all checks and yield each result."""
    yield _python()
    yield _media()
    yield _torch()
    yield _redis()
    yield _bundled()
    yield _default_model()
    yield _state(settings)
    if settings.jobs_dir is not None:
        yield _folder("jobs", settings.jobs_dir)
    if broker:
        yield from _broker(broker)
    if online:
        yield _hub()


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    names = ("celery", "diffusers", "transformers")
    facts = ", ".join(f"{n} {_version(n)}" for n in names)
    if "missing" in facts:
        hint = "Install the package again: pip install ip2p-batch."
        return Check(name="python", state="fail", detail=f"{version}; {facts}", hint=hint)
    return Check(name="python", state="ok", detail=f"{version}; {facts}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _media() -> Check:
    facts = _try(_MEDIA_PROGRAM)
    if isinstance(facts, str):
        return Check(name="media", state="fail", detail=facts, hint="pip install av pillow")
    detail = f"PyAV {facts['av']} (FFmpeg {facts['ffmpeg']}), Pillow {facts['pillow']}"
    missing = ", ".join(facts["missing"])
    if not missing:
        return Check(name="media", state="ok", detail=detail)
    state: State = "fail" if "h264" in facts["missing"] else "warn"
    return Check(
        name="media",
        state=state,
        detail=f"{detail}; no encoder for {missing}",
        hint="PyAV's wheels on PyPI have it; this is another build of PyAV.",
    )


def _torch() -> Check:
    facts = _try(_TORCH_PROGRAM)
    if isinstance(facts, str):
        return Check(name="torch", state="fail", detail=facts, hint="pip install torch")
    cores = available_cores()
    if facts["gpus"]:
        devices = "; ".join(facts["gpus"])
        return Check(name="torch", state="ok", detail=f"{facts['torch']}: {devices}")
    if shutil.which("nvidia-smi"):
        return Check(
            name="torch",
            state="warn",
            detail=f"{facts['torch']}: torch finds no GPU, {cores} CPU cores",
            hint="This machine has an NVIDIA driver: install a CUDA build of torch for it.",
        )
    return Check(name="torch", state="ok", detail=f"{facts['torch']}: {cores} CPU cores, no GPU")


def _redis() -> Check:
    from ..queue.private_redis import find_server, server_version

    try:
        server = find_server()
    except Ip2pError as error:
        return Check(name="redis", state="warn", detail=error.message, hint=error.hint)
    version = ".".join(map(str, server_version(server) or ("unknown version",)))
    return Check(name="redis", state="ok", detail=f"{version}, {server}")


def _bundled() -> Check:
    for name, folder in catalog.BUNDLED.items():
        if not (folder / "unet" / "diffusion_pytorch_model.safetensors").is_file():
            return Check(
                name="model",
                state="warn",
                detail=f"the bundled model {name} is incomplete in {folder}",
                hint="Install the package again.",
            )
    return Check(name="model", state="ok", detail=f"bundled: {', '.join(catalog.BUNDLED)}")


def _default_model() -> Check:
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    name = f"models--{DEFAULT_MODEL.replace('/', '--')}"
    if any((cache / name).glob("snapshots/*/model_index.json")):
        return Check(name="model", state="ok", detail=f"{DEFAULT_MODEL} is in {cache}")
    return Check(
        name="model",
        state="warn",
        detail=f"{DEFAULT_MODEL} is not on this machine yet",
        hint="The first job downloads it (about 4 GiB); --model tiny needs no download.",
    )


def _state(settings: Settings) -> Check:
    try:
        return _folder("state", settings.state_folder())
    except RecipeError as error:
        return Check(name="state", state="fail", detail=error.message, hint=error.hint)


def _folder(name: str, folder: Path) -> Check:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        variable = "IP2P_JOBS_DIR" if name == "jobs" else "XDG_STATE_HOME"
        hint = f"Set {variable} to a folder that can be written."
        return Check(
            name=name,
            state="fail",
            detail=f"{folder} cannot be written: {error.strerror}",
            hint=hint,
        )
    detail = f"{folder}, {formatting.size(free)} free"
    if free < _MIN_FREE_BYTES:
        return Check(name=name, state="warn", detail=detail, hint="A long video may need more.")
    return Check(name=name, state="ok", detail=detail)


def _broker(url: str) -> Iterator[Check]:
    from ..queue import redis_url
    from ..queue.celery_executor import CeleryExecutor

    try:
        redis_url.check_broker(url)
    except Ip2pError as error:
        yield Check(name="broker", state="fail", detail=error.message, hint=error.hint)
        return
    url_shown = redis_url.redact_url(url)
    yield Check(name="broker", state="ok", detail=f"{url_shown} answers")
    with closing(CeleryExecutor(url)) as executor:
        workers = executor.workers()
    if workers:
        yield Check(name="workers", state="ok", detail=", ".join(map(str, workers)))
    else:
        hint = f"Start one: ip2p-batch worker --broker {url_shown}"
        yield Check(name="workers", state="warn", detail="no worker answers", hint=hint)


def _hub() -> Check:
    hint = "--model tiny needs no hub; HF_ENDPOINT sets another hub."
    url = os.environ.get("HF_ENDPOINT") or _HUB
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the user's own URL
            return Check(name="hub", state="ok", detail=f"{url} answers {answer.status}")
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Check(name="hub", state="warn", detail=f"{url}: {reason}", hint=hint)


def _try(code: str) -> dict[str, Any] | str:
    """Run a program. Returns what it prints as JSON, or the reason of its failure in one line."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return "no answer within two minutes"
    if done.returncode == 0:
        facts: dict[str, Any] = jsonlib.loads(done.stdout.splitlines()[-1])
        return facts
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
