"""Students and teachers that can't take the images: refused when the trainer is made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from exrep_hf import OnlineTeacher
from exrep_hf.data import Preprocessing
from exrep_hf.models import load_classifier
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher import TeacherSource

MakeTrainer = Callable[..., Any]
PROCESSOR = Preprocessing(16, 16, None, "bilinear", (0.5,) * 3, (0.25,) * 3).to_image_processor()
TERMS = {"crd_weight": 0.0, "adversarial_weight": 0.0, "critic_weight": 0.0}


def fixed(**options: Any) -> Any:
    return load_classifier("timm/vit_tiny_patch16_224", num_labels=4, pretrained=False, **options)


def test_a_student_of_a_fixed_size(make_trainer: MakeTrainer) -> None:
    """Both data sets hold images of 16 pixels."""
    message = r"The student, a VisionTransformer, can't take images of 3 channels, 16 × 16 pixels .*224 × 224 pixels"
    with pytest.raises(ValueError, match=message):
        make_trainer(model=fixed(), **TERMS)
    with pytest.raises(ValueError, match=message):
        make_trainer(model=fixed(), train_dataset=None, eval_dataset=make_trainer().train_dataset, **TERMS)
    with pytest.raises(ValueError, match=message):
        make_trainer(model=fixed(), train_dataset=None, eval_dataset={"test": make_trainer().train_dataset}, **TERMS)


def test_a_teacher_of_a_fixed_size(make_trainer: MakeTrainer) -> None:
    """Items hold one set of pixels, which the teacher gets as they are."""
    message = r"The teacher, a VisionTransformer, can't answer the first training .*{'pixel_values': \(3, 16, 16\)}"
    for teacher in (fixed(), timm.create_model("test_vit", num_classes=4, dynamic_img_size=False)):
        with pytest.raises(ValueError, match=message):
            make_trainer(teacher=OnlineTeacher(teacher, PROCESSOR), classes="position", **TERMS)


@pytest.mark.parametrize("who", ["student", "teacher"])
def test_networks_of_four_channels(who: str, make_trainer: MakeTrainer, make_images: Callable[[int], Any]) -> None:
    """Images are RGB; transformers' processors know nothing of a fourth channel."""
    config = fixed().config
    config.architecture, config.model_args = "test_resnet", {"in_chans": 4}
    four = type(fixed())(config)
    given = {"model": four} if who == "student" else {"teacher": OnlineTeacher(four, PROCESSOR)}
    with pytest.raises(ValueError, match=rf"The {who}, a ResNet, can't .*to have 4 channels, but got 3 channels"):
        make_trainer(train_dataset=make_images(8), classes="position", **given, **TERMS)


def test_a_teacher_of_ones_own_is_asked_once(make_trainer: MakeTrainer) -> None:
    """Whatever it raises comes out at the start, and says of whom it is."""

    class Own(TeacherSource):
        num_labels, feature_dim, preprocessing = 4, None, (None,)
        asked = 0
        broken = False

        def __call__(self, batch: Any, *, temperature: float = 1.0) -> TeacherOutput:
            self.asked += 1
            if self.broken:
                raise KeyError("no such row")
            return TeacherOutput(logits=torch.zeros(len(batch["pixel_values"]), 4))

    own = Own()
    make_trainer(teacher=own, classes="position", **TERMS)
    assert own.asked == 1
    own.broken = True
    with pytest.raises(ValueError, match="The teacher, a Own, can't answer the first training image.*no such row"):
        make_trainer(teacher=own, classes="position", **TERMS)


def test_the_first_look_changes_no_run(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random numbers, statistics and frozen layers are those of a run without it."""
    ends = []
    for looked in (True, False):
        if not looked:
            monkeypatch.setattr("exrep_hf.training.trainer.check_first_images", lambda *args: None)
        trainer = make_trainer(max_steps=2)
        trainer.train()
        ends.append(trainer.distillation_objective.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_a_student_by_its_folder(
    make_trainer: MakeTrainer, make_network: Callable[..., nn.Module], tmp_path: Path
) -> None:
    """A trainer takes what every loader of models takes."""
    network: Any = make_network(seed=3)
    network.save_pretrained(tmp_path / "plain")
    make_trainer().student.save_pretrained(tmp_path / "exrep")
    for given in (tmp_path / "plain", str(tmp_path / "plain")):
        student = make_trainer(model=given, **TERMS).student
        assert student.input_distiller is None and not student.starts_from_nothing
        assert all(
            torch.equal(value, network.state_dict()[name]) for name, value in student.classifier.state_dict().items()
        )
    assert make_trainer(model=tmp_path / "exrep", **TERMS).student.input_distiller is not None
    with pytest.raises(ValueError, match=r"student.pth.tar' is a file; expected a Hub name, or a folder"):
        (tmp_path / "student.pth.tar").touch()
        make_trainer(model=tmp_path / "student.pth.tar", **TERMS)
