"""Every benchmark is a command with help."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))

#: Runs each like ``python -m benchmarks.NAME --help``, in one process: torch is loaded once.
_ALL_HELP = """
import runpy, sys
for name in sys.argv[1:]:
    sys.argv = [f"{name}.py", "--help"]
    try:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=False)
    except SystemExit as end:
        assert not end.code, (name, end.code)
    else:
        raise AssertionError(f"{name} took no --help")
"""


def test_every_benchmark_has_help_with_an_example():
    done = subprocess.run(
        [sys.executable, "-c", _ALL_HELP, *NAMES],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(NAMES) >= 15
    for name in NAMES:
        assert f"usage: python -m benchmarks.{name} " in done.stdout
        # Once in the usage, once in the description.
        assert done.stdout.count(f"python -m benchmarks.{name}") >= 2, name
