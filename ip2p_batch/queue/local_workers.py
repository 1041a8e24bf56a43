"""Workers of one's own: started by a command on this machine, and gone when it ends."""

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

#: Where the packages ``ip2p_batch`` and ``workers`` lie, side by side.
_HOME = Path(__file__).resolve().parents[2]


def launcher_command(
    devices: str | None = None, workers: int | None = None, *, exit_with_parent: bool = False
) -> list[str]:
    """The command line that starts the workers' launcher; the broker is not in it."""
    command = [sys.executable, "-m", "workers"]
    if exit_with_parent:
        command.append("--exit-with-parent")
    if workers is not None:
        command += ["--workers", str(workers)]
    if devices is not None:
        command += ["--devices", devices]
    return command


def launcher_env(url: str) -> dict[str, str]:
    """The environment for it: this one, with the broker, and safe from what lies about.

    ``python -m`` looks into the current folder first, and a user's folder of pictures may hold a
    ``workers`` of its own.
    """
    env = {**os.environ, "IP2P_BROKER_URL": url, "PYTHONSAFEPATH": "1"}
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    if str(_HOME) not in installed:  # run from a checkout
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_HOME), env.get("PYTHONPATH"))))
    return env


class LocalWorkers:
    """Worker processes for the time of a ``with`` block.

    Args:
        url: broker URL; travels in the environment, never in a command line.
        count: workers, on GPUs in turn; None lets the launcher choose.
        devices: ``auto``, ``cpu`` or GPU numbers; None takes the environment's.
        log: where their warnings go.
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
        # These take their jobs from this command alone, over a socket that only its user can
        # enter: limits on what others may ask for are not theirs.
        env = {k: v for k, v in launcher_env(self._url).items() if k != ROOTS}
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                launcher_command(self._devices, self._count, exit_with_parent=True),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=env,
                # Their own session: Ctrl-C in the terminal is the command's to handle.
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def alive(self) -> bool:
        """Whether the launcher runs; it restarts workers that die, and ends when that is vain."""
        return self._process is not None and self._process.poll() is None

    def check(self) -> None:
        """See that the workers are still there.

        Raises:
            NoWorkerError: their launcher has given up; quotes its last words.
        """
        if not self.alive():
            raise NoWorkerError(
                f"The workers have ended: {self._last_words()}",
                hint=f"{self.log} has more; `ip2p-batch doctor` checks this machine.",
                survives="Finished chunks are kept.",
            )

    def stop(self, grace: float = 5.0) -> None:
        """End them: what they have in hand is lost, what they finished is not.

        Args:
            grace: seconds for the launcher to end its workers, before it is killed; they end
                with it.
        """
        process = self._process
        if process is None:
            return
        self._process = None
        assert process.stdin is not None
        process.stdin.close()  # --exit-with-parent: the launcher ends its workers at once
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _last_words(self) -> str:
        """The last line of the log that is no part of a traceback."""
        try:
            with self.log.open("rb") as log:
                log.seek(self._log_start)
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            lines = []
        said = [line.strip() for line in lines if line.strip() and not line.startswith(" ")]
        return said[-1].removeprefix("error: ") if said else "they said nothing"
