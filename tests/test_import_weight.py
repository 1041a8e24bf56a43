"""Commands and supervisors that edit nothing load no heavy libraries.

Launchers stay resident for weeks, and torch takes seconds to import. Each check runs in a fresh
process, since this one has loaded everything.
"""

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import ip2p_batch.queue

from .jobs import image_job
from .worker_processes import worker_env

HEAVY = ("av", "PIL", "cv2", "torch", "numba", "numpy", "diffusers", "transformers", "scenedetect")
QUEUE = [f"ip2p_batch.queue.{m.name}" for m in pkgutil.iter_modules(ip2p_batch.queue.__path__)]

IMPORT = """
import importlib, sys
importlib.import_module(sys.argv[1])
print(*sorted(set(sys.argv[2:]) & set(sys.modules)))
"""

COMMAND = """
import sys
from ip2p_batch.cli.app import main
try:
    code = main()
except SystemExit as exit:
    code = exit.code
loaded = {"torch", "diffusers", "transformers"} & set(sys.modules)
print(*sorted(loaded), file=sys.stderr)
sys.exit(code or bool(loaded))
"""


def run(code, *arguments, **env):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**worker_env(""), **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("module", [*QUEUE, "workers", "workers.launcher", "workers.__main__"])
def test_the_queue_and_the_launcher_load_no_heavy_library(module):
    done = run(IMPORT, module, *HEAVY)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stdout + done.stderr


def test_the_check_notices_a_heavy_library():
    assert run(IMPORT, "ip2p_batch.editing.noise", *HEAVY).stdout.split() == ["numpy", "torch"]


@pytest.mark.parametrize("command", ["--help", "edit --help", "plan", "status"])
def test_commands_that_edit_nothing_load_no_torch(command, tmp_path):
    arguments = command.split()
    if command == "plan":
        demo = Path(ip2p_batch.__file__).parent / "demo" / "clip.mp4"
        arguments += [str(demo), "make it snow"]
    elif command == "status":
        arguments += [str(image_job(tmp_path, 2).path)]
    folders = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = run(COMMAND, *arguments, **folders)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout) > 100, "the command did its work"
