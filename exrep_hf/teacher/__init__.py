"""Teachers: where logits and features come from."""

from exrep_hf.teacher.cached import CachedTeacher
from exrep_hf.teacher.ensemble import TeacherEnsemble, as_one_teacher
from exrep_hf.teacher.given import GivenAnswers, answers_in_items
from exrep_hf.teacher.head import FeaturesOnly, ProbedTeacher
from exrep_hf.teacher.linear_probe import LinearProbe, fit_linear_probe
from exrep_hf.teacher.names import fitted_head, teacher_names
from exrep_hf.teacher.online import OnlineTeacher
from exrep_hf.teacher.reading_ahead import AnsweredCollator, AnswerReader, ReadsAhead, answer_reader_of
from exrep_hf.teacher.requirements import check_answers, check_apart, check_views, known_preprocessing
from exrep_hf.teacher.resolve import as_teacher
from exrep_hf.teacher.size import size_in_words
from exrep_hf.teacher.source import TeacherSource, compile_source
from exrep_hf.teacher.text_head import TextClasses, TextHead, make_text_head
from exrep_hf.teacher.text_teacher import TextTeacher

__all__ = [
    "AnswerReader",
    "AnsweredCollator",
    "CachedTeacher",
    "FeaturesOnly",
    "GivenAnswers",
    "LinearProbe",
    "OnlineTeacher",
    "ProbedTeacher",
    "ReadsAhead",
    "TeacherEnsemble",
    "TeacherSource",
    "TextClasses",
    "TextHead",
    "TextTeacher",
    "answer_reader_of",
    "answers_in_items",
    "as_one_teacher",
    "as_teacher",
    "check_answers",
    "check_apart",
    "check_views",
    "compile_source",
    "fit_linear_probe",
    "fitted_head",
    "known_preprocessing",
    "make_text_head",
    "size_in_words",
    "teacher_names",
]
