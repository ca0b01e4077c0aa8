"""Training under several teachers of different sizes and normalisations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from exrep_hf import CachedTeacher, DistillationTrainer, OnlineTeacher, TeacherEnsemble
from exrep_hf.data import Augmentation, Mixing, Preprocessing, ViewPolicy
from exrep_hf.teacher import TeacherSource
from exrep_hf.teacher.cache import Storage
from tests.training.conftest import PREPROCESSING

MakeTrainer = Callable[..., DistillationTrainer]
LARGER = Preprocessing(20, 20, None, "bilinear", (0.4,) * 3, (0.2,) * 3)
LARGEST = Preprocessing(24, 24, None, "bicubic", (0.3,) * 3, (0.3,) * 3)
MIXED: dict[str, Any] = {"mixup": 1.0, "cutmix": 1.0, "mix_rounds": 1, "crd_weight": 0.0}


@pytest.fixture
def members(make_network: Any) -> list[OnlineTeacher]:
    """One wants the student's pixels, two want their own."""
    given = ((1, 12, PREPROCESSING), (5, 8, LARGER), (6, 8, LARGEST))
    return [OnlineTeacher(make_network(seed, width), wanted.to_image_processor()) for seed, width, wanted in given]


def trained(trainer: DistillationTrainer) -> list[dict[str, float]]:
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    return [{name: value for name, value in entry.items() if name.startswith("loss")} for entry in logs]


def test_one_step_by_hand(
    make_trainer: MakeTrainer, make_images: Callable[[int], datasets.Dataset], members: list[OnlineTeacher]
) -> None:
    """The loss under all teachers, on the same mixture of the same crops, is that of a plain computation."""
    weights = {
        "ce_weight": 0.0,
        "kd_weight": 1.0,
        "feature_weight": 0.0,
        "adversarial_weight": 0.0,
        "temperature": 3.0,
    }
    augmentation = Augmentation(scale=(0.3, 1.0))
    trainer = make_trainer(
        teacher=TeacherEnsemble(members), train_dataset=make_images(8), augmentation=augmentation, **MIXED | weights
    )
    batch = trainer.batch_of([trainer.train_dataset[row] for row in range(4)])  # type: ignore[index]
    sizes = {name: value.shape[-1] for name, value in batch.items() if "pixel" in name}
    assert sizes == {"pixel_values": 16, "teacher_pixel_values_1": 20, "teacher_pixel_values_2": 24}
    # One crop: the sets differ in size and normalisation alone.
    plain = [
        torch.nn.functional.interpolate(batch[name] * wanted.std[0] + wanted.mean[0], 8, mode="area")
        for name, wanted in zip(sizes, (PREPROCESSING, LARGER, LARGEST), strict=True)
    ]
    assert (plain[1] - plain[0]).abs().mean() < 0.1 and (plain[2] - plain[0]).abs().mean() < 0.1
    assert (plain[0] - plain[0].flip(0)).abs().mean() > 0.1
    trainer.model.train()  # type: ignore[union-attr]
    torch.manual_seed(5)
    mixed = trainer._mixing(batch, 4)
    assert all(not torch.equal(mixed[name], batch[name]) for name in sizes)
    torch.manual_seed(5)
    loss = trainer.compute_loss(trainer.model, dict(batch))  # type: ignore[arg-type]
    with torch.no_grad():
        student = (trainer.student(mixed["pixel_values"]).logits / 3).log_softmax(-1)
        answers = [each.model(mixed[name]).logits for each, name in zip(members, sizes, strict=True)]
        taught = (torch.stack(answers).mean(0) / 3).softmax(-1)
    torch.testing.assert_close(loss.detach(), 9 * (taught * (taught.log() - student)).sum(1).mean())


@pytest.mark.parametrize("args", [{"mixup": 0.0, "cutmix": 0.0}, MIXED], ids=["all terms", "mixed images"])
def test_stored_answers_train_alike(
    args: dict[str, Any],
    make_trainer: MakeTrainer,
    make_images: Callable[[int], datasets.Dataset],
    members: list[OnlineTeacher],
    tmp_path: Path,
) -> None:
    """Asked at each step, stored together, or stored one by one: the same losses, but for last bits."""
    images, mixing = make_images(13), Mixing(args["mixup"], args["cutmix"])
    ensemble, storage = TeacherEnsemble(members, [1, 2, 1]), Storage("float32", rows_per_shard=8, batch_size=4)

    def run(teacher: TeacherSource, augmentation: Augmentation, **changes: Any) -> list[dict[str, float]]:
        given: dict[str, Any] = {"train_dataset": images, "augmentation": augmentation, "max_steps": 6}
        return trained(make_trainer(teacher=teacher, **given, **args, **changes))

    def nearly(losses: list[dict[str, float]]) -> list[Any]:
        return [pytest.approx(each, rel=1e-4) for each in losses]

    coloured = Augmentation(scale=(0.3, 1.0), auto_augment="rand-m5-n1")
    views = ViewPolicy(2, 42, coloured, mixing)
    together = CachedTeacher.write(ensemble, images, tmp_path / "together", views, storage)
    assert run(together, coloured) == nearly(run(ensemble, coloured, views=2))
    plain = Augmentation(scale=(0.3, 1.0))
    views = ViewPolicy(2, 42, plain, mixing)
    each = [
        CachedTeacher.write(one, images, tmp_path / str(place), views, storage) for place, one in enumerate(members)
    ]
    assert run(TeacherEnsemble(each, [1, 2, 1]), plain) == nearly(run(ensemble, plain, views=2))


def test_evaluation(make_trainer: MakeTrainer, make_images: Any, members: list[OnlineTeacher]) -> None:
    """All teachers are asked about evaluation images too."""
    images = make_images(6)
    trainer = make_trainer(teacher=TeacherEnsemble(members), train_dataset=images, eval_dataset=images)
    assert 0 <= trainer.evaluate()["eval_teacher_agreement"] <= 1
    with pytest.raises(ValueError, match=r"How the teacher, a ResNet\w+, ResNet\w+, wants its images is not known"):
        make_trainer(teacher=TeacherEnsemble([members[0], OnlineTeacher(members[1].model)]), train_dataset=images)


def test_tensors_under_other_names(make_trainer: MakeTrainer, make_rows: Any, members: list[OnlineTeacher]) -> None:
    """Found before the first step: one set of pixels for two teachers would be nobody's."""
    rows = make_rows(8)

    class WithOneSet(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, index: int) -> dict[str, Any]:
            return rows[index] | {"teacher_pixel_values": rows.images[index]}

    with pytest.raises(ValueError, match=r"\['teacher_pixel_values'\], and the teacher wants 3 sets of pixels"):
        make_trainer(teacher=TeacherEnsemble(members), train_dataset=WithOneSet())
    make_trainer(teacher=members[0], train_dataset=WithOneSet())


def test_a_list_of_teachers(make_trainer: MakeTrainer, make_images: Any, members: list[OnlineTeacher]) -> None:
    trainer = make_trainer(teacher=members, train_dataset=make_images(8), **MIXED)
    assert isinstance(trainer.teacher, TeacherEnsemble) and list(trainer.teacher.teachers) == members
    assert make_trainer(teacher=members[:1], train_dataset=make_images(8), **MIXED).teacher is members[0]
    with pytest.raises(ValueError, match="`teachers` holds 0 teachers of 0 entries"):
        make_trainer(teacher=[], train_dataset=make_images(8), **MIXED)
