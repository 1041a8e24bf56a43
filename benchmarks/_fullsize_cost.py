"""Part of ``benchmarks.fullsize``: time and memory of the transfer."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image as Pillow

from ip2p_batch.frame import Image
from ip2p_batch.training.instructions import PHRASES
from ip2p_batch.transfer.apply import apply
from ip2p_batch.transfer.model import fit

from ._common import ROOT, family, write_video
from ._fullsize_edits import Edits
from .memory import FLAT, sample

SIZES = (192, 256, 512)
#: Edits of three kinds: an affine model, drawn lines, brush strokes.
EDITS = ("night", "pencil", "oil")
_RUNS = 11
_SAMPLE_SECONDS = 0.02
#: A 4K clip, and an image of 100 megapixels.
FRAME_4K, FRAMES_4K, IMAGE_100MP = (3840, 2160), 12, (12000, 8400)


class Cost(NamedTuple):
    """Milliseconds of one core for one frame: the fit, and the model applied to 8 and 16 bits."""

    fit: float
    apply: float
    apply_deep: float


def measure_cost(edits: Edits, image: Image) -> dict[str, Cost]:
    """Time the transfer of one frame, by edit and edit size."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    deep = image.astype(np.uint16) * np.uint16(257)
    found = {}
    for size in SIZES:
        for edit in EDITS:
            small = edits.small("cost", image, edit, size)
            pair = [small.resize.without_padding(one) for one in (small.source, small.edited)]
            model = fit(*pair)
            found[f"{edit} at {size}"] = Cost(
                milliseconds(partial(fit, *pair)),
                milliseconds(partial(apply, model, image)),
                milliseconds(partial(apply, model, deep)),
            )
    cv2.setNumThreads(before)
    return found


def milliseconds(work: Callable[[], Any]) -> float:
    """CPU time of this thread, median of some calls after one to warm up.

    CPU time and not wall time, since other processes may share the core.
    """
    work()
    times = []
    for _ in range(_RUNS):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return 1000 * statistics.median(times)


def print_cost(found: Mapping[str, Cost]) -> None:
    print("\n| 1920x1080, one core, ms | fit | apply, 8 bits | both | apply, 16 bits |")
    print("|---|---|---|---|---|")
    for label, one in found.items():
        cells = (one.fit, one.apply, one.fit + one.apply, one.apply_deep)
        print(f"| {label} | {' | '.join(f'{cell:.1f}' for cell in cells)} |")


# -- memory ---------------------------------------------------------------------------------


class Case(NamedTuple):
    """A job whose memory is measured."""

    label: str
    file: str
    model: str
    edit: str


CASES = (
    Case("4K video, identity", "4k.mp4", "identity", "night"),
    Case("4K video, oil painting", "4k.mp4", "tiny", "oil"),
    Case("100 megapixels, identity", "100mp.png", "identity", "night"),
    Case("100 megapixels, oil painting", "100mp.png", "tiny", "oil"),
)


def measure_memory() -> dict[str, dict[str, int]]:
    """Peak resident bytes of the largest process of an edit, by case and method."""
    found: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_video(folder / "4k.mp4", _noise_frames(FRAME_4K, FRAMES_4K), preset="ultrafast")
        (image,) = _noise_frames(IMAGE_100MP, 1)
        Pillow.fromarray(image).save(folder / "100mp.png", compress_level=1)
        del image
        for case in CASES:
            found[case.label] = {d: _peak(folder, case, d) for d in ("edit", "source")}
            print(f"{case.label} is measured", flush=True)
    return found


def _noise_frames(size: tuple[int, int], count: int) -> Iterator[Image]:
    """Yield coarse noise that moves."""
    rng = np.random.default_rng(0)
    small = rng.integers(40, 216, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    ground = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    for number in range(count):
        yield np.roll(ground, 2 * number, axis=1)


def _peak(folder: Path, case: Case, detail: str) -> int:
    env = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": str(ROOT)}
    for name in ("IP2P_BROKER_URL", "IP2P_JOBS_DIR"):
        env.pop(name, None)
    source = folder / case.file
    line = [sys.executable, "-m", "ip2p_batch", "edit", str(source), PHRASES[case.edit].canonical]
    line += ["-o", str(folder / f"out{source.suffix}"), "--overwrite", "--quiet"]
    line += ["--model", case.model, "--size", "256", "--detail", detail, "--workers", "1"]
    peak = 0
    with subprocess.Popen(line, env=env) as process:
        while process.poll() is None:
            seen = filter(None, map(sample, family(process.pid)))
            peak = max(peak, *(value for role, value in seen if role in FLAT), 0)
            time.sleep(_SAMPLE_SECONDS)
    assert process.returncode == 0, process.returncode
    return peak


def print_memory(found: Mapping[str, Mapping[str, int]]) -> None:
    print("\n| peak memory of one process, MiB | `edit` | `source` | difference |")
    print("|---|---|---|---|")
    for label, peaks in found.items():
        edit, source = (peaks[detail] / 2**20 for detail in ("edit", "source"))
        print(f"| {label} | {edit:.0f} | {source:.0f} | {source - edit:+.0f} |")
