"""Studies under several teachers, which answer as one."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import ResNetConfig, ResNetForImageClassification

from exrep_hf.cli import parse_caching_settings, parse_settings
from exrep_hf.data import Preprocessing
from exrep_hf.study import Study, teaching
from exrep_hf.study.caching import cache_teacher
from exrep_hf.study.several import texts_together
from exrep_hf.teacher import TeacherEnsemble
from tests.studies import DIGITS, run_study
from tests.study.test_text_head import STUDY
from tests.text_towers import save_towers

SEVERAL = {name: value for name, value in STUDY.items() if name != "teacher_head"}


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two classifiers of digits, whose images and widths differ, one with its classes in another order."""
    folders = []
    for seed, size in ((0, 16), (1, 24)):
        torch.manual_seed(seed)
        config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8 + size], depths=[1, 1], layer_type="basic")
        names = [str(digit) for digit in range(10)]
        config.id2label = dict(enumerate(names[::-1] if seed else names))
        config.label2id = {name: number for number, name in config.id2label.items()}
        model: Any = ResNetForImageClassification(config).train()
        with torch.no_grad():
            for _ in range(3):
                model(torch.randn(16, 3, size, size))
        folder = tmp_path_factory.mktemp(f"teacher{seed}")
        model.save_pretrained(folder)
        Preprocessing(size, size, None, "bilinear", (0.5,) * 3, (0.5,) * 3).to_image_processor().save_pretrained(
            folder
        )
        folders.append(str(folder))
    return folders


def test_the_mean_of_two(teachers: list[str], tmp_path: Path, monkeypatch: Any) -> None:
    """Each has its own pixels and classes; results and card name both, and a study that goes on is the same."""
    asked: list[Any] = []
    evaluate = teaching.evaluate_head

    def noted(source: Any, *rest: Any) -> Any:
        asked.append(source)
        return evaluate(source, *rest)

    monkeypatch.setattr(teaching, "evaluate_head", noted)
    results = run_study(tmp_path / "digits", teacher=teachers, **SEVERAL)
    (source,) = asked
    assert isinstance(source, TeacherEnsemble) and source.feature_dim == 24 + 32
    pixels = [torch.randn(3, 3, size, size) for size in (16, 24)]
    parts = zip(source.teachers, pixels, strict=True)
    first, second = (teacher({"pixel_values": part}).logits for teacher, part in parts)
    assert first is not None and second is not None
    batch = {f"teacher_pixel_values_{place}": part for place, part in enumerate(pixels)}
    torch.testing.assert_close(source(batch).logits, (first + second.flip(1)) / 2)
    names = [Path(folder).name for folder in teachers]
    assert results["teacher"]["name"].split(", ") == names and results["teacher"]["head"] == {"kind": "own"}
    assert results["teacher"]["classes"]["shared"] == 10
    held = sum(sum(each.numel() for each in network.parameters()) for network in source.networks())
    assert results["teacher"]["cost"]["parameters"] == held
    card = (tmp_path / "digits" / "README.md").read_text()
    assert all(name in card for name in names)
    again = run_study(tmp_path / "digits", teacher=teachers, resume_from_checkpoint="true", **SEVERAL)
    assert again["arms"]["exrep"]["runs"][0]["after"] == results["arms"]["exrep"]["runs"][0]["after"]
    with pytest.raises(ValueError, match="other_teachers"):
        run_study(tmp_path / "digits", teacher=teachers[:1], resume_from_checkpoint="true", **SEVERAL)


def test_heads_of_two(teachers: list[str], tmp_path: Path) -> None:
    """A probe is fitted on the features of both; of texts each has its own."""
    probed = run_study(tmp_path / "probed", teacher=teachers, teacher_head="probe", **SEVERAL)
    assert probed["teacher"]["head"]["kind"] == "probe" and probed["teacher"]["accuracy"] is not None
    towers = [save_towers(family, tmp_path / family) for family in ("CLIP", "Siglip")]
    named = run_study(tmp_path / "named", teacher=towers, teacher_head="text", **SEVERAL)
    head = named["teacher"]["head"]
    assert head["prompts"] == ["a photo of a {}.", "This is a photo of {}."] and len(head["words"]) == 10
    assert texts_together([None, {"kind": "text", "prompts": ["{}"], "words": ["a"]}])["prompts"] == ["{}"]


def test_stored_answers_of_two(teachers: list[str], tmp_path: Path) -> None:
    """Each stored in a folder of its own, they teach as the two of them would."""
    recipe = {name: value for name, value in yaml.safe_load(DIGITS.read_text()).items() if name != "output_dir"}
    changes = {**recipe, **{name: value for name, value in SEVERAL.items() if name in recipe or name == "num_public"}}
    changes |= {"max_eval_samples": 40, "use_cpu": True, "dtype": "float32", "views": 2, "teacher": None}
    config, folders = tmp_path / "cache.yaml", []
    config.write_text(yaml.safe_dump({name: value for name, value in changes.items() if value is not None}))
    for number, teacher in enumerate(teachers):
        folders.append(str(tmp_path / f"answers{number}"))
        flags = ["--config", str(config), "--teacher", teacher, "--output_dir", folders[-1]]
        cache_teacher(parse_caching_settings(flags))
    stored = run_study(tmp_path / "stored", teacher=None, teacher_cache=folders, **SEVERAL)
    asked = run_study(tmp_path / "asked", teacher=teachers, views=2, **SEVERAL)
    names = ", ".join(Path(folder).name for folder in teachers)
    assert stored["teacher"]["name"] == names and stored["teacher"]["accuracy"] is None
    first, second = (
        [entry["loss_kd"] for entry in each["arms"]["exrep"]["runs"][0]["history"] if "loss_kd" in entry]
        for each in (stored, asked)
    )
    assert len(first) == 1 and first == pytest.approx(second, rel=1e-4)


def test_what_does_not_go_together(teachers: list[str], tmp_path: Path) -> None:
    recipe = yaml.safe_load(DIGITS.read_text())

    def settings(**changes: Any) -> str:
        config = tmp_path / "study.yaml"
        config.write_text(yaml.safe_dump({**recipe, **SEVERAL, "output_dir": "out", "teacher": teachers, **changes}))
        return str(config)

    for change, message in (
        ({"teacher_steps": 3}, "`teacher` names 2 teachers .* and `teacher_steps` is 3; expected one teacher with it"),
        ({"teacher_revision": "main"}, "`teacher_revision` is 'main'"),
        ({"teacher_cache": "answers"}, "`teacher_cache` is 'answers'.*`--teacher_cache answers/one answers/two`"),
        ({"teacher": "one", "teacher_cache": ["a", "b"]}, "names 2 stored teachers, and `teacher` is 'one'"),
    ):
        with pytest.raises(ValueError, match=message):
            Study(parse_settings(["--config", settings(**change)], tmp_path))
    with pytest.raises(ValueError, match="expected one. Store the answers of each in a folder of its own"):
        caching = settings(crd_weight=0.0)
        cache_teacher(parse_caching_settings(["--config", caching, "--output_dir", str(tmp_path / "answers")]))
    mapping = {"a": "0", "b": "1"}
    with pytest.raises(ValueError, match="`classes` is a mapping, and there are 2 teachers"):
        run_study(tmp_path / "mapped", teacher=teachers, **SEVERAL | {"classes": mapping, "student_new_head": False})
    flags = ["--config", settings(teacher=None), "--teacher", *teachers, "--output_dir", str(tmp_path / "out")]
    assert parse_settings(flags, tmp_path).model.teachers == teachers
