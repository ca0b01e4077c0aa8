"""A published classifier on labelled images: all that its card claims about them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import evaluate
import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from exrep_hf.data import DistillationDataset, Preprocessing, ViewTransform, collate_distillation
from exrep_hf.finite import NonFiniteError, named
from exrep_hf.training.metrics import TOP5, says_top5

METRICS = Path(__file__).with_name("metrics")


@torch.no_grad()
def predict(
    model: nn.Module,
    preprocessing: Preprocessing,
    images: Dataset,
    columns: tuple[str, str],
    batch_size: int = 64,
    numbers: Sequence[int] | None = None,
    num_workers: int = 0,
) -> tuple[Tensor, Tensor]:
    """Ask a classifier about every image.

    Not by `evaluate`'s evaluator: it keeps only the likeliest class of each image, which tells nothing of top-5 and
    calibration, and its release 0.4 fails under transformers 5.

    Args:
        model: a classifier of transformers, on the device it is to run on.
        preprocessing: how it wants its images.
        images: with an image and a label column.
        columns: their names.
        batch_size: images at a time.
        numbers: the model's number of each class of the images; None: the same.
        num_workers: processes that decode images.

    Returns:
        Logits `(n, num_labels)`, float32, and labels `(n,)`, on the CPU.

    Raises:
        NonFiniteError: if the likeliest class of an image is NaN or infinite, naming rows: no figure of it is right.
    """
    device = next(model.parameters()).device
    loader = DataLoader(
        DistillationDataset(images, ViewTransform(preprocessing, normalised=False), *columns, numbers),
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=collate_distillation,
    )
    was_training = model.training
    model.eval()
    logits, labels = [], []
    for batch in tqdm(loader, desc="evaluating", unit=" batches", leave=False, disable=None):
        pixels = preprocessing.normalised(batch["pixel_values"].to(device))
        logits.append(model(pixels).logits.float().cpu())
        labels.append(batch["labels"])
    model.train(was_training)
    answers = torch.cat(logits)
    if rows := (~answers.amax(-1).isfinite()).nonzero().flatten().tolist():
        raise NonFiniteError(
            f"The classifier's logits for {len(rows)} of {len(answers)} images are NaN or infinite (rows "
            f"{named(list(map(str, rows)))}); expected finite ones. Look at its weights, and at these images."
        )
    return answers, torch.cat(labels)


def classification_report(logits: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """Return what is said about a classifier's answers.

    Args:
        logits: `(n, num_labels)`.
        labels: `(n,)`.
        names: of the classes.

    Returns:
        `accuracy`, and `top5_accuracy` of more than five classes; `expected_calibration_error` with its `bins`, in
        [0, 1]; and `per_class`: `accuracy` and `count` by name, of the classes that there are images of.
    """
    top_k = evaluate.load(str(METRICS / "top_k_accuracy"))
    calibration = evaluate.load(str(METRICS / "expected_calibration_error"))
    scores, references = logits.numpy(), labels.numpy()
    measured = calibration.compute(predictions=logits.softmax(-1).numpy(), references=references)
    right = logits.argmax(-1) == labels
    per_class = {
        names[label]: {
            "accuracy": right[labels == label].double().mean().item(),
            "count": int((labels == label).sum()),
        }
        for label in labels.unique().tolist()
    }
    accuracies = {
        name: top_k.compute(predictions=scores, references=references, k=k)["accuracy"]
        for name, k in (("accuracy", 1), (TOP5, 5))
        if k == 1 or says_top5(logits.shape[1])
    }
    return {
        **accuracies,
        **measured,
        "per_class": per_class,
    }
