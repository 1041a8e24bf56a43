"""Part of ``benchmarks.fullsize``: from file to file, compared with a loop over diffusers."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ip2p_batch.evaluation.image_metrics import psnr, ssim
from ip2p_batch.frame import Image
from ip2p_batch.training.reference_edits import REFERENCE_EDITS

from . import frames as frame_loops
from ._common import INSTRUCTION, ROOT, decoded, write_video
from ._fullsize_edits import LARGE
from ._plain import PLAIN, Run, options, plain_loop, run

OURS = "ip2p-batch, defaults"
#: The clip: 10 seconds.
FRAMES, RATE, SIZE = 240, 24, (1280, 720)
#: Frames that the loop edits; its time for all follows from its time per frame.
LOOP_FRAMES = 12
#: The reference edit of the instruction, and every how many frames results are compared with it.
_EDIT, _STEP = "winter", 2


class Speed(NamedTuple):
    """Seconds of each run for the whole clip; PSNR and SSIM to the truth, means over frames."""

    seconds: list[float]
    psnr: float
    ssim: float


def make_clip(path: Path, source: Path) -> Path:
    """Write the first 10 seconds of a clip at 1280x720."""
    if not path.exists():
        write_video(path, decoded(source, SIZE, FRAMES), rate=RATE, crf="16")
    return path


def measure(clip: Path, runs: int) -> dict[str, Speed]:
    """Run this project with its defaults, and the loop, in turn.

    The loop edits the first :data:`LOOP_FRAMES` frames. Its time for the clip is the time until its
    first frame, start-up included, plus the time per further frame times the other frames.
    """
    images = decoded(clip)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short = folder / "short.mp4"
        write_video(short, images[:LOOP_FRAMES], rate=RATE, crf="16")
        outputs = {OURS: folder / "ours.mp4", PLAIN: folder / "loop.mp4"}
        lines = {OURS: _command(clip, outputs[OURS]), PLAIN: _loop(short, outputs[PLAIN])}
        seconds: dict[str, list[float]] = {label: [] for label in lines}
        for _ in range(runs):
            for label, line in lines.items():
                one = run(line, _environment(folder))
                whole = (
                    one.seconds if label == OURS else extrapolated(one, LOOP_FRAMES, len(images))
                )
                seconds[label].append(whole)
                print(f"{label}: {one.seconds:.1f} s, whole clip {whole:.1f} s", flush=True)
        return {
            label: Speed(seconds[label], *_closeness(images, decoded(output, count=LOOP_FRAMES)))
            for label, output in outputs.items()
        }


def _command(clip: Path, output: Path) -> list[str]:
    line = [sys.executable, "-m", "ip2p_batch", "edit", str(clip), INSTRUCTION, "-o", str(output)]
    return [*line, "--model", "tiny", "--overwrite", "--json"]


def _loop(clip: Path, output: Path) -> list[str]:
    """The plain loop at 512, which enlarges with a bicubic filter."""
    arguments = options(__doc__).parse_args(["--size", str(LARGE)])
    line = plain_loop(frame_loops.LOOPS[PLAIN], arguments, str(clip), str(output))
    lanczos = "r.resize(p.size, Image.LANCZOS)"
    assert any(lanczos in part for part in line)
    return [part.replace(lanczos, "r.resize(p.size, Image.BICUBIC)") for part in line]


def _environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return os.environ | {"XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": path}


def extrapolated(one: Run, edited: int, frames: int) -> float:
    """Seconds for ``frames`` frames of a run that edited ``edited``."""
    assert one.first is not None
    return one.first + (one.seconds - one.first) * (frames - 1) / (edited - 1)


def _closeness(images: Sequence[Image], output: Sequence[Image]) -> tuple[float, float]:
    pairs = [(output[n], REFERENCE_EDITS[_EDIT](images[n])) for n in range(0, LOOP_FRAMES, _STEP)]
    return (
        statistics.fmean(psnr(a, b) for a, b in pairs),
        statistics.fmean(ssim(a, b) for a, b in pairs),
    )


def print_table(found: Mapping[str, Speed]) -> None:
    """Print medians, and the ratio to the loop's frames per second."""
    print("\n| file to file | seconds | frames/s | ratio | PSNR dB | SSIM |")
    print("|---|---|---|---|---|---|")
    base = statistics.median(found[PLAIN].seconds)
    for label, one in found.items():
        middle = statistics.median(one.seconds)
        print(
            f"| {label} | {middle:.1f} | {FRAMES / middle:.2f} | {base / middle:.1f}"
            f" | {one.psnr:.2f} | {one.ssim:.3f} |"
        )
    ratios = [a / b for a, b in zip(found[PLAIN].seconds, found[OURS].seconds, strict=True)]
    print(f"\nRatio of each pair of runs: {', '.join(f'{ratio:.1f}' for ratio in ratios)}")
