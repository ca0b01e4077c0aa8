"""What teachers are called, and what is told of their heads."""

from typing import Any

from exrep_hf.teacher.cached import CachedTeacher
from exrep_hf.teacher.ensemble import TeacherEnsemble
from exrep_hf.teacher.head import HeadTeacher, source_of
from exrep_hf.teacher.source import TeacherSource


def teacher_names(teacher: TeacherSource) -> list[str]:
    """Return the names or paths that the networks of a teacher were loaded from; none where that is not known."""
    teacher = source_of(teacher)
    if isinstance(teacher, TeacherEnsemble):
        return [name for each in teacher.teachers for name in teacher_names(each)]
    if isinstance(teacher, CachedTeacher):
        return [name for name in [teacher.manifest.plan.teacher["name"]] if name]
    return [name for network in teacher.networks() if (name := getattr(network, "name_or_path", None))]


def fitted_head(teacher: TeacherSource | None) -> dict[str, Any] | None:
    """Return what is told of a teacher's head that is not its own, with its `kind`: probe or text; None for any other.

    Of one that is still to be fitted nothing is told.
    """
    if isinstance(teacher, HeadTeacher):
        return teacher.facts()
    return teacher.manifest.plan.teacher.get("head") if isinstance(teacher, CachedTeacher) else None
