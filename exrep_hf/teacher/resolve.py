"""A `TeacherSource` from whatever the user calls the teacher."""

import os

from torch import nn
from transformers import PreTrainedModel

from exrep_hf.teacher.online import OnlineTeacher
from exrep_hf.teacher.source import TeacherSource


def as_teacher(
    teacher: PreTrainedModel | nn.Module | TeacherSource | str | os.PathLike[str] | None,
) -> TeacherSource | None:
    """Make a `TeacherSource` of a model, a name or a path; None stays None.

    Raises:
        ValueError: if it is none of these, or if nothing is found under the name.
    """
    if teacher is None or isinstance(teacher, TeacherSource):
        return teacher
    if isinstance(teacher, str | os.PathLike):
        return OnlineTeacher.from_pretrained(teacher)
    if isinstance(teacher, nn.Module):
        return OnlineTeacher(teacher)
    raise ValueError(
        f"`teacher` is a {type(teacher).__name__}; expected a classifier of transformers or timm, a `TeacherSource`, "
        "or a name or path."
    )


def check_apart(student: nn.Module, teacher: TeacherSource | None) -> None:
    """Make sure that teacher and student are two networks.

    Raises:
        ValueError: if they share weights: the frozen teacher would freeze the student, or learn with it.
    """
    if isinstance(teacher, OnlineTeacher):
        if not set(teacher.model.parameters()).isdisjoint(student.parameters()):
            raise ValueError(
                "Teacher and student are the same network, or share weights; expected two. Load the model twice, or "
                "pass `copy.deepcopy(model)` as the teacher."
            )
