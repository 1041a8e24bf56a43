"""Local workers: processes on this machine that live as long as the command that starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

from ..errors import NoWorkerError
from ..storage.roots import VARIABLE as ROOTS

#: The folder that contains the packages ``ip2p_batch`` and ``workers``.
_PACKAGES_ROOT = Path(__file__).resolve().parents[2]


def launcher_command(
    devices: str | None = None, workers: int | None = None, *, exit_with_parent: bool = False
) -> list[str]:
    """The command line of the workers' launcher. The broker URL is not in it; see launcher_env."""
    command = [sys.executable, "-m", "workers"]
    if exit_with_parent:
        command.append("--exit-with-parent")
    if workers is not None:
        command += ["--workers", str(workers)]
    if devices is not None:
        command += ["--devices", devices]
    return command


def launcher_env(url: str) -> dict[str, str]:
    """The environment of the launcher: this process's, plus the broker URL.

    ``PYTHONSAFEPATH`` keeps the current folder out of the import path: it may contain a
    ``workers`` folder or a ``random.py`` of the user's.
    """
    env = {**os.environ, "IP2P_BROKER_URL": url, "PYTHONSAFEPATH": "1"}
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    if str(_PACKAGES_ROOT) not in installed:  # run from a checkout
        env["PYTHONPATH"] = os.pathsep.join(
            filter(None, (str(_PACKAGES_ROOT), env.get("PYTHONPATH")))
        )
    return env


class LocalWorkers:
    """Worker processes for the length of a ``with`` block.

    Args:
        url: broker URL; passed in the environment, never on a command line.
        count: number of workers, assigned to GPUs in turn; None lets the launcher choose.
        devices: ``auto``, ``cpu`` or GPU numbers such as ``0,1``; None takes ``IP2P_DEVICE``.
        log: file to which their output is appended.
    """

    def __init__(self, url: str, count: int | None, devices: str | None, log: Path) -> None:
        self._url = url
        self._count = count
        self._devices = devices
        self.log = log
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> LocalWorkers:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # These workers take jobs from this command only, over a private socket. The limits on what
        # other users may request do not apply to them.
        env = {k: v for k, v in launcher_env(self._url).items() if k != ROOTS}
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                launcher_command(self._devices, self._count, exit_with_parent=True),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=env,
                # Their own session: the command handles Ctrl-C in the terminal.
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def alive(self) -> bool:
        """Whether the launcher runs. It restarts workers, and exits if they die repeatedly."""
        return self._process is not None and self._process.poll() is None

    def check(self) -> None:
        """Check that the workers run.

        Raises:
            NoWorkerError: the launcher has exited; quotes the last line of its log.
        """
        if not self.alive():
            raise NoWorkerError(
                f"The workers have stopped: {self._last_log_line()}",
                hint=f"See {self.log}; `ip2p-batch doctor` checks this machine.",
                survives="Finished chunks are kept.",
            )

    def stop(self, grace: float = 5.0) -> None:
        """Stop the workers. Chunks in progress are lost; finished chunks are kept.

        Args:
            grace: seconds that the launcher has to stop its workers before all are killed.
        """
        process = self._process
        if process is None:
            return
        self._process = None
        assert process.stdin is not None
        process.stdin.close()  # --exit-with-parent: the launcher stops its workers at once
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _last_log_line(self) -> str:
        """The last line of the log that does not belong to a traceback."""
        try:
            with self.log.open("rb") as log:
                log.seek(self._log_start)
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            lines = []
        messages = [line.strip() for line in lines if line.strip() and not line.startswith(" ")]
        return messages[-1].removeprefix("error: ") if messages else "their log is empty"
