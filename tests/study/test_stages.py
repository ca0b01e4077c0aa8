"""Teachers and students as a study loads them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from exrep_hf.arguments import DataArguments, ModelArguments
from exrep_hf.data.partition import DataPartition, load_partition
from exrep_hf.models import load_classifier
from exrep_hf.study.stages import load_student, load_teacher

FIXED = "timm/vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def digits() -> DataPartition:
    return load_partition(DataArguments("digits"))


def arguments(**settings: Any) -> ModelArguments:
    return ModelArguments(**{"student_from_scratch": True, "student_steps": 1} | settings)


def test_a_network_of_a_fixed_size_at_another(digits: DataPartition) -> None:
    """Its assertion would come in the first step, after the teacher was trained for hours."""
    with pytest.raises(ValueError, match=rf"The model '{FIXED}' can't take images of 3 .*64 × 64.*`image_size`"):
        load_student(arguments(student=FIXED, image_size=64), digits)
    teacher = arguments(teacher=FIXED, image_size=64, teacher_from_scratch=True, teacher_steps=1)
    with pytest.raises(ValueError, match=rf"The model '{FIXED}' can't take"):
        load_teacher(teacher, digits, None)
    assert load_student(arguments(student=FIXED, image_size=224), digits).preprocessing.height == 224
    assert load_student(arguments(student="timm/test_resnet", image_size=32), digits).preprocessing.height == 32


def test_half_precision_and_revisions(digits: DataPartition, tmp_path: Path) -> None:
    """Both are trained, or measured beside what is trained; a folder has no revisions."""
    model: Any = load_classifier("timm/test_resnet", id2label=dict(enumerate(digits.names or [])), pretrained=False)
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    given = {"student_from_scratch": False, "student_steps": 0}
    both = arguments(student=str(tmp_path), teacher=str(tmp_path), **given)
    teacher = load_teacher(both, digits, None)
    assert teacher is not None
    assert load_student(both, digits).classifier.dtype == teacher.classifier.dtype == torch.float32
    for who, load in (("student", load_student), ("teacher", load_teacher)):
        asked = arguments(**{"student": str(tmp_path), "teacher": str(tmp_path), f"{who}_revision": "main"}, **given)
        with pytest.raises(ValueError, match="The revision 'main' was asked for, and .* is a folder"):
            load(asked, digits, None)
