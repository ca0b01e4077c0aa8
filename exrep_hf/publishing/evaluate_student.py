"""A published student on a data set: figures for its card."""

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from huggingface_hub import HfApi, file_exists
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import AutoImageProcessor, PreTrainedModel

from exrep_hf.arguments import EvaluationArguments
from exrep_hf.arguments.class_rule import ClassRule, read_class_rule
from exrep_hf.data import (
    ClassMap,
    Preprocessing,
    check_labels,
    class_names,
    encode_labels,
    find_columns,
    label_names,
    load_images,
    names_or_numbers,
)
from exrep_hf.data.labels import with_class_numbers
from exrep_hf.data.loading import check_split
from exrep_hf.evaluation import images_per_second
from exrep_hf.evaluation.predict import classification_report, predict
from exrep_hf.models import check_processor_files, load_classifier, load_whole
from exrep_hf.publishing.access import check_write_access
from exrep_hf.publishing.card_figures import merge_into_card, model_index, write_eval_results
from exrep_hf.publishing.claims import hub_name
from exrep_hf.publishing.student import fetch_student
from exrep_hf.publishing.texts import EVAL_RESULTS, read_results
from exrep_hf.publishing.upload import upload_files
from exrep_hf.report import public_name

logger = logging.getLogger(__name__)


def load_published(folder: Path, device: torch.device) -> tuple[PreTrainedModel, Preprocessing]:
    """Load a student and how it wants its images, as anybody would.

    Raises:
        ValueError: if the folder holds no classifier with all of its weights, or nothing about its images.
    """
    model = load_whole(str(folder))
    check_processor_files(str(folder))
    try:
        processor = AutoImageProcessor.from_pretrained(folder)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StrictDataclassError) as error:
        raise ValueError(
            f"{str(folder)!r} does not say how the classifier in it wants its images ({error}); expected a "
            "preprocessor_config.json as `processor.save_pretrained` writes it."
        ) from error
    nn.Module.to(model, device)
    return model, Preprocessing.from_image_processor(processor)


def evaluation_device(use_cpu: bool) -> torch.device:
    """Return a GPU where there is one, and it is wanted."""
    accelerator = None if use_cpu else torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if accelerator is None else accelerator


def evaluate_student(args: EvaluationArguments) -> dict[str, Any]:
    """Evaluate a student.

    Returns:
        `classification_report`'s figures, `num_images`, `images_per_second`; `teacher_agreement` on request, and the
        `commit` whose weights were evaluated where the figures are to be pushed.

    Raises:
        ValueError: if model or data are not found, or don't fit each other, or the figures could not be pushed.
    """
    if args.push_to_hub:
        if Path(args.model).is_dir():
            raise ValueError(f"`push_to_hub` is set and `model` is the folder {args.model!r}; expected a Hub name.")
        if args.max_samples is not None or args.revision is not None:
            raise ValueError(
                f"`push_to_hub` is set with `max_samples` {args.max_samples} and `revision` {args.revision!r}; "
                "expected neither: a card speaks of whole splits, and of the weights beside it."
            )
        chosen = (args.image_column_name, args.label_column_name)
        if any(chosen) or (args.data_dir is not None and "/" in args.dataset):
            raise ValueError(
                f"`push_to_hub` is set with the columns {chosen} and `data_dir` {args.data_dir!r}; expected neither: "
                "the readers of a card load a data set by its name alone."
            )
        check_write_access(args.model, "model", None)
        if not file_exists(args.model, "README.md"):
            raise ValueError(
                f"`push_to_hub` is set and {args.model!r} has no card to put figures into: publish it first."
            )
    commit = HfApi().model_info(args.model).sha if args.push_to_hub else args.revision
    device = evaluation_device(args.use_cpu)
    folder = fetch_student(args.model, commit)
    model, preprocessing = load_published(folder, device)
    images, columns = labelled_images(args, model)
    if _was_trained_on(folder, args):
        logger.warning(
            "%r was trained on images of the split %r of %r, by its results.json: figures of them say little about "
            "others. `exrep verify` measures on those that were held out.",
            args.model,
            args.split,
            args.dataset,
        )
    logits, labels = predict(model, preprocessing, images, columns, args.per_device_eval_batch_size)
    names = names_or_numbers(class_names(model.config), logits.shape[1])
    shape = (len(preprocessing.mean), preprocessing.height, preprocessing.width)
    report = classification_report(logits, labels, names)
    report |= {"num_images": len(labels), "images_per_second": images_per_second(model, shape)}
    report |= {"commit": commit} if args.push_to_hub else {}
    if args.teacher is not None:
        rule, size = read_class_rule(args.classes), args.per_device_eval_batch_size
        own, theirs, _ = beside_teacher(args.teacher, model, logits, images, columns, rule, size)
        report["teacher_agreement"] = (theirs.argmax(-1) == own.argmax(-1)).double().mean().item()
    return report


def _was_trained_on(folder: Path, args: EvaluationArguments) -> bool:
    """Return whether a student's results, if there are any, say that it has seen images of the split."""
    try:
        results = read_results(folder)
        settings, facts = results["configuration"]["data"], results["dataset"]
        known = {facts["name"], facts["hub_name"], *facts.get("other_names", ())} - {None}
        return public_name(args.dataset) in known and args.split == settings.get("train_split", "train")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


def beside_teacher(
    name: str,
    model: PreTrainedModel,
    logits: Tensor,
    images: Dataset,
    columns: tuple[str, str],
    rule: ClassRule,
    batch_size: int = 64,
) -> tuple[Tensor, Tensor, ClassMap]:
    """Ask a teacher about the images that a student has answered, on the student's device.

    Args:
        name: of a classifier on the Hub, or its folder.
        model: the student.
        logits: its answers, `(n, num_labels)`.
        images: with an image and a label column.
        columns: their names.
        rule: how classes of the two are matched.
        batch_size: images at a time.

    Returns:
        The student's and the teacher's logits of the classes that both have, `(n, shared)`, and how they are matched.
    """
    teacher = load_classifier(name)
    classes = ClassMap(model.config, teacher.config, rule, partial=True)
    nn.Module.to(teacher, model.device)
    answers, _ = predict(teacher, Preprocessing.from_model(teacher), images, columns, batch_size)
    return classes.shared_by_student(logits), classes.in_students_order(answers), classes


def labelled_images(
    args: EvaluationArguments, model: PreTrainedModel, may_be_path: bool = True
) -> tuple[Dataset, tuple[str, str]]:
    """Images whose labels are the model's classes, and the names of their columns.

    Raises:
        ValueError: if they are not found, or have other classes.
    """
    config, folder = args.dataset_config_name, args.data_dir
    splits = load_images(args.dataset, config_name=config, data_dir=folder, may_be_path=may_be_path)
    check_split(splits, args.split, "split", args.dataset)
    image, label = find_columns(splits[args.split], args.image_column_name, args.label_column_name)
    if label is None:
        raise ValueError(f"{args.dataset!r} has no label column, only {splits[args.split].column_names}.")
    images = with_class_numbers(encode_labels(splits, label)[args.split], label, repr(args.dataset))
    if args.max_samples is not None and args.max_samples < len(images):
        images = images.shuffle(seed=0).select(range(args.max_samples))
    return with_classes_of(model, images, label, args.dataset, read_class_rule(args.classes)), (image, label)


def with_classes_of(model: PreTrainedModel, images: Dataset, label: str, name: str, rule: ClassRule) -> Dataset:
    """Number labels as the model does: a data set may have fewer classes, in another order.

    Raises:
        ValueError: if the data set has classes that the model does not.
    """
    there = label_names(images, label)
    numbers = ClassMap(model.config, None, rule, there).numbers_of_labels(there, repr(name))
    check_labels(images, label, (model.config.num_labels or 0) if there is None else len(there))
    if numbers is None:
        return images
    numbered = [numbers[each] for each in images[label][:]]
    return images.remove_columns(label).add_column(label, numbered)


def push_figures(args: EvaluationArguments, figures: dict[str, Any]) -> str:
    """Merge figures of `evaluate_student` into the card of a model on the Hub; entries of others stay.

    Args:
        args: what was evaluated.
        figures: of it, and the `commit`; the repository has to be at it still.

    Returns:
        The commit with the figures.

    Raises:
        OSError: if they can't be pushed.
    """
    model, split = args.model, args.split
    there = fetch_student(model, figures["commit"])
    local = Path(args.dataset).expanduser().exists()
    identity, dataset = None if local else hub_name(args.dataset), str(public_name(args.dataset))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(there / "README.md", folder)
        if (there / EVAL_RESULTS).is_dir():
            shutil.copytree(there / EVAL_RESULTS, folder / EVAL_RESULTS)
        count = figures["num_images"]
        results = model_index(dataset, split, figures, count, identity, args.dataset_config_name)
        merge_into_card(folder / "README.md", model.split("/")[-1], results)
        if identity is not None and args.dataset_config_name is None:
            write_eval_results(folder, identity, split, figures, count)
        files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        again = f"python recipes/evaluate_student.py --model {model} --dataset {dataset} --split {split} --push_to_hub"
        return upload_files(folder, files, model, "model", f"Evaluation on {dataset}", None, again, figures["commit"])
