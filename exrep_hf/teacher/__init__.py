"""Teachers: where logits and features come from."""

from exrep_hf.teacher.online import OnlineTeacher
from exrep_hf.teacher.source import TeacherSource

__all__ = ["OnlineTeacher", "TeacherSource"]
