"""Teachers of many families beside students of many: two steps, saved, and read again."""

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForImageClassification

from exrep_hf import DistillationTrainer, ExRepForImageClassification, OnlineTeacher
from exrep_hf.models import load_classifier
from tests.families import (
    CLASSES,
    CLASSIFIERS,
    POOLING,
    TIMM,
    TOKENS,
    TOWERS,
    Rows,
    of_timm,
    of_transformers,
    size_of,
    two_towers,
)

MakeTrainer = Callable[..., DistillationTrainer]
STUDENTS: dict[str, Callable[[], Any]] = {
    "resnet": lambda: of_transformers("ResNetForImageClassification"),
    "convnext": lambda: of_transformers("ConvNextForImageClassification"),
    "timm": lambda: load_classifier("timm/test_resnet", num_labels=CLASSES, pretrained=False),
    "vit": lambda: of_transformers("ViTForImageClassification"),
}
TEACHERS: dict[str, tuple[Callable[[], Any], str]] = {
    **{name: (make, "own") for name, make in POOLING.items()},
    **{name: (make, "mean") for name, make in TOKENS.items() if name != "PoolFormerModel"},
    **{name: (lambda name=name: two_towers(name), "own") for name in TOWERS},  # type: ignore[misc]
    **{f"timm {name}": (lambda name=name: of_timm(name), "own") for name in TIMM},  # type: ignore[misc]
    "timm test_vit, cls": (lambda: of_timm("test_vit"), "cls"),
    **{name: (make, "own") for name, make in CLASSIFIERS.items()},
    "ViTForImageClassification, mean": (CLASSIFIERS["ViTForImageClassification"], "mean"),
    "timm test_convnext, 4 classes": (lambda: of_timm("test_convnext", CLASSES), "own"),
}
PAIRS = list(zip(TEACHERS, cycle(STUDENTS), strict=False))
# One of each kind; the others take the same ways.
QUICK = ("DINOv3ViTModel", "ConvNextModel", "CLIP", "timm test_vit, cls", "ViTForImageClassification, mean")


def processor(size: int) -> Any:
    return transformers.ViTImageProcessor(size={"height": size, "width": size})


def terms(teacher: OnlineTeacher) -> dict[str, float]:
    """Every term that applies."""
    return {"kd_weight": 1.0 if teacher.num_labels else 0.0, "feature_weight": 1.0, "mixup": 0.0, "cutmix": 0.0}


@pytest.mark.parametrize(
    ("name", "student"),
    [pytest.param(*pair, id=" to ".join(pair), marks=[] if pair[0] in QUICK else pytest.mark.slow) for pair in PAIRS],
)
def test_two_steps_saved_and_read_again(name: str, student: str, make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Logits and features reach their terms, whatever the network; what is saved is a student of its own library."""
    make, features = TEACHERS[name]
    size = size_of(name.removeprefix("timm ").split(",")[0])
    teacher = OnlineTeacher(make(), processor(size), features)  # type: ignore[arg-type]
    model = ExRepForImageClassification.from_backbone(STUDENTS[student]())
    trainer = make_trainer(
        model=model,
        teacher=teacher,
        train_dataset=Rows(size),
        # Networks of timm do not name their classes.
        classes="position",
        max_steps=2,
        learning_rate=1e-3,
        **terms(teacher),
    )
    before = {key: value.clone() for key, value in teacher.model.state_dict().items()}
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    expected = {"loss_ce", "loss_crd", "loss_adversarial", "loss_critic", "loss_feature"}
    expected |= {"loss_kd"} if teacher.num_labels else set()
    assert len(logged) == 2
    for entry in logged:
        assert {key for key in entry if key.startswith("loss_")} == expected
        assert all(torch.tensor(entry[key]).isfinite() for key in expected)
    assert all(torch.equal(value, before[key]) for key, value in teacher.model.state_dict().items())
    trainer.save_model(str(tmp_path / "out"))
    pixels = Rows().images[:2]
    with torch.no_grad():
        answer = trainer.student.eval().cpu()(pixels).logits
        loaded = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
        torch.testing.assert_close(loaded(pixels).logits, answer)


def test_enough_families() -> None:
    """The pairs that are asked for, and not a list that shrank."""
    assert len(PAIRS) >= 20
    assert len(set(TEACHERS) - set(CLASSIFIERS)) >= 20 and {student for _, student in PAIRS} == set(STUDENTS)
