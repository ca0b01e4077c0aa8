"""Which class of one is which of another: data, teacher and student."""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from exrep_hf.arguments.class_rule import ClassRule
from exrep_hf.data.class_names import numbers_by_name
from exrep_hf.data.classes import HasClasses, class_names

_NAMED = 5
_LEAST_SHARED = 2
REMEDY = (
    "Where their numbers mean the same all the same, say `classes='position'`; else give `classes` a mapping from the "
    "model's names to those of the data."
)


@dataclass(frozen=True)
class Side:
    """Somebody's classes.

    Attributes:
        what: who it is, for messages.
        count: how many there are.
        names: in the order of their numbers; None where they have none.
    """

    what: str
    count: int
    names: tuple[str, ...] | None

    @classmethod
    def of_model(cls, what: str, model: HasClasses) -> "Side":
        """Return a model's classes; transformers' placeholders (`LABEL_0` …) are no names."""
        names = class_names(model)
        return cls(what, model.num_labels or 0, None if names is None else tuple(names))

    @classmethod
    def of_data(cls, what: str, names: Sequence[str]) -> "Side":
        """Return a data set's classes."""
        return cls(what, len(names), tuple(names))

    def called(self, mapping: Mapping[str, str], known: Sequence[str] = ()) -> "Side":
        """Return the same classes by the names that a mapping has for them, unless they are `known` as they are."""
        names = self.names_or_placeholders
        renamed = tuple(name if name in known else mapping.get(name, name) for name in names)
        return self if renamed == names else Side(self.what, self.count, renamed)

    @property
    def names_or_placeholders(self) -> tuple[str, ...]:
        """What transformers calls the classes where they have no names."""
        return self.names or tuple(f"LABEL_{number}" for number in range(self.count))


class ClassMap:
    """One meaning for the classes of data, student and teacher: by name, or by what the user says.

    Args:
        student: whose numbers labels get.
        teacher: whose answers are put into the student's order; None: there is none, or it gives no logits.
        rule: how classes are matched.
        names: of the data that are trained on; None where they have none.
        called: what messages call student and teacher.
        partial: whether the teacher may know some of the student's classes alone: at least two, and at least half.

    Attributes:
        teacher_columns: for each class that both have, in the student's order, its number in the teacher's answers;
            None: the student's numbers.
        student_columns: the student's numbers of the classes that both have; None: all.
        has_teacher: whether a teacher's logits have a meaning to the student.

    Raises:
        ValueError: if a class of the student is not found among the teacher's, or nothing tells which it is.
    """

    def __init__(
        self,
        student: HasClasses,
        teacher: HasClasses | None = None,
        rule: ClassRule = "names",
        names: Sequence[str] | None = None,
        called: tuple[str, str] = ("the student", "the teacher"),
        partial: bool = False,
    ) -> None:
        self.rule = rule
        self.student = Side.of_model(called[0], student)
        there = None if teacher is None else Side.of_model(called[1], teacher)
        self._teacher_names = None if there is None else there.names_or_placeholders
        if isinstance(rule, Mapping):
            if there is not None:
                _check_mapping(rule, self.student, there, names)
                there = there.called(rule)
            self.student = self.student.called(rule, names or ())
        self.teacher = there
        shared = (
            numbers_of_shared(self.student, there) if partial and there is not None and rule != "position" else None
        )
        self.student_columns = shared
        self.teacher_columns = None if there is None else numbers_of_each(self.student, there, rule, shared)
        self._columns: dict[str, Tensor] = {}
        self.has_teacher = there is not None

    @property
    def num_shared(self) -> int:
        """Number of classes that student and teacher both have."""
        if not self.has_teacher:
            return 0
        return self.student.count if self.student_columns is None else len(self.student_columns)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The student's classes that the teacher doesn't know."""
        if self.student_columns is None:
            return ()
        shared = set(self.student_columns)
        names = self.student.names_or_placeholders
        return tuple(name for number, name in enumerate(names) if number not in shared)

    @property
    def left_out_with_nearest(self) -> str:
        """The first of the classes that are left out, each with the teacher's name that is most like it."""
        return _with_nearest(self.left_out, () if self.teacher is None else self.teacher.names or ())

    @property
    def teacher_fingerprint(self) -> str | None:
        """A short name for `teacher_columns` and, where not all, `student_columns`; None: the student's numbers."""
        if self.teacher_columns is None:
            return None
        columns = (self.teacher_columns, self.student_columns)
        return hashlib.sha256(repr(columns if columns[1] else columns[0]).encode()).hexdigest()[:16]

    def described(self) -> dict[str, Any] | None:
        """Return how the teacher's classes were matched, of JSON types; None where there is no teacher.

        Returns:
            `rule` (`names`, `position` where there are none too, `mapping`); `teacher_classes`, `student_classes` and
            `shared`: their numbers; `left_out`: the student's names that the teacher doesn't know; `renamed`: the
            teacher's name to the student's, of classes that both have and call differently.
        """
        if self.teacher is None or self._teacher_names is None:
            return None
        here, there = self.student.names_or_placeholders, self._teacher_names
        shared = range(self.student.count) if self.student_columns is None else self.student_columns
        columns = shared if self.teacher_columns is None else self.teacher_columns
        pairs = [(there[column], here[number]) for number, column in zip(shared, columns, strict=True)]
        return {
            "rule": "mapping" if isinstance(self.rule, Mapping) else self.rule if self.teacher.names else "position",
            "teacher_classes": self.teacher.count,
            "student_classes": self.student.count,
            "shared": self.num_shared,
            "left_out": list(self.left_out),
            "renamed": {theirs: own for theirs, own in pairs if theirs != own},
        }

    def numbers_of_labels(self, names: Sequence[str] | None, what: str) -> tuple[int, ...] | None:
        """Return the student's number of each class of a data set; None: the same number, as where it has no names.

        Raises:
            ValueError: if the student does not know a class.
        """
        return None if names is None else numbers_of_each(Side.of_data(what, names), self.student, self.rule)

    def in_students_order(self, logits: Tensor) -> Tensor:
        """Return a teacher's logits `(batch, its classes)` as `(batch, num_shared)`, in the student's order."""
        return self._select("teacher", logits, self.teacher_columns)

    def shared_by_student(self, values: Tensor) -> Tensor:
        """Return the student's logits, or shares of classes, `(batch, num_labels)` as `(batch, num_shared)`."""
        return self._select("student", values, self.student_columns)

    def shared_numbers(self, labels: Tensor) -> Tensor:
        """Return the places of labels among the shared classes, `(n,)`; -1 for the student's other classes."""
        if self.student_columns is None:
            return labels
        places = torch.full((self.student.count,), -1, device=labels.device)
        places[list(self.student_columns)] = torch.arange(self.num_shared, device=labels.device)
        return torch.where(labels < 0, labels, places[labels.clamp(min=0)])

    def _select(self, whose: str, values: Tensor, columns: tuple[int, ...] | None) -> Tensor:
        if columns is None:
            return values
        kept = self._columns.get(whose)
        if kept is None or kept.device != values.device:
            # Kept there: it would be copied, and waited for, at each step.
            kept = self._columns[whose] = torch.tensor(columns, device=values.device)
        return values.index_select(-1, kept)


def numbers_of_shared(student: Side, teacher: Side) -> tuple[int, ...] | None:
    """Return the student's numbers of the classes that a teacher knows; None where it knows all, or too few."""
    if student.names is None or teacher.names is None:
        return None
    known = [number for number, places in enumerate(numbers_by_name(student.names, teacher.names)) if places]
    fits = len(known) >= max(_LEAST_SHARED, student.count / 2)
    return tuple(known) if fits and len(known) < student.count else None


def numbers_of_each(
    some: Side, others: Side, rule: ClassRule = "names", only: Sequence[int] | None = None
) -> tuple[int, ...] | None:
    """Return the number that each class of one side has on another; None: the same.

    Args:
        some: each of these has to be among the others.
        others: may be more.
        rule: `position` counts where names don't tell; names of a mapping have their new names already.
        only: numbers of the classes of `some` that are asked for; None: all. What ImageNet's names mean is known
            where all of them are there.

    Raises:
        ValueError: if that can't be told.
    """
    if rule == "position" and not _all_known(some, others):
        _check_positions(some, others)
        return None
    if some.names is None or others.names is None:
        if some.names is None and others.names is None:
            if some.count != others.count:
                raise ValueError(
                    f"{_first(some)} has {some.count} classes and {others.what} has {others.count}, and neither has "
                    "names to match them by; expected the same classes. Give the models `id2label`, or take models "
                    "for the same classes."
                )
            return None
        nameless, named = (some, others) if some.names is None else (others, some)
        assert named.names is not None
        raise ValueError(
            f"{_first(nameless)} has {nameless.count} classes without names, and {named.what} calls its {named.count} "
            f"classes {_quoted(named.names)}: nothing tells which is which. Give it `id2label`. {REMEDY}"
        )
    asked = range(some.count) if only is None else only
    found = numbers_by_name(some.names, others.names)
    names, found = [some.names[number] for number in asked], [found[number] for number in asked]
    _check_found(some, others, names, found)
    numbers = tuple(places[0] for places in found)
    twice = next((number for number in numbers if numbers.count(number) > 1), None) if _repeats(numbers) else None
    if twice is not None:
        both = [name for name, number in zip(names, numbers, strict=True) if number == twice]
        raise ValueError(
            f"{_first(some)} has the classes {_quoted(both)}, one to {others.what}: {others.names[twice]!r}. "
            f"Expected each to be a class of its own. {REMEDY}"
        )
    return None if only is None and numbers == tuple(range(others.count)) else numbers


def _repeats(numbers: Sequence[int]) -> bool:
    return len(set(numbers)) < len(numbers)


def _check_found(some: Side, others: Side, names: Sequence[str], found: list[list[int]]) -> None:
    assert others.names is not None
    if missing := [name for name, places in zip(names, found, strict=True) if not places]:
        raise ValueError(
            f"{_first(some)} has {len(missing)} of {some.count} classes that {others.what} does not know: "
            f"{_with_nearest(missing, others.names)}; {others.what} has {others.count}: {_quoted(others.names)}. "
            f"Expected the same names, whatever their order, case and separators. {REMEDY}"
        )
    for name, places in zip(names, found, strict=True):
        if len(places) > 1:
            several = ", ".join(f"{others.names[place]!r} (class {place})" for place in places[:_NAMED])
            raise ValueError(
                f"The class {name!r} of {some.what} could be any of {several} of {others.what}; expected one. Rename "
                f"it. {REMEDY}"
            )


def _all_known(some: Side, others: Side) -> bool:
    if some.names is None or others.names is None:
        return False
    return all(len(places) == 1 for places in numbers_by_name(some.names, others.names))


def _check_positions(some: Side, others: Side) -> None:
    if some.count != others.count:
        raise ValueError(
            f"`classes` is 'position', and {some.what} has {some.count} classes and {others.what} has {others.count}; "
            "expected the same number. Give `classes` a mapping from the model's names to those of the data."
        )
    if some.names is None or others.names is None:
        return
    for number, places in enumerate(numbers_by_name(some.names, others.names)):
        if places and number not in places:
            raise ValueError(
                f"`classes` is 'position', and the class {some.names[number]!r} is number {number} to {some.what} and "
                f"number {places[0]} to {others.what}: a name that both know means one class. Give `classes` a "
                "mapping from the model's names to those of the data."
            )


def _check_mapping(mapping: Mapping[str, str], student: Side, teacher: Side, names: Sequence[str] | None) -> None:
    known = [*teacher.names_or_placeholders, *student.names_or_placeholders]
    if unknown := [name for name in mapping if name not in known]:
        raise ValueError(
            f"`classes` maps names that no model has: {_with_nearest(unknown, known)}; the teacher's are "
            f"{_quoted(known)}. Expected a mapping from names of the teacher to names of the data."
        )
    targets = [*(names or ()), *(student.names or ())]
    values = list(mapping.values())
    found = zip(values, numbers_by_name(values, targets), strict=True)
    if targets and (unknown := [name for name, places in found if not places]):
        raise ValueError(
            f"`classes` maps to names that neither the data nor the student has: {_with_nearest(unknown, targets)}. "
            f"Expected names of the data: {_quoted(targets)}."
        )


def _with_nearest(names: Sequence[str], known: Sequence[str]) -> str:
    shown = []
    for name in names[:_NAMED]:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        shown.append(repr(name) + (f" (nearest: {nearest[0]!r})" if nearest else ""))
    return ", ".join(shown) + " …" * (len(names) > _NAMED)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_NAMED])) + " …" * (len(names) > _NAMED)


def _first(side: Side) -> str:
    return side.what[0].upper() + side.what[1:]
