"""Studies and stored answers of a teacher whose classifier is what the classes are called."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from exrep_hf.cli import parse_caching_settings, parse_settings
from exrep_hf.study import Study
from exrep_hf.study.caching import cache_teacher
from exrep_hf.teacher.head_file import HEAD_NAME, HEADS_NAME
from tests.studies import DIGITS, run_study
from tests.text_towers import save_towers

STUDY: dict[str, Any] = {
    "teacher_from_scratch": False,
    "teacher_steps": 0,
    "student_steps": 3,
    "num_public": 60,
    "private_fraction": 0.0,
    "ce_weight": 0.0,
    "crd_weight": 0.0,
    "adversarial_weight": 0.0,
    "mixup": 1.0,
    "cutmix": 1.0,
    "distiller": "none",
    "controls": "none",
    "max_steps": 2,
    "num_seeds": 1,
    "teacher_head": "text",
}
PROMPTS = ["a photo of a {}.", "this is a {}."]


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_towers("Siglip", tmp_path_factory.mktemp("towers"))


def test_a_study_and_what_it_tells(towers: str, tmp_path: Path, monkeypatch: Any) -> None:
    results = run_study(tmp_path / "digits", teacher=towers, prompts=PROMPTS, **STUDY)
    head = results["teacher"]["head"]
    assert (head["kind"], head["prompts"], head["words"]) == ("text", PROMPTS, [str(digit) for digit in range(10)])
    assert 0 <= results["teacher"]["accuracy"] <= 1 and results["teacher"]["classes"]["shared"] == 10
    assert results["arms"]["exrep"]["runs"][0]["teacher_head"] == head
    card = (tmp_path / "digits" / "README.md").read_text()
    assert "about 10 classes (`0`, `1`, `2`, `3`, `4` and 5 more), with the prompts `a photo of a {}.`, `this" in card
    assert (tmp_path / "digits" / HEADS_NAME / "seed42.safetensors").is_file()
    # What it reaches is what its stored head reaches, and what is trained on answers that are stored with it.
    flags = {"teacher": towers, "prompts": PROMPTS, "teacher_head": "text", "views": 2, "dtype": "float32"}
    recipe = {name: value for name, value in yaml.safe_load(DIGITS.read_text()).items() if name != "output_dir"}
    changes = {**recipe, **{name: STUDY[name] for name in ("teacher_from_scratch", "teacher_steps", "num_public")}}
    changes |= {name: STUDY[name] for name in ("ce_weight", "crd_weight", "adversarial_weight", "controls")}
    changes |= {"private_fraction": 0.0, "max_eval_samples": 40, "mixup": 1.0, "cutmix": 1.0, "use_cpu": True}
    config = tmp_path / "cache.yaml"
    config.write_text(yaml.safe_dump(changes | flags))
    given = ["--config", str(config), "--output_dir", str(tmp_path / "answers")]
    stored = cache_teacher(parse_caching_settings(given))
    assert stored.manifest.plan.teacher["head"] == head
    assert stored.manifest.summary["evaluation"]["metrics"]["accuracy"] == pytest.approx(
        results["teacher"]["accuracy"]
    )
    kept = (tmp_path / "answers" / HEAD_NAME).read_bytes()
    cache_teacher(parse_caching_settings(given))
    assert (tmp_path / "answers" / HEAD_NAME).read_bytes() == kept
    settings = {name: value for name, value in STUDY.items() if name != "teacher_head"}
    again = run_study(tmp_path / "cached", teacher=None, teacher_cache=str(tmp_path / "answers"), **settings)
    assert again["teacher"]["head"] == head


def test_names_from_a_file(towers: str, tmp_path: Path) -> None:
    """The teacher's classes are called by other words than the data's, in their order."""
    words = ["cat", "dog", "bird", "photo", "picture", "small", "this", "is", "of", "a"]
    names = tmp_path / "names.txt"
    names.write_text("\n".join(words) + "\n\n")
    given = STUDY | {"teacher": towers, "class_names": [str(names)], "classes": "position"}
    results = run_study(tmp_path / "digits", **given)
    assert results["teacher"]["head"]["words"] == words
    configuration = json.loads((tmp_path / "digits" / "results.json").read_text())["configuration"]
    assert configuration["data"]["class_names"] == words
    with pytest.raises(ValueError, match="has 10 of 10 classes that the teacher does not know"):
        run_study(tmp_path / "others", **given | {"classes": "names"})


def test_what_is_refused_at_once(towers: str, tmp_path: Path) -> None:
    for change, message in (
        ({"prompts": ["a photo"]}, "`prompts` holds 'a photo'; expected a text with one `{}`"),
        ({"prompts": PROMPTS, "teacher_head": "probe"}, "`prompts` is .* and `teacher_head` is 'probe', which takes"),
        ({"teacher_steps": 4}, "`teacher_head` is 'text' with `teacher_steps` 4 and"),
        ({"teacher_features": "mean"}, "expected 0 and 'own': the text tower knows"),
        ({"class_names": ["cat"]}, r"`class_names` has \['cat'\]; expected the names of two or more"),
    ):
        config = tmp_path / "study.yaml"
        recipe = yaml.safe_load(DIGITS.read_text())
        config.write_text(yaml.safe_dump({**recipe, **STUDY, "teacher": towers, **change}))
        with pytest.raises(ValueError, match=message):
            Study(parse_settings(["--config", str(config)], config))
