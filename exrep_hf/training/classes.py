"""The classes of a run: what the student calls them, and which is which."""

from collections.abc import Sequence
from typing import Any

import torch
from datasets import ClassLabel, Features

from exrep_hf.arguments import DistillationArguments
from exrep_hf.arguments.class_rule import ClassRule
from exrep_hf.data import ClassMap, DistillationDataset, class_names
from exrep_hf.data.loading import LABEL_NAMES
from exrep_hf.models import ExRepForImageClassification, set_labels
from exrep_hf.teacher import ProbedTeacher, TeacherSource


def match_classes(
    student: ExRepForImageClassification,
    teacher: TeacherSource | None,
    args: DistillationArguments,
    rule: ClassRule,
    names: Sequence[str] | None,
) -> tuple[ClassMap, list[str]]:
    """Find out which class is which.

    Where the teacher's logits are not trained on, its classes may be any. Where labels are trained on too, it may know
    some of the student's classes alone.

    Args:
        student: a nameless one gets the names of the data, where it has learnt none, or where `rule` is `position`.
        teacher: whom it is to follow, if anyone.
        args: which terms are active.
        rule: how classes are matched.
        names: of the classes of the training images.

    Returns:
        The map, and what there is to say about it.

    Raises:
        ValueError: if nothing tells which class is which.
    """
    notes = _name_student(student, teacher, rule, names)
    if isinstance(teacher, ProbedTeacher) and teacher.id2label == student.config.id2label:
        # Its head was fitted for these very classes, whatever they are called.
        found = ClassMap(student.config, None, rule, names)
        found.has_teacher = True
        return found, notes
    asked = teacher if teacher is not None and teacher.num_labels is not None else None
    try:
        found = _matched(student, asked, args, rule, names)
    except ValueError as error:
        if args.needs_logits:
            raise _with_probe(error, student, asked, rule, names) from error
        without = ClassMap(student.config, None, rule, names)
        return without, [*notes, f"agreement with the teacher isn't known: {error}"]
    if asked is not None and found.teacher_columns is None and args.needs_logits and class_names(asked) is None:
        notes.append("classes of student and teacher are matched by their numbers")
    if found.left_out:
        learnt = ": these are learnt from labels alone, and compared are the others" if args.needs_logits else ""
        notes.append(
            f"the teacher knows {found.num_shared} of the student's {found.student.count} classes, and not "
            f"{found.left_out_with_nearest}{learnt}"
        )
    elif found.teacher_columns is not None and asked is not None:
        notes.append(f"of the teacher's {asked.num_labels} classes the student's are taken, by name")
    return found, notes


def _with_probe(
    error: ValueError,
    student: ExRepForImageClassification,
    teacher: TeacherSource | None,
    rule: ClassRule,
    names: Sequence[str] | None,
) -> ValueError:
    """Name the way out where it is the teacher's classes that don't fit, and its features are to be had."""
    if teacher is None or teacher.feature_dim is None:
        return error
    try:
        ClassMap(student.config, None, rule, names)
    except ValueError:
        return error
    return ValueError(
        f"{error} Or have a linear classifier for these classes fitted on the teacher's features of labelled images: "
        "`teacher_head='probe'`."
    )


def _matched(
    student: ExRepForImageClassification,
    teacher: TeacherSource | None,
    args: DistillationArguments,
    rule: ClassRule,
    names: Sequence[str] | None,
) -> ClassMap:
    learns_from_labels = bool(args.ce_weight) or not args.needs_logits
    try:
        return ClassMap(student.config, teacher, rule, names, partial=learns_from_labels)
    except ValueError as error:
        if learns_from_labels or not _is_partial(student, teacher, rule, names):
            raise
        raise ValueError(
            f"{error} Or let the student learn the classes that the teacher doesn't know from labels: `ce_weight=1`, "
            "which compares the others with the teacher's."
        ) from error


def _is_partial(
    student: ExRepForImageClassification,
    teacher: TeacherSource | None,
    rule: ClassRule,
    names: Sequence[str] | None,
) -> bool:
    """Return whether the teacher knows enough of the classes to be compared in these alone."""
    try:
        ClassMap(student.config, teacher, rule, names, partial=True)
    except ValueError:
        return False
    return True


def _name_student(
    student: ExRepForImageClassification, teacher: TeacherSource | None, rule: ClassRule, names: Sequence[str] | None
) -> list[str]:
    """Name the classes of a student that has no names, and say so."""
    if class_names(student.config) is not None:
        return []
    learnt_nothing, whose = student.starts_from_nothing or student.has_new_head, "the training images"
    if names is None and learnt_nothing and teacher is not None:
        names, whose = class_names(teacher), "the teacher"
    if names is None or len(names) != student.config.num_labels or not (learnt_nothing or rule == "position"):
        return []
    set_labels(student.config, dict(enumerate(names)))
    return [f"the student's classes have no names, and get those of {whose}"]


def names_of_data(dataset: Any) -> list[str] | None:
    """Return what a data set calls its classes: an HF data set by its features, one of torchvision by `classes`.

    Raises:
        ValueError: if it is made of several that don't number their classes alike.
    """
    if isinstance(dataset, torch.utils.data.Subset):
        return names_of_data(dataset.dataset)
    if isinstance(dataset, torch.utils.data.ConcatDataset):
        of_parts = [names_of_data(part) for part in dataset.datasets]
        if any(names != of_parts[0] for names in of_parts):
            raise ValueError(
                f"The parts of a data set have the classes {of_parts[:3]}; expected the same names in the same order. "
                "Renumber them (`dataset.align_labels_with_mapping`) before they are put together."
            )
        return of_parts[0]
    if isinstance(dataset, DistillationDataset):
        dataset = dataset.rows.select_columns([dataset.label_column]) if dataset.label_column else None
    features = getattr(dataset, "features", None)
    if isinstance(features, Features):
        labels = {name: feature for name, feature in features.items() if isinstance(feature, ClassLabel)}
        named = next((name for name in LABEL_NAMES if name in features), next(iter(labels), None))
        return list(labels[named].names) if named in labels else None
    names = getattr(dataset, "classes", None)
    is_names = isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names)
    return list(names) if is_names else None  # type: ignore[arg-type]
