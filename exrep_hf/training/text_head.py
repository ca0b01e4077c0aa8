"""A teacher whose classifier is what the classes are called: which names it gets, and who makes it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState

from exrep_hf.data import class_names
from exrep_hf.data.classes import HasClasses
from exrep_hf.main_process import decided_by_main
from exrep_hf.teacher import TeacherSource, TextClasses, TextHead, TextTeacher, make_text_head
from exrep_hf.teacher.head import source_of
from exrep_hf.teacher.head_file import load_text_head


def check_texts_are_used(texts: TextClasses, head: str | None) -> None:
    """Make sure that prompts and names are given for a text head alone.

    Raises:
        ValueError: if they are given for another one.
    """
    for name, value in (("prompts", texts.prompts), ("class_names", texts.names)):
        if value is not None and head != "text":
            raise ValueError(
                f"`{name}` is {value!r:.200}, and the teacher's head is {head!r}, which takes none. Set "
                f"`teacher_head='text'`, or leave `{name}` out."
            )


def texts_for(texts: TextClasses, student: HasClasses | None, data: Sequence[str] | None) -> TextClasses:
    """Return what a text head is made of: the names that were given, else the data's, else the student's.

    A student of more classes than the data has is asked about all of its own.
    """
    if texts.names is not None:
        return dataclasses.replace(texts, as_they_are=True)
    own = None if student is None else class_names(student)
    if own is not None and (data is None or len(own) != len(data)):
        return dataclasses.replace(texts, names=own)
    return dataclasses.replace(texts, names=data)


def text_teacher(
    teacher: TeacherSource,
    texts: TextClasses,
    kept: Path | None = None,
    revision: str | None = None,
) -> TextTeacher:
    """Put a head from texts on a teacher's features; call it on all processes, of which one loads the text tower.

    Args:
        teacher: whose features they are.
        texts: what it is made of.
        kept: a file of it; that is taken where there is one.
        revision: branch, tag or commit of the teacher.

    Raises:
        ValueError: if it can't be made, or that file is of another one.
    """
    source = source_of(teacher)

    def make() -> TextHead:
        head = make_text_head(source, texts, revision, PartialState().device)
        return load_text_head(kept, head) if kept is not None and kept.is_file() else head

    return TextTeacher(source, decided_by_main(make))
