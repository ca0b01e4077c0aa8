"""Test images about which a finished student and its teacher disagree: to look at, on one's own machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from exrep_hf.arguments.class_rule import ClassRule
from exrep_hf.data import class_names, names_or_numbers
from exrep_hf.evaluation.predict import predict
from exrep_hf.publishing.claimed_images import own_images
from exrep_hf.publishing.claims import hub_name
from exrep_hf.publishing.evaluate_student import beside_teacher, load_published
from exrep_hf.publishing.probed import fitted_head_of, probed_answers
from exrep_hf.publishing.texts import read_results
from exrep_hf.report.page.thumbnails import Disagreements, Thumbnail, thumbnail_source

TEACHER = "teacher"
"""Folder of a teacher that a run trained for itself."""
_COLUMNS = ("image", "label")


def find_disagreements(
    folder: Path,
    teacher: str | None,
    dataset: str | None,
    data_dir: str | None,
    device: torch.device,
    count: int = 24,
    rule: ClassRule = "names",
) -> Disagreements:
    """Ask a run's student and its teacher about the images that the run was evaluated on.

    Args:
        folder: of a finished run.
        teacher: Hub name or folder; None: the one that the run trained, or names. The run's own is asked under the
            linear head that was fitted for it, where there is one.
        dataset: where the images lie now; None: what the run names.
        data_dir: their folder, as in `DataArguments`.
        device: to ask on.
        count: images to show at most: those about which the student is surest.
        rule: how classes of the two are matched.

    Raises:
        ValueError: if the teacher has neither a classifier nor a linear head that lies with the run, or is not known,
            or the images are not found.
    """
    results = read_results(folder)
    facts = results["teacher"] or {}
    kept = fitted_head_of(folder, results, teacher)
    if teacher is None and kept is None and (head := facts.get("head")):
        raise ValueError(
            f"The teacher of {str(folder)!r} ({facts.get('name')!r}) was asked with a head that was made for this run "
            f"({head['kind']}), and no linear one lies beside it. Give a classifier of these classes as `--teacher`."
        )
    name = teacher or _teacher_of(folder, facts)
    student, preprocessing = load_published(folder, device)
    images = own_images(results, student, dataset, data_dir)
    logits, labels = predict(student, preprocessing, images, _COLUMNS)
    shared = names = names_or_numbers(class_names(student.config), logits.shape[1])
    if kept is None:
        own, theirs, classes = beside_teacher(name, student, logits, images, _COLUMNS, rule)
        if classes.student_columns is not None:
            shared = [names[column] for column in classes.student_columns]
    else:
        settings = results["configuration"]["model"]
        own, theirs = logits, probed_answers(name, kept, settings, student, images, _COLUMNS)
    return _shown(images, (own.softmax(-1), theirs.softmax(-1)), labels, names, shared, count)


def _teacher_of(folder: Path, facts: Mapping[str, Any]) -> str:
    if (folder / TEACHER / "config.json").is_file():
        return str(folder / TEACHER)
    name = facts.get("name")
    # Of one that began with an architecture alone, the name holds no weights of it.
    found = name is not None and not facts.get("from_scratch") and (hub_name(name) or Path(name).is_dir())
    if not found:
        raise ValueError(
            f"The teacher of {str(folder)!r} ({name!r}) does not lie beside it and has no weights on the Hub. "
            "Give a folder or Hub name of it as `--teacher`."
        )
    return str(name)


def _shown(
    images: Dataset, answers: tuple[Tensor, Tensor], labels: Tensor, names: list[str], shared: list[str], count: int
) -> Disagreements:
    """Return the sentence and the pictures.

    Args:
        images: with their labels.
        answers: probabilities of the student and of the teacher, `(images, shared classes)`.
        labels: the student's number of each image's class, `(images,)`.
        names: of the student's classes.
        shared: names of the classes that both have.
        count: pictures at most.
    """
    surest, found = answers[0].max(-1)
    teachers = answers[1].argmax(-1)
    differ = (found != teachers).nonzero().flatten()
    right = [shared[answer] == names[label] for answer, label in zip(found.tolist(), labels.tolist(), strict=True)]
    theirs = [shared[answer] == names[label] for answer, label in zip(teachers.tolist(), labels.tolist(), strict=True)]
    rows = differ[surest[differ].argsort(descending=True)].tolist()
    told = (
        f"They differ on {len(rows)} of {len(images)} images: the teacher is right about "
        f"{sum(theirs[row] for row in rows)} of these, the student about {sum(right[row] for row in rows)}."
    )
    pictures = tuple(
        Thumbnail(
            thumbnail_source(images[row]["image"]),
            names[int(labels[row])],
            shared[int(teachers[row])],
            shared[int(found[row])],
        )
        for row in rows[:count]
    )
    return Disagreements(told, pictures)
