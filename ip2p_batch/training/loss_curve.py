"""The loss of a run, step by step: ``curve.csv``, ``loss.png`` and TensorBoard's event files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..storage.atomic import atomic_path

TABLE = "curve.csv"
PLOT = "loss.png"


class CurvePoint(NamedTuple):
    """One optimizer step: its number, counted from 1, its mean loss, and its learning rate."""

    step: int
    loss: float
    learning_rate: float


def write_curve(curve: Sequence[CurvePoint], folder: Path) -> None:
    """Write ``curve.csv`` and ``loss.png`` to ``folder``.

    Raises:
        OutputError: a file cannot be written.
    """
    with atomic_path(folder / TABLE) as path, path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CurvePoint._fields)
        writer.writerows((p.step, f"{p.loss:.6g}", f"{p.learning_rate:.6g}") for p in curve)
    _plot_curve(curve, folder / PLOT)


def read_curve(folder: Path) -> list[CurvePoint]:
    """Read ``curve.csv`` of ``folder``; empty where the file does not exist."""
    path = folder / TABLE
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [
            CurvePoint(int(row["step"]), float(row["loss"]), float(row["learning_rate"]))
            for row in csv.DictReader(file)
        ]


def _plot_curve(curve: Sequence[CurvePoint], path: Path) -> None:
    """Plot the loss and its running mean over the steps, with a logarithmic loss axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps, losses = [point.step for point in curve], [point.loss for point in curve]
    window = max(1, len(curve) // 50)
    axes.plot(steps, losses, color="0.8", linewidth=0.6, label="each step")
    axes.plot(
        steps, _running_means(losses, window), color="C0", linewidth=1.6, label=f"mean of {window}"
    )
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(loc="upper right")  # the search for the best place warns when it is slow
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _running_means(values: Sequence[float], window: int) -> list[float]:
    means, total = [], 0.0
    for position, value in enumerate(values):
        total += value - (values[position - window] if position >= window else 0.0)
        means.append(total / min(position + 1, window))
    return means


class TensorBoardLog:
    """Event files for TensorBoard. Without the ``tensorboard`` package nothing is written.

    Args:
        folder: folder of the event files.
        enabled: whether to write at all.
        step: steps done so far. TensorBoard hides what an interrupted run wrote after this step.
    """

    def __init__(self, folder: Path, *, enabled: bool, step: int) -> None:
        self._writer: Any = None
        if not enabled:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, scalars: dict[str, float], step: int) -> None:
        """Write each scalar under its name."""
        if self._writer is not None:
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, step)
