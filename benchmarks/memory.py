"""Peak memory of jobs of 100, 1,000 and 3,000 frames, which must not grow with the frames.

Each job is a command of its own, on a small synthetic video with the identity editor, so that only
decoding, encoding, receipts and orchestration are measured. Linux only (``/proc``).

    python -m benchmarks.memory [--frames 100 1000 3000] [--size 320x180] [--json out.json]

Prints a Markdown table; fails if the peak of a process grew by more than 10 percent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ._common import ROOT, family, machine, new_parser, write_video

_SAMPLE_SECONDS = 0.05
#: A part of the command line -> the role of the process.
ROLES = {
    "redis_supervisor": "supervisor of Redis",
    "-server": "Redis",
    "workers.worker": "worker, its consumer",
    "-m workers": "launcher",
    "-m ip2p_batch": "command",
    "spawn_main": "worker, its editing process",
}
#: The peaks of these roles must not grow.
FLAT = ("command", "worker, its editing process")
MOST_GROWTH = 1.10


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 1000, 3000])
    parser.add_argument("--size", default="320x180", help="of the video, in pixels")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    peaks: dict[int, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for frames in arguments.frames:
            clip = Path(folder) / f"{frames}.mp4"
            make_video(clip, frames, (width, height))
            peaks[frames] = peaks_of(clip, Path(folder))
    facts = machine("av", "celery", "numpy")
    print(f"{arguments.size}, " + ", ".join(map(str, facts.values())))
    head = ["process", *(f"{frames} frames" for frames in peaks), "growth"]
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    growth = {}
    for role in ROLES.values():
        values = [found.get(role, 0) for found in peaks.values()]
        growth[role] = max(values) / values[0] if values[0] else 1.0
        cells = [role, *(f"{value / 1e6:.1f} MB" for value in values), f"{growth[role]:.3f}"]
        print(f"| {' | '.join(cells)} |")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"machine": facts, "peaks": peaks, "growth": growth}, indent=1)
        )
    if grown := [role for role in FLAT if growth[role] > MOST_GROWTH]:
        sys.exit(f"grew by more than {MOST_GROWTH - 1:.0%}: {', '.join(grown)}")


def make_video(path: Path, frames: int, size: tuple[int, int]) -> None:
    """Write a video of moving noise, without cuts."""
    rng = np.random.default_rng(0)
    ground = rng.integers(90, 160, (size[1], size[0], 3), dtype=np.uint8)
    images = (np.roll(ground, number // 4, axis=1) for number in range(frames))
    write_video(path, images, rate=25, preset="ultrafast")


def peaks_of(clip: Path, folder: Path) -> dict[str, int]:
    """Return peak resident memory in bytes, by role, of one job with one worker."""
    env = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": str(ROOT)}
    for name in ("IP2P_BROKER_URL", "IP2P_JOBS_DIR"):
        env.pop(name, None)
    line = [sys.executable, "-m", "ip2p_batch", "edit", str(clip), "make it snow", "--quiet"]
    line += ["--model", "identity", "--size", "128", "--workers", "1"]
    process = subprocess.Popen(line, env=env)
    found: dict[str, int] = {}
    while process.poll() is None:
        for pid in family(process.pid):
            if (seen := sample(pid)) is not None:
                role, peak = seen
                found[role] = max(found.get(role, 0), peak)
        time.sleep(_SAMPLE_SECONDS)
    assert process.returncode == 0, process.returncode
    return found


def sample(pid: int) -> tuple[str, int] | None:
    """Return the role of a process and its peak in bytes; None if it ended or has no role."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    role = next((role for piece, role in ROLES.items() if piece in line), None)
    peak = next((row.split()[1] for row in status.splitlines() if row.startswith("VmHWM")), None)
    return (role, int(peak) * 1024) if role is not None and peak is not None else None


if __name__ == "__main__":
    main()
