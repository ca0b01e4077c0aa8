"""Hostile files are refused within a second and 100 MB, whatever they are."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exrep_hf.untrusted import (
    JSON_BYTES,
    YAML_BYTES,
    parse_json,
    parse_yaml,
    read_small_json,
    read_small_text,
    read_small_yaml,
)
from tests.bounds import assert_refused

ROOT = Path(__file__).parents[1]
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60))
WIDE = f"a: &a {'x' * 10**5}\nb: [{'*a, ' * 10**3}]\n"


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    # A name has room for some hundred characters.
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)
        server.bind(path.name)
        os.chdir(here)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(2**30)


def text(content: str | bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


JSON: list[tuple[Callable[[Path], None], str]] = [
    (pipe, r"is no regular file \(prw"),
    (listening, r"can't be opened \(No such device or address\); expected a regular file"),
    (device, r"is no regular file \(crw"),
    (Path.mkdir, r"is no regular file \(drw"),
    (huge, f"has {2**30} bytes; expected at most {JSON_BYTES}"),
    (text(b'{"a": "\xff"}'), "is no text"),
    (text("[" * 10**6 + "]" * 10**6), "more than 500000 values"),
    (text("[" * 10**5 + "]" * 10**5), r"is no JSON that can be read \(maximum recursion depth"),
    (text("[" * 65 + "]" * 65), "nested more than 64 deep"),
    (text("[" + "[]," * 5 * 10**6 + "1]"), "more than 500000 values"),
    (text("1" * 10**6), r"is no JSON that can be read \(Exceeds the limit"),
    (text("half of"), "is no JSON that can be read"),
]
YAML: list[tuple[Callable[[Path], None], str]] = [
    (pipe, r"is no regular file \(prw"),
    (huge, f"has {2**30} bytes; expected at most {YAML_BYTES}"),
    (text(BOMB), "more than 1048576 characters when its aliases are written out"),
    (text(MERGED), "more than 1048576 characters when its aliases are written out"),
    (text(WIDE), "more than 1048576 characters when its aliases are written out"),
    (text("a: &a [*a]"), r"the alias `\*a` within what it stands for"),
    (text("- " * 60000), "nested more than 64 deep"),
    (text("[" * 60000), "nested more than 64 deep"),
    (text("{" * 60000), "nested more than 64 deep"),
    (text("a: *b"), r"a value that can't be read \(found undefined alias"),
    (text("!!python/object/apply:os.system [true]"), "could not determine a constructor"),
    (text("a: [1, 2"), "is no YAML that can be read"),
    (text("a: " + "1" * 10**5), "a value that can't be read"),
    (text("a: 2001-99-99"), "a value that can't be read"),
    (text("{[a]: 1}"), "unhashable key"),
]


@pytest.mark.parametrize(("make", "told"), JSON)
def test_json(make: Callable[[Path], None], told: str, tmp_path: Path) -> None:
    make(tmp_path / "results.json")
    assert_refused(lambda: read_small_json(tmp_path / "results.json"), told)


@pytest.mark.parametrize(("make", "told"), YAML)
def test_yaml(make: Callable[[Path], None], told: str, tmp_path: Path) -> None:
    make(tmp_path / "digits.yaml")
    assert_refused(lambda: read_small_yaml(tmp_path / "digits.yaml"), told)


def test_what_people_write(tmp_path: Path) -> None:
    """As the ordinary readers give it: aliases that stay small, dates, names in any script, a mark of byte order."""
    content = {"a": [1, 2.5, None, True], "名": "ü", "b": {"c": {}}}
    path = tmp_path / "file"
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8-sig")
    assert read_small_json(path) == content and read_small_text(path, 200).startswith("{")
    source = "a: &a {x: 1}\nb: [*a, *a]\nc: {<<: *a, y: 2001-02-03}\nd: &d [1]\ne: *d\n"
    path.write_text(source)
    assert read_small_yaml(path) == yaml.safe_load(source)
    path.write_text("")
    assert read_small_yaml(path) is None
    with pytest.raises(FileNotFoundError):
        read_small_text(tmp_path / "absent", 1)
    for model in (ROOT / "model_cards").glob("*/results.json"):
        assert read_small_json(model, model.parent) == json.loads(model.read_text())


def test_links(tmp_path: Path) -> None:
    """A folder that was sent must not choose what is read here; the Hub's cache consists of links."""
    (tmp_path / "secret").write_text("1")
    folder = tmp_path / "models--me--student" / "snapshots" / "0a1b"
    blobs = tmp_path / "models--me--student" / "blobs"
    for path in (folder, blobs):
        path.mkdir(parents=True)
    (blobs / "hash").write_text("2")
    (folder / "within").write_text("3")
    for name, target in (("blob", "../../blobs/hash"), ("inner", "within"), ("out", "../../../secret")):
        (folder / name).symlink_to(target)
    assert [read_small_text(folder / name, 1, folder) for name in ("blob", "inner", "within")] == ["2", "3", "3"]
    with pytest.raises(ValueError, match="'.*/0a1b/out' is a link that leads out of its folder"):
        read_small_text(folder / "out", 1, folder)
    (folder / "loop").symlink_to("loop")
    with pytest.raises(ValueError, match="loop"):
        read_small_text(folder / "loop", 1)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_all_that_is_written_is_read(content: Any) -> None:
    """Bounds that refuse an honest file would be worse than none."""
    written = yaml.safe_dump(content)
    # NaN is unequal to itself.
    assert repr(parse_yaml(written, "it")) == repr(yaml.safe_load(written))
    as_json = json.dumps(content, default=str)
    assert repr(parse_json(as_json, "it")) == repr(json.loads(as_json))


YAML_TEXT = st.lists(
    st.sampled_from(
        ["- ", "a: ", "&a ", "*a", "[", "]", "{", "}", ", ", "\n", " ", "!!int ", "<<: ", "? ", "'", "1:1", "x"]
    )
    | st.text(max_size=3),
    max_size=25,
).map("".join)


@given(YAML_TEXT)
def test_any_text(content: str) -> None:
    """Content, or a refusal of ours."""
    for parse in (parse_yaml, parse_json):
        try:
            parse(content, "it")
        except ValueError as error:
            assert str(error).startswith("it ")
