"""The published student's folder: weights, processor and pictures."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import AutoImageProcessor

from exrep_hf.arguments.class_rule import ClassRule
from exrep_hf.data import ClassMap, Preprocessing, class_names, label_names, names_or_numbers
from exrep_hf.evaluation.confusion import worst_confusions
from exrep_hf.evaluation.predict import classification_report, predict
from exrep_hf.models import ExRepConfig, ExRepForImageClassification, load_whole
from exrep_hf.models.write_network import write_network
from exrep_hf.report import has_curve, plot_losses, plot_residuals
from exrep_hf.training.trainer import DistillationTrainer

WITH_DISTILLER_NAME = "with_distiller"
LOSS_PICTURE = "loss.png"
RESIDUAL_PICTURE = "residual.png"
RELIABILITY_PICTURE = "reliability.png"
PICTURED_IMAGES = 8


def published_variant(arm: str, distiller: str, is_plain: bool, variant: str) -> str:
    """Return what is published of an arm: `plain`, `distiller`, or `both`, the latter in a sub-folder.

    Args:
        arm: its name, for messages.
        distiller: the Input Distiller it trains with; `none` if there is none.
        is_plain: whether training makes the student do without it.
        variant: what is asked for.

    Raises:
        ValueError: if the plain student is asked for, and training does not make the distiller removable.
    """
    if distiller == "none":
        return "plain"
    if is_plain:
        return variant
    if variant == "plain":
        raise ValueError(
            f"`variant` is 'plain', but the distiller of `{arm}` can't be taken away from what it trains: "
            "`distiller_share` is 1. Lower it (0.5 does), train with `--distiller none`, or publish `distiller`."
        )
    return "distiller"


def publish_student(
    trainer: DistillationTrainer,
    title: str,
    history: Sequence[dict[str, Any]],
    preprocessing: Preprocessing,
    folder: Path,
    variant: str,
    push_code: bool,
) -> None:
    """Write what `from_pretrained` loads, and those pictures of the run that show something, into `folder`.

    A plain student loads without this package. The one with its distiller needs it, or the code beside its weights.

    Args:
        trainer: with the trained student.
        title: of the picture of its losses.
        history: the Trainer's `log_history`.
        preprocessing: how the student wants its images.
        folder: to write to.
        variant: of `published_variant`.
        push_code: put the code of the models beside the weights of a student with its distiller.
    """
    if variant != "plain":
        with _code_beside_weights(push_code):
            trainer.save_model(str(folder / WITH_DISTILLER_NAME if variant == "both" else folder), _internal_call=True)
    student = trainer.whole_student()
    if not trainer.is_world_process_zero():
        return
    if variant == "both":
        # transformers looks for code in the repository's own folder alone, also for what lies in a sub-folder.
        for path in (folder / WITH_DISTILLER_NAME).glob("*.py"):
            shutil.copy(path, folder)
    if variant != "distiller":
        write_network(student.without_distiller(), preprocessing.to_image_processor(), folder)
    if has_curve(history):
        plot_losses(history, folder / LOSS_PICTURE, title)
    # Without a distiller there is nothing but grey to see.
    if student.input_distiller is None:
        return
    dataset: Any = trainer.eval_dataset
    rows = torch.linspace(0, len(dataset) - 1, min(PICTURED_IMAGES, len(dataset))).long().tolist()
    batch = trainer.batch_of([dataset[row] for row in rows])
    answer = trainer.ask_teacher(batch, training=False).logits
    plot_residuals(
        student,
        None if answer is None else answer.argmax(-1).tolist(),
        batch["pixel_values"],
        batch["labels"].tolist() if "labels" in batch else None,
        preprocessing,
        folder / RESIDUAL_PICTURE,
    )


def describe_published(
    folder: Path, images: Dataset, rule: ClassRule, device: torch.device, num_workers: int = 0
) -> dict[str, Any]:
    """Return `classification_report`'s figures, and `confusion`, of the student in a folder, as anybody will load it.

    Args:
        folder: of the student.
        images: in the columns `image` and `label`.
        rule: how the classes of images and student are matched.
        device: to evaluate on, in float32.
        num_workers: processes that decode images.
    """
    model = load_whole(str(folder))
    nn.Module.to(model, device)
    preprocessing = Preprocessing.from_image_processor(AutoImageProcessor.from_pretrained(folder))
    numbers = ClassMap(model.config, None, rule, names := label_names(images, "label")).numbers_of_labels(
        names, "the data set"
    )
    logits, labels = predict(
        model, preprocessing, images, ("image", "label"), numbers=numbers, num_workers=num_workers
    )
    answers = names_or_numbers(class_names(model.config), logits.shape[1])
    report = classification_report(logits, labels, answers)
    return report | {"confusion": worst_confusions(logits, labels, answers)}


@contextlib.contextmanager
def _code_beside_weights(wanted: bool) -> Iterator[None]:
    """Let `save_pretrained` write the code of models too, as `register_for_auto_class` does for good."""
    if wanted:
        ExRepConfig._auto_class = "AutoConfig"
        ExRepForImageClassification._auto_class = "AutoModelForImageClassification"
    try:
        yield
    finally:
        ExRepConfig._auto_class = ExRepForImageClassification._auto_class = None
