"""What teachers are called."""

from exrep_hf.teacher.cached import CachedTeacher
from exrep_hf.teacher.ensemble import TeacherEnsemble
from exrep_hf.teacher.source import TeacherSource


def teacher_names(teacher: TeacherSource) -> list[str]:
    """Return the names or paths that the networks of a teacher were loaded from; none where that is not known."""
    if isinstance(teacher, TeacherEnsemble):
        return [name for each in teacher.teachers for name in teacher_names(each)]
    if isinstance(teacher, CachedTeacher):
        return [name for name in [teacher.manifest.plan.teacher["name"]] if name]
    return [name for network in teacher.networks() if (name := getattr(network, "name_or_path", None))]
