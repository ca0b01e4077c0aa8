"""Settings of teacher and student."""

from typing import Any

import pytest

from exrep_hf.arguments import ModelArguments
from exrep_hf.arguments.caching import SETTINGS_OF_CACHING


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("teacher_dtype", "int8", "one of .'float32', 'bfloat16', 'float16', 'auto'."),
        ("teacher_features", "patches", "one of .'own', 'cls', 'mean'."),
        ("teacher_batch_size", 0, "a whole number ≥ 1"),
        ("teacher_batch_size", 2.5, "a whole number ≥ 1"),
    ],
)
def test_how_a_teacher_is_asked(name: str, value: Any, expected: str) -> None:
    """Refused at once, by the name that was given."""
    with pytest.raises(ValueError, match=f"`{name}` is {value!r}; expected {expected}"):
        ModelArguments(**{name: value})


def test_storing_answers_knows_how_a_teacher_is_asked() -> None:
    """They decide what is stored, so its help lists them."""
    assert {"teacher_dtype", "teacher_batch_size", "teacher_features"} <= SETTINGS_OF_CACHING
