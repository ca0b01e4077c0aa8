import pytest
from hypothesis import given
from hypothesis import strategies as st

from exrep_hf.arguments.settings_file import read_yaml


def test_plain_settings() -> None:
    text = "a: 1\nb: {c: 1.0e-3, d: [x, null]}\nbase: &base {e: 1, f: 2}\nmerged: {<<: *base, f: 3}\n"
    assert read_yaml(text, "it") == {
        "a": 1,
        "b": {"c": 1e-3, "d": ["x", None]},
        "base": {"e": 1, "f": 2},
        "merged": {"e": 1, "f": 3},
    }


@pytest.mark.parametrize(
    "text", ["lr: 1\nlr: 2", "controls:\n  kd: {mixup: 0}\n  kd: {mixup: 1}", "{a: 1, 'a': 2}", "1: a\n1: b"]
)
def test_a_setting_that_stands_twice(text: str) -> None:
    """YAML's own loader takes the last: a run with another learning rate than the one that was read."""
    with pytest.raises(ValueError, match="`.*` stands twice; expected each setting once"):
        read_yaml(text, "`mine.yaml`")


@pytest.mark.parametrize(
    "text",
    [
        "a:\tb: c",
        "a: [1",
        "a: !!python/object/apply:os.getcwd []",
        "a: 2024-13-45",
        "[" * 10**5,
        "- " * 10**5,
        "{a: " * 10**5,
        "\x00",
        "a: *b",
    ],
)
def test_what_is_no_settings(text: str) -> None:
    with pytest.raises(ValueError, match="`mine.yaml` can't be read as YAML"):
        read_yaml(text, "`mine.yaml`")


def test_aliases_of_aliases() -> None:
    """Nine lines that stand for a thousand million values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
    with pytest.raises(ValueError, match="when its aliases are written out"):
        read_yaml("\n".join(lines), "`mine.yaml`")


@given(st.one_of(st.text(max_size=60), st.text("ab:{}[]&*!<>-\n 'x\"#,", max_size=60)))
def test_any_text(text: str) -> None:
    try:
        read_yaml(text, "it")
    except ValueError as error:
        assert str(error).startswith("it can't be read as YAML")
