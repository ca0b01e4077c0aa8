import re
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedConfig, ResNetConfig

from exrep_hf.arguments.class_rule import ClassRule
from exrep_hf.data import ClassMap
from exrep_hf.data.class_map import Side, numbers_of_each


def config(*names: str) -> PreTrainedConfig:
    return ResNetConfig(id2label=dict(enumerate(names)))


def unnamed(num_labels: int) -> PreTrainedConfig:
    return ResNetConfig.from_dict({"num_labels": num_labels})


STUDENT = config("ant", "bee", "cat")


def test_labels_get_the_students_numbers() -> None:
    """Some of the classes, in another order and spelling: today's class 0 would be trained as class 0."""
    labels = ClassMap(STUDENT).numbers_of_labels
    assert labels(["Cat", "bee"], "`train_dataset`") == (2, 1)
    assert labels(["ant", "bee", "cat"], "`train_dataset`") is None
    assert labels(None, "`train_dataset`") is None


def test_the_teachers_answers_are_put_into_the_students_order() -> None:
    classes = ClassMap(STUDENT, config("dog", "cat", "bee", "ant"))
    assert classes.teacher_columns == (3, 2, 1)
    logits = torch.arange(8.0).reshape(2, 4)
    assert classes.in_students_order(logits).tolist() == [[3.0, 2.0, 1.0], [7.0, 6.0, 5.0]]
    same = ClassMap(STUDENT, config("ant", "Bee", "cat"))
    assert same.teacher_columns is None and same.in_students_order(logits) is logits
    # The first of more classes are not all of them.
    assert ClassMap(STUDENT, config("ant", "bee", "cat", "dog")).teacher_columns == (0, 1, 2)
    assert classes.teacher_fingerprint != ClassMap(STUDENT, config("cat", "bee", "ant")).teacher_fingerprint


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (
            STUDENT,
            config("ant", "bee", "dog"),
            r"The student has 1 of 3 classes that the teacher does not know: 'cat'",
        ),
        (STUDENT, config("ant", "bee", "cats"), r"'cat' \(nearest: 'cats'\)"),
        (STUDENT, config("n01", "n02", "n03"), "3 of 3 classes .* 'n01', 'n02', 'n03'.*'position'"),
        (STUDENT, unnamed(3), "The teacher has 3 classes without names, and the student calls its 3 classes 'ant'"),
        (unnamed(3), STUDENT, "The student has 3 classes without names, and the teacher calls"),
        (unnamed(3), unnamed(4), "The student has 3 classes and the teacher has 4, and neither has names"),
        (
            config("ant", "bee"),
            config("Ant", "ant ", "bee"),
            "'ant' of the student could be any of 'Ant' .class 0., 'ant '",
        ),
        (config("ant", "ANT"), config("ant, emmet", "bee"), "'ant', 'ANT', one to the teacher: 'ant, emmet'"),
    ],
)
def test_what_nothing_tells(student: PreTrainedConfig, teacher: PreTrainedConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassMap(student, teacher)


def test_unknown_classes_of_data_name_the_data() -> None:
    with pytest.raises(
        ValueError, match="`train_dataset` has 2 of 2 classes that the student does not know: 'zebra', 'apple'"
    ):
        ClassMap(STUDENT).numbers_of_labels(["zebra", "apple"], "`train_dataset`")


def test_position_is_for_what_names_do_not_tell() -> None:
    assert ClassMap(STUDENT, unnamed(3), "position").teacher_columns is None
    assert ClassMap(STUDENT, config("x", "y", "z"), "position").teacher_columns is None
    # A name that both know has one meaning, whatever its place.
    assert ClassMap(STUDENT, config("cat", "bee", "ant"), "position").teacher_columns == (2, 1, 0)
    assert ClassMap(STUDENT, None, "position").numbers_of_labels(["bee", "cat"], "data") == (1, 2)
    with pytest.raises(ValueError, match="'ant' is number 0 to the student and number 1 to the teacher"):
        ClassMap(STUDENT, config("x", "ant", "z"), "position")
    with pytest.raises(ValueError, match="the student has 3 classes and the teacher has 4; expected the same number"):
        ClassMap(STUDENT, unnamed(4), "position")


def test_a_mapping() -> None:
    """From the teacher's names to the data's, which the student has."""
    mapping = {"n1": "ant", "n2": "bee", "n3": "cat"}
    assert ClassMap(STUDENT, config("n3", "n0", "n1", "n2"), mapping).teacher_columns == (2, 3, 0)
    placeholders = {"LABEL_0": "cat", "LABEL_1": "ant", "LABEL_2": "bee"}
    assert ClassMap(STUDENT, unnamed(3), placeholders).teacher_columns == (1, 2, 0)
    # A student of the teacher's kind is called by the data's names too.
    pairs = {"n1": "ant", "n2": "bee"}
    foreign = ClassMap(config("n2", "n1"), config("n1", "n2"), pairs, ["ant", "bee"])
    assert foreign.numbers_of_labels(["ant", "bee"], "data") == (1, 0) and foreign.teacher_columns == (1, 0)
    with pytest.raises(ValueError, match=r"maps names that no model has: 'n9' \(nearest: 'n1'\)"):
        ClassMap(STUDENT, config("n1"), {"n9": "ant"})
    with pytest.raises(ValueError, match="maps to names that neither the data nor the student has: 'dog'"):
        ClassMap(STUDENT, config("n1"), {"n1": "dog"})
    with pytest.raises(ValueError, match="2 of 3 classes that the teacher does not know: 'bee', 'cat'"):
        ClassMap(STUDENT, config("n1"), {"n1": "ant"})


def test_some_classes_in_common() -> None:
    """At least two and at least half are enough where labels teach the rest."""
    student, teacher = config("ant", "bee", "cat", "dog"), config("x", "Dog", "bee", "cats")
    with pytest.raises(ValueError, match="2 of 4 classes that the teacher does not know"):
        ClassMap(student, teacher)
    classes = ClassMap(student, teacher, partial=True)
    assert classes.student_columns == (1, 3) and classes.teacher_columns == (2, 1) and classes.num_shared == 2
    assert classes.left_out == ("ant", "cat") and "'cat' (nearest: 'cats')" in classes.left_out_with_nearest
    logits = torch.arange(4.0)[None]
    assert classes.in_students_order(logits).tolist() == [[2, 1]]
    assert classes.shared_by_student(logits).tolist() == [[1, 3]]
    assert classes.shared_numbers(torch.tensor([3, 2, 1, -1])).tolist() == [1, -1, 0, -1]
    assert classes.described() == {
        "rule": "names",
        "teacher_classes": 4,
        "student_classes": 4,
        "shared": 2,
        "left_out": ["ant", "cat"],
        "renamed": {"Dog": "dog"},
    }
    # The first classes of both, with the same numbers, are not all.
    first = ClassMap(student, config("ant", "bee", "cat"), partial=True)
    assert first.teacher_columns == first.student_columns == (0, 1, 2) and first.left_out == ("dog",)
    mapped = ClassMap(student, config("n1", "n2", "n3"), {"n3": "ant", "n2": "bee"}, partial=True)
    assert (mapped.student_columns, mapped.teacher_columns) == ((0, 1), (2, 1))
    described = mapped.described()
    assert described is not None and described["rule"] == "mapping"
    assert described["renamed"] == {"n3": "ant", "n2": "bee"}
    same = ClassMap(student, student, partial=True)
    assert same.student_columns is same.teacher_columns is None and same.left_out == ()
    assert ClassMap(student).described() is None
    for few in (config("ant", "x", "y", "z"), config("n1", "n2", "n3", "n4")):
        with pytest.raises(ValueError, match="that the teacher does not know"):
            ClassMap(student, few, partial=True)
    # By number where names don't tell: all of them or none.
    with pytest.raises(ValueError, match="the student has 4 classes and the teacher has 3"):
        ClassMap(student, config("ant", "bee", "x"), "position", partial=True)


names = st.lists(
    st.sampled_from(["ant", "Ant", "bee", "bee, wasp", "wasp", "n01440764", "tench", "a b", "a_b", "LABEL_0"]),
    min_size=1,
    max_size=5,
)
rules: st.SearchStrategy[ClassRule] = st.one_of(
    st.sampled_from(["names", "position"]),
    st.dictionaries(st.sampled_from(["ant", "x"]), st.sampled_from(["bee", "y"]), min_size=1),
)


@given(names, names, names, rules)
def test_any_lists_of_classes(data: list[str], student: list[str], teacher: list[str], rule: ClassRule) -> None:
    """A map of classes that are there, each once; or our refusal."""
    try:
        classes = ClassMap(config(*student), config(*teacher), rule, data)
        numbers = classes.numbers_of_labels(data, "data")
    except ValueError as error:
        assert re.search("classes|expected", str(error), re.IGNORECASE)
        return
    columns = classes.teacher_columns
    assert columns is None or (len(columns) == len(set(columns)) == len(student) and max(columns) < len(teacher))
    assert numbers is None or (len(numbers) == len(set(numbers)) == len(data) and max(numbers) < len(student))
    if not isinstance(rule, Mapping):
        for number, column in enumerate(columns or range(len(student))):
            # Nothing that both know is taken for anything else.
            assert student[number] not in teacher or teacher[column] == student[number]


def test_sides_of_one_direction() -> None:
    some, others = Side.of_data("a", ["y", "x"]), Side.of_data("b", ["x", "y", "z"])
    assert numbers_of_each(some, others) == (1, 0)


def test_classes_without_names_are_not_matched_by_name() -> None:
    """The card claimed names that neither side has."""
    described = ClassMap(unnamed(3), unnamed(3)).described()
    assert described is not None and described["rule"] == "position" and described["renamed"] == {}
