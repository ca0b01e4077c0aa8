"""Pictures, read back pixel by pixel where that says something."""

from pathlib import Path

import matplotlib.image
import numpy as np
import torch
from matplotlib.figure import Figure

from exrep_hf.data import Preprocessing
from exrep_hf.models import ExRepForImageClassification
from exrep_hf.report import plot_losses, plot_residuals


def test_a_panel_for_each_component(tmp_path: Path, monkeypatch: object) -> None:
    """A component that is logged but not drawn goes unnoticed when it diverges."""
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: drawn.append(self))  # type: ignore[attr-defined]
    history = [
        {"step": 10, "loss": 3.0, "loss_kd": 1.0},
        {"step": 20, "loss": 2.0, "loss_kd": 0.5, "loss_crd": 9.0},
        {"step": 20, "eval_loss": 7.0},
    ]
    plot_losses(history, tmp_path / "loss.png", "exrep")
    panels = {axes.get_title(): np.asarray(axes.lines[0].get_xydata()).tolist() for axes in drawn[0].axes}
    assert panels == {"total": [[10, 3], [20, 2]], "kd": [[10, 1], [20, 0.5]], "crd": [[20, 9]]}


def test_residual_picture(tmp_path: Path) -> None:
    """A picture with the normalisation left in, or of the wrong row, misleads whoever looks at it."""
    torch.manual_seed(0)
    model = ExRepForImageClassification.from_backbone(
        "timm/test_efficientnet",
        pretrained=False,
        num_labels=4,
        image_size=32,
        distiller="light",
        distiller_channels=8,
    ).train()
    preprocessing = Preprocessing(32, 32, None, "bilinear", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    white = (torch.ones(2, 3, 32, 32) - torch.tensor([0.4, 0.5, 0.6])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[
        :, None, None
    ]
    path = tmp_path / "residual.png"
    plot_residuals(model, [1, 2], white, [0, 3], preprocessing, path)
    assert model.training
    picture = matplotlib.image.imread(path)
    grey = np.isclose(picture[..., :3], 0.5, atol=0.01).all(-1)
    # The middle row, and it alone, is G(x) = 0 at the start: grey. The others are the white images.
    rows = np.flatnonzero(grey.mean(1) > 0.5)
    assert picture.shape[0] * 0.36 < rows.min()
    assert rows.max() < picture.shape[0] * 0.75
