"""Plot the scores of a video by frame."""

from __future__ import annotations

import math
from pathlib import Path

from ..storage.atomic import atomic_path
from ..storage.publish import REPORT_MARK, publish_report
from .video import FrameScores, Score


def draw_plot(score: Score, frame_scores: FrameScores, path: Path, title: str) -> None:
    """Write a PNG with warp errors of output and source, their SSIM and sharpness, by frame.

    Scene cuts are solid vertical lines, chunk borders dotted ones. The file is written atomically,
    and replaces only plots and sheets.

    Raises:
        OutputError: the file cannot be written, or another one has its name.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    upper, middle, lower = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))
    frames = range(1, len(frame_scores.pairs) + 1)
    upper.plot(frames, [p.source for p in frame_scores.pairs], color="0.6", label="source")
    upper.plot(frames, [p.output for p in frame_scores.pairs], color="C0", label="output")
    inside = [max(p[:2]) for t, p in enumerate(frame_scores.pairs) if t + 1 not in score.cuts]
    upper.set(
        ylabel="warp error x 1000",
        ylim=(0, 1.1 * max(inside) if max(inside) else 1),
        title=title,
    )
    numbers = range(score.frames)
    middle.plot(
        numbers, frame_scores.source_ssim, color="C2", label=f"at {score.width}x{score.height}"
    )
    structure = [one.ssim for one in frame_scores.full_size]
    middle.plot(
        numbers, structure, color="C4", label=f"at {score.source_width}x{score.source_height}"
    )
    middle.set(ylabel="SSIM to source")
    middle.legend(loc="lower right", fontsize=8)
    sharpness = [math.nan if s.sharpness is None else s.sharpness for s in frame_scores.full_size]
    lower.plot(numbers, sharpness, color="C1", label="sharpness")
    lower.plot(numbers, [s.edge_f1 for s in frame_scores.full_size], color="C5", label="edge F1")
    lower.set(ylabel="at full size", xlabel="frame")
    lower.legend(loc="lower right", fontsize=8)
    for axes in (upper, middle, lower):
        for number, seam in enumerate(sorted(set(score.seams) - set(score.cuts))):
            name = "chunk border" if not number else None
            axes.axvline(seam, color="0.5", linewidth=0.8, linestyle=":", label=name)
        for number, cut in enumerate(score.cuts):
            axes.axvline(cut, color="C3", linewidth=1, label="cut" if not number else None)
        axes.grid(alpha=0.3)
    upper.legend(loc="upper right", fontsize=8)
    with atomic_path(path, publish=publish_report) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": REPORT_MARK.decode()})
