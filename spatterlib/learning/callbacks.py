"""What happens while a training runs: progress bar, curves, TensorBoard, MLflow. Each is called with an `Epoch`."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from spatterlib.common.files import beside, write_csv
from spatterlib.common.run_log import periodic_progress
from spatterlib.errors import ParameterError, SpatterlibError
from spatterlib.learning.run_facts import RunFacts
from spatterlib.plugins.classifier import Epoch, Notify

__all__ = ["Curves", "epoch_bar", "epoch_lines", "logger", "plot_curves"]

# Colour-blind safe (Okabe and Ito 2008).
_BLUE, _ORANGE = "#0072B2", "#D55E00"
_HEADER = (*("epoch", "samples", "loss", "accuracy", "validation_loss", "validation_accuracy", "seconds"),)


def epoch_bar(stream: TextIO | None = None) -> Notify:
    """Progress bar per epoch with loss, accuracy and time left."""
    from tqdm import tqdm

    shown: dict[int, Any] = {}

    def show(epoch: Epoch) -> None:
        if epoch.number not in shown:
            shown[epoch.number] = tqdm(
                total=epoch.samples,
                unit=" crops",
                unit_scale=True,
                desc=f"epoch {epoch.number}/{epoch.of}",
                dynamic_ncols=True,
                file=stream or sys.stderr,
            )
        own = shown[epoch.number]
        own.set_postfix_str(_so_far(epoch), refresh=False)
        own.update(epoch.done - own.n)
        if epoch.ended:
            own.close()

    return show


def epoch_lines(stream: TextIO | None = None, every: float = 10.0) -> Notify:
    """A plain line at the end of each epoch, and every few seconds (`every`) within."""
    told, keep = time.monotonic(), periodic_progress("epochs", every)

    def show(epoch: Epoch) -> None:
        nonlocal told
        keep(epoch.number - (not epoch.ended), epoch.of, crops=epoch.done, loss=epoch.loss, accuracy=epoch.accuracy)
        if not epoch.ended and time.monotonic() - told < every:
            return
        told = time.monotonic()
        rate = epoch.done / max(epoch.seconds, 1e-9)
        left = (epoch.samples * (epoch.of - epoch.number + 1) - epoch.done) / max(rate, 1e-9)
        share = "" if epoch.ended else f" ({epoch.done / epoch.samples:.0%})"
        print(
            f"epoch {epoch.number} of {epoch.of}{share}: {_so_far(epoch)}, {rate:.0f} crops/s, {left:.0f} s left",
            file=stream or sys.stderr,
            flush=True,
        )

    return show


def _so_far(epoch: Epoch) -> str:
    text = f"loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.2%}"
    return f"{text}, validation {epoch.validation_accuracy:.2%}" if epoch.ended else text


@dataclass
class Curves:
    """Writes ``curves.csv`` after every epoch and ``curves.png`` with it, at most every few seconds.

    Parameters
    ----------
    folder : Path
        Where they go.
    title : str
        What stands above the plot.
    every : float
        S between two plots; the last epoch is always plotted.
    """

    folder: Path
    title: str = ""
    every: float = 5.0
    epochs: list[Epoch] = field(default_factory=list)
    _plotted: float = float("-inf")

    def __call__(self, epoch: Epoch) -> None:
        """Add an epoch that has ended."""
        if not epoch.ended:
            return
        self.epochs.append(epoch)
        rows = [(e.number, e.done, *(getattr(e, name) for name in _HEADER[2:])) for e in self.epochs]
        write_csv(self.folder / "curves.csv", _HEADER, rows)
        if epoch.number == epoch.of or time.monotonic() - self._plotted >= self.every:
            plot_curves(self.epochs, self.folder / "curves.png", self.title)
            self._plotted = time.monotonic()


def plot_curves(epochs: list[Epoch], path: Path, title: str = "") -> None:
    """Plot loss and accuracy of training and validation over the epochs, as PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    numbers = [epoch.number for epoch in epochs]
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        for prefix, colour, label in (("", _BLUE, "training"), ("validation_", _ORANGE, "validation")):
            values = [getattr(epoch, f"{prefix}{name}") for epoch in epochs]
            axes.plot(numbers, values, "o-", color=colour, markersize=3, label=label)
        axes.set_xlabel("epoch")
        axes.set_title(name, loc="left", fontsize=11)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    best = max(epochs, key=lambda epoch: epoch.validation_accuracy)
    accuracy.axvline(best.number, color="#6B6B6B", linewidth=0.8, linestyle=":", label=f"kept: epoch {best.number}")
    accuracy.legend(frameon=False)
    figure.suptitle(title, fontsize=11, parse_math=False)
    with beside(path) as part:
        figure.savefig(part, dpi=120)


_PACKAGES = {"tensorboard": "torch.utils.tensorboard", "mlflow": "mlflow"}


def check_logger(name: str) -> None:
    """Refuse a logger that `logger` could not make, before the work.

    Raises
    ------
    ParameterError
        If the name is unknown.
    SpatterlibError
        If its package is not installed.
    """
    if name not in _PACKAGES:
        raise ParameterError(
            f"callbacks are functions of an Epoch, or {' or '.join(map(repr, _PACKAGES))}, got {name!r}"
        )
    try:
        import_module(_PACKAGES[name])
    except ImportError as error:
        raise SpatterlibError(f"{name} is not installed: {error}; pip install {name}") from error


def logger(name: str, folder: Path, facts: RunFacts) -> Notify:
    """A logger by name: "tensorboard" or "mlflow".

    Raises
    ------
    ParameterError
        If the name is unknown.
    SpatterlibError
        If its package is not installed.
    """
    check_logger(name)
    return {"tensorboard": _tensorboard, "mlflow": _mlflow}[name](folder, facts)


def default_loggers(folder: Path, facts: RunFacts) -> list[Notify]:
    """TensorBoard event files where the package is there."""
    with suppress(ImportError):
        return [_tensorboard(folder, facts)]
    return []


def _tensorboard(folder: Path, facts: RunFacts) -> Notify:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))

    def log(epoch: Epoch) -> None:
        if epoch.ended:
            writer.add_scalars("loss", {"training": epoch.loss, "validation": epoch.validation_loss}, epoch.number)
            accuracy = {"training": epoch.accuracy, "validation": epoch.validation_accuracy}
            writer.add_scalars("accuracy", accuracy, epoch.number)
            writer.flush()
        if epoch.ended and epoch.number == epoch.of:
            writer.close()

    return log


def _mlflow(folder: Path, facts: RunFacts) -> Notify:
    import mlflow

    run = mlflow.start_run(run_name=folder.name)
    mlflow.log_params({key: value for key, value in facts["classifier"].items() if value is not None})

    def log(epoch: Epoch) -> None:
        if epoch.ended:
            names = ("loss", "accuracy", "validation_loss", "validation_accuracy")
            mlflow.log_metrics({name: getattr(epoch, name) for name in names}, epoch.number, run_id=run.info.run_id)
        if epoch.ended and epoch.number == epoch.of:
            mlflow.end_run()

    return log
