"""Images reach the step as pixels and are normalised there; nothing that is trained or evaluated depends on it."""

import json
from collections.abc import Callable
from typing import Any

import datasets
import pytest
import torch
from torch.utils.data import ConcatDataset

from exrep_hf import DistillationTrainer, OnlineTeacher
from exrep_hf.data import Augmentation, DistillationDataset, Mixing, Preprocessing, ViewPolicy, ViewTransform
from exrep_hf.data.datasets import ReplayedDataset
from exrep_hf.data.group_sampler import GroupSampler
from exrep_hf.teacher import CachedTeacher
from exrep_hf.teacher.cache.manifest import Storage
from tests.training.conftest import PREPROCESSING

MakeTrainer = Callable[..., Any]
MakeImages = Callable[[int], datasets.Dataset]
OTHER = Preprocessing(20, 20, 22, "bicubic", (0.1, 0.2, 0.3), (0.9, 0.8, 0.7))


@pytest.fixture
def other_teacher(make_network: Any) -> OnlineTeacher:
    return OnlineTeacher(make_network(seed=1, width=12), OTHER.to_image_processor())


def logged(trainer: DistillationTrainer) -> list[dict[str, float]]:
    trainer.train()
    timeless = [name for entry in trainer.state.log_history for name in entry if "loss" in name]
    return [{name: entry[name] for name in timeless if name in entry} for entry in trainer.state.log_history]


@pytest.mark.parametrize("mixed", [{}, {"mixup": 1.0, "cutmix": 1.0, "mix_rounds": 2, "crd_weight": 0.0}])
def test_as_with_normalised_items(
    mixed: dict[str, Any], make_trainer: MakeTrainer, make_images: MakeImages, other_teacher: OnlineTeacher
) -> None:
    """Losses and evaluation are, to the bit, those of a data set that normalises its items itself."""
    images, crops = make_images(12), Augmentation()
    for_both = ((PREPROCESSING, (OTHER,), crops), (PREPROCESSING, (OTHER,)))
    train, test = (DistillationDataset(images, ViewTransform(*how), "image", "label") for how in for_both)
    common = {"teacher": other_teacher, "augmentation": crops, "eval_strategy": "steps", "eval_steps": 2, **mixed}
    pixels = make_trainer(train_dataset=images, eval_dataset=images, **common)
    values = make_trainer(train_dataset=train, eval_dataset=test, **common)
    for trainer, dtype in ((pixels, torch.uint8), (values, torch.float32)):
        for loader in (trainer.get_train_dataloader(), trainer.get_eval_dataloader()):
            batch = next(iter(loader))
            assert batch["pixel_values"].dtype == batch["teacher_pixel_values"].dtype == dtype
    assert logged(pixels) == logged(values)


def test_what_compute_loss_gets(make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """Whoever overrides it goes on to get what models take."""
    trainer = make_trainer(train_dataset=make_images(8), eval_dataset=make_images(8))
    seen: list[torch.dtype] = []
    compute_loss = trainer.compute_loss

    def noted(model: Any, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        seen.append(inputs["pixel_values"].dtype)
        return compute_loss(model, inputs, *args, **kwargs)

    trainer.compute_loss = noted
    trainer.train()
    assert seen == [torch.float32] * 4


def test_pixels_for_other_models(
    make_trainer: MakeTrainer, make_images: MakeImages, other_teacher: OnlineTeacher
) -> None:
    """What another trainer prepared is normalised by that one alone; here it would be as this student wants it."""
    images = make_images(8)
    prepared = make_trainer(train_dataset=images, eval_dataset=images, teacher=other_teacher).eval_dataset
    with pytest.raises(ValueError, match=r"`pixel_values` of row 0 of `train_dataset` is of torch.uint8; expected"):
        make_trainer(train_dataset=prepared)
    assert make_trainer(train_dataset=prepared, teacher=other_teacher).train_dataset.dataset is prepared
    raw = DistillationDataset(images, ViewTransform(OTHER, normalised=False), "image", "label")
    with pytest.raises(ValueError, match=r"is of torch.uint8; expected floating-point pixels, normalised with mean"):
        make_trainer(train_dataset=ConcatDataset([raw, raw]))


def test_groups_are_drawn_in_training(
    make_trainer: MakeTrainer, make_images: MakeImages, teacher: OnlineTeacher, tmp_path: Any
) -> None:
    """Views that are mixed come in groups, those of stored answers too; all others as the Trainer draws them."""
    mixed: dict[str, Any] = {"mixup": 1.0, "crd_weight": 0.0, "augmentation": None, "max_steps": 2}
    images = make_images(40)
    views = ViewPolicy(2, 42, None, Mixing(mixup=1.0))
    stored = CachedTeacher.write(teacher, images, tmp_path / "a", views, Storage("float32"))
    for grouped, settings in (
        (True, {"views": 2, **mixed}),
        (True, {"teacher": stored, **mixed}),
        (False, mixed),
        (False, {"views": 2}),
    ):
        trainer = make_trainer(train_dataset=images, **settings)
        assert isinstance(trainer.get_train_dataloader().batch_sampler.sampler, GroupSampler) is grouped
    sequential = make_trainer(train_dataset=images, train_sampling_strategy="sequential", **mixed | {"views": 2})
    assert not isinstance(sequential.get_train_dataloader().batch_sampler.sampler, GroupSampler)


def test_resumed_within_an_epoch_of_groups(make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """The order of groups follows from seed and epoch: a resumed run goes on with the images that are left."""
    settings: dict[str, Any] = {"train_dataset": make_images(40), "views": 2, "mixup": 1.0, "crd_weight": 0.0}
    settings |= {"augmentation": Augmentation(), "max_steps": 23, "save_strategy": "steps", "save_steps": 13}
    whole = make_trainer(**settings)
    rows: list[Any] = []
    ask = whole.ask_teacher

    def noted(batch: dict[str, torch.Tensor], training: bool) -> Any:
        rows.extend(batch["sample_index"].tolist())
        return ask(batch, training)

    whole.ask_teacher = noted
    expected = logged(whole)
    assert sorted(rows[-92:-52]) == sorted(rows[-52:-12]) == list(range(40)) and rows[-92:-52] != rows[-52:-12]
    resumed = make_trainer(**settings)
    resumed.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-13")
    losses = [entry["loss"] for entry in resumed.state.log_history if "loss" in entry]
    assert losses == [entry["loss"] for entry in expected if "loss" in entry]
    for name, value in resumed.student.state_dict().items():
        assert torch.equal(value, whole.student.state_dict()[name])


def test_answers_of_older_releases(
    make_trainer: MakeTrainer, make_images: MakeImages, teacher: OnlineTeacher, tmp_path: Any
) -> None:
    """They are for mixtures of any two normalised images, unrounded, and these are what is trained on."""
    images, mixing, crops = make_images(40), Mixing(mixup=1.0), Augmentation()
    views = ViewPolicy(2, 42, crops, mixing, rule=1)
    stored = CachedTeacher.write(teacher, images, tmp_path / "a", views, Storage("float32", batch_size=4))
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert "rule" not in manifest["views"] and CachedTeacher(tmp_path / "a").views == views
    trainer = make_trainer(
        train_dataset=images, teacher=stored, augmentation=crops, mixup=1.0, crd_weight=0.0, max_steps=3
    )
    items = DistillationDataset(images, ViewTransform(PREPROCESSING, (), crops), "image", "label")
    expected = ReplayedDataset(items, views, 4)
    for row in (0, 7, 39):
        item = trainer.train_dataset[row]
        assert item["pixel_values"].dtype == torch.float32
        assert torch.equal(item["pixel_values"], expected[row]["pixel_values"])
    assert not isinstance(trainer.get_train_dataloader().batch_sampler.sampler, GroupSampler)
    # What is stored is what the teacher says to these very pixels.
    batch = trainer.batch_of([trainer.train_dataset[row] for row in range(4)])
    torch.testing.assert_close(trainer.ask_teacher(batch, training=True).logits, teacher(batch).logits)
    trainer.train()


def stacked_floats(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """A collator as users write it, which turns pixels into numbers."""
    batch = {"pixel_values": torch.stack([item["pixel_values"].float() for item in items])}
    for name in ("labels", "sample_index", "view"):
        if name in items[0]:
            batch[name] = torch.stack([torch.as_tensor(item[name]) for item in items])
    return batch


@pytest.mark.parametrize("mixed", [{}, {"views": 2}, {"views": 2, "mixup": 1.0, "crd_weight": 0.0}])
def test_a_collator_of_the_users_gets_values(
    mixed: dict[str, Any],
    make_trainer: MakeTrainer,
    make_student: Callable[[], Any],
    make_images: MakeImages,
    teacher: OnlineTeacher,
) -> None:
    """Items are as models take them: pixels that became numbers on the way would pass as normalised."""
    common: dict[str, Any] = {"train_dataset": make_images(12), "eval_dataset": make_images(8)}
    common |= {"augmentation": Augmentation(), **mixed}
    usual = make_trainer(eval_strategy="steps", eval_steps=2, **common)
    theirs = DistillationTrainer(
        make_student(),
        teacher,
        usual.args,
        common["train_dataset"],
        common["eval_dataset"],
        common["augmentation"],
        PREPROCESSING.to_image_processor(),
        stacked_floats,
    )
    assert logged(theirs) == logged(usual)
