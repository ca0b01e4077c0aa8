"""Teachers: where logits and features come from."""

from exrep_hf.teacher.cached import CachedTeacher, stored_views
from exrep_hf.teacher.online import OnlineTeacher
from exrep_hf.teacher.resolve import as_teacher, check_apart
from exrep_hf.teacher.source import TeacherSource

__all__ = ["CachedTeacher", "OnlineTeacher", "TeacherSource", "as_teacher", "check_apart", "stored_views"]
