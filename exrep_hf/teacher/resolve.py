"""A `TeacherSource` from whatever the user calls the teacher."""

import os
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from exrep_hf.teacher.online import OnlineTeacher
from exrep_hf.teacher.source import TeacherSource

_MEMBERS = (
    *("num_labels", "id2label", "feature_dim", "preprocessing", "views", "fingerprint"),
    *("networks", "check_images", "check_temperature", "__call__"),
)


def as_teacher(
    teacher: PreTrainedModel | nn.Module | TeacherSource | str | os.PathLike[str] | None,
) -> TeacherSource | None:
    """Make a `TeacherSource` of a model, a name or a path; None stays None.

    Raises:
        ValueError: if it is none of these, or if nothing is found under the name.
    """
    if teacher is None:
        return None
    if isinstance(teacher, str | os.PathLike):
        return OnlineTeacher.from_pretrained(teacher)
    source: Any = teacher
    missing = [name for name in _MEMBERS if not hasattr(source, name)]
    if not missing and not isinstance(teacher, type):
        return source
    if isinstance(teacher, nn.Module):
        return OnlineTeacher(teacher)
    raise ValueError(
        f"`teacher` is a {type(teacher).__name__}; expected a network of transformers or timm, a `TeacherSource`, "
        f"or a name or path. A `TeacherSource` has {', '.join(_MEMBERS)}; it lacks {', '.join(missing) or 'nothing'}."
    )
