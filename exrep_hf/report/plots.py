"""Pictures of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor

from exrep_hf.data import Preprocessing
from exrep_hf.models import ExRepForImageClassification

matplotlib.use("Agg", force=False)


def has_curve(history: Sequence[dict[str, Any]]) -> bool:
    """Return whether there are two training logs to draw a line through: short runs may have none."""
    return sum("loss" in entry for entry in history) > 1


def plot_losses(history: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """Draw the total and each component over steps, one panel each: their scales differ.

    Args:
        history: the Trainer's `log_history`; entries with `loss` are training logs.
        path: of the PNG.
        title: above the panels.
    """
    logs = [entry for entry in history if "loss" in entry]
    names = ["loss", *sorted({name for entry in logs for name in entry if name.startswith("loss_")})]
    figure = Figure(figsize=(3.2 * len(names), 2.8), layout="constrained")
    figure.suptitle(title)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        points = [(entry["step"], entry[name]) for entry in logs if name in entry]
        axes.plot(*zip(*points, strict=True), marker="o" if len(points) < 30 else "", markersize=3)
        axes.set_title("total" if name == "loss" else name.removeprefix("loss_"))
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


@torch.no_grad()
def plot_residuals(
    model: ExRepForImageClassification,
    teacher_predictions: Sequence[int] | None,
    pixel_values: Tensor,
    labels: Sequence[int] | None,
    preprocessing: Preprocessing,
    path: Path,
) -> None:
    """Draw a few images as x, G(x) and x + G(x), with what teacher and student say.

    Args:
        model: the student with its distiller.
        teacher_predictions: the teacher's class of each image, if there is a teacher.
        pixel_values: `(images, channels, height, width)`, normalised for the student.
        labels: true class of each image, if known.
        preprocessing: to undo the normalisation.
        path: of the PNG.
    """
    was_training = model.training
    model.eval()
    residual = model.residual(pixel_values)
    answers = model(pixel_values).logits.argmax(-1).tolist()
    model.train(was_training)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    strongest = float(residual.abs().max())
    rows = {
        "x": (pixel_values.cpu() * std + mean).clamp(0, 1),
        f"G(x), grey = 0, ± {strongest:.2g}": (residual.cpu() / max(strongest, 1e-12) + 1) / 2,
        "x + G(x)": ((pixel_values + residual).cpu() * std + mean).clamp(0, 1),
    }
    name_of = {int(number): str(name) for number, name in (model.config.id2label or {}).items()}
    columns = len(pixel_values)
    figure = Figure(figsize=(1.5 * columns + 0.6, 5.6), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes_row, (row_name, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(axes_row, images, strict=True):
            axes.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), vmin=0, vmax=1, cmap="gray")
            axes.set_xticks([])
            axes.set_yticks([])
        axes_row[0].set_ylabel(row_name, fontsize=8)
    for column in range(columns):
        says = [] if labels is None else [f"label {name_of[labels[column]]}"]
        if teacher_predictions is not None:
            says.append(f"teacher {name_of[teacher_predictions[column]]}")
        grid[0][column].set_title("\n".join([*says, f"student {name_of[answers[column]]}"]), fontsize=8)
    figure.savefig(path, dpi=110)
