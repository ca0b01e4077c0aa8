import json
from pathlib import Path
from typing import Any

import pytest

from exrep_hf.arguments import DataArguments
from exrep_hf.arguments.class_rule import read_class_rule


def test_rules(tmp_path: Path) -> None:
    file = tmp_path / "classes.json"
    file.write_text(json.dumps({"n01": "ant"}))
    assert read_class_rule("names") == "names" and read_class_rule("position") == "position"
    for given in ({"n01": "ant"}, '{"n01": "ant"}', str(file), file):
        assert read_class_rule(given) == {"n01": "ant"}


def test_settings_keep_what_a_file_says(tmp_path: Path) -> None:
    """Results have to tell which class was which, on machines without the file."""
    file = tmp_path / "classes.json"
    file.write_text(json.dumps({"n01": "ant"}))
    settings = DataArguments(classes=str(file))
    assert json.loads(settings.classes) == {"n01": "ant"} == settings.class_rule()


@pytest.mark.parametrize("given", ["name", {}, {"a": 1}, '{"a": ', "[1]", "nowhere.json", 3])
def test_no_rules(given: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`classes` is .*expected"):
        read_class_rule(given)
    file = tmp_path / "classes.json"
    file.write_text('["ant"]')
    with pytest.raises(ValueError, match="expected a mapping from names"):
        read_class_rule(file)
