"""Streams of images: made here, mixed, resumed, and refused where they can't be used."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from datasets import load_dataset
from torch.utils.data import DataLoader

from exrep_hf import DistillationTrainer
from exrep_hf.data import Augmentation, collate_distillation
from exrep_hf.data.stream import is_image_stream
from tests.data.test_shards import write_tar

MakeTrainer = Callable[..., DistillationTrainer]
MakeImages = Callable[[int], datasets.Dataset]
CROPS = Augmentation(scale=(0.3, 1.0))
SETTINGS: dict[str, Any] = {"crd_weight": 0.0, "feature_weight": 1.0, "augmentation": CROPS}


def test_items_are_those_of_rows(make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """Without augmentation a stream trains as its rows do, walked through in their order."""
    images, settings = make_images(12), {"crd_weight": 0.0, "train_sampling_strategy": "sequential", "max_steps": 5}
    rows = make_trainer(train_dataset=images, **settings)
    stream = make_trainer(train_dataset=images.to_iterable_dataset(), **settings)
    for trainer in (rows, stream):
        trainer.train()
    losses = [[entry["loss"] for entry in each.state.log_history if "loss" in entry] for each in (rows, stream)]
    assert losses[0] == losses[1] and len(losses[0]) == 5


def test_tar_shards_with_queue_and_workers(make_trainer: MakeTrainer, tmp_path: Path, logged: Any) -> None:
    """WebDataset's archives, read by `datasets` in two workers, under CRD with a queue, and mixed."""
    for number in range(2):
        write_tar(tmp_path / f"{number}.tar", range(8 * number, 8 * number + 8))
    files = [str(tmp_path / f"{number}.tar") for number in range(2)]
    stream = load_dataset("webdataset", data_files={"train": files}, split="train", streaming=True)
    assert is_image_stream(stream)
    settings: dict[str, Any] = {"queue_length": 16, "dataloader_num_workers": 2, "max_steps": 6}
    trainer = make_trainer(train_dataset=stream, augmentation=CROPS, **settings)
    trainer.train()
    assert len(logged(trainer, "loss_crd")) == len(logged(trainer, "loss_ce")) == 6
    mixed = {"mixup": 1.0, "cutmix": 1.0, "max_steps": 3}
    trainer = make_trainer(train_dataset=stream, **SETTINGS | mixed)
    trainer.train()
    assert len(logged(trainer, "loss_kd")) == 3


def test_every_walk_and_worker_has_its_own_crops(make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """The same again in the same walk, others in the next; the generators of the caller stay where they were."""
    stream = make_images(8).to_iterable_dataset(num_shards=2)
    dataset: Any = make_trainer(train_dataset=stream, **SETTINGS).train_dataset

    def batches(workers: int) -> list[torch.Tensor]:
        loader = DataLoader(dataset, 4, num_workers=workers, collate_fn=collate_distillation)
        return [batch["pixel_values"] for batch in islice(loader, 4)]

    torch.manual_seed(0)
    before = torch.get_rng_state()
    items = [dict(item) for item in islice(dataset, 10)]
    assert torch.equal(before, torch.get_rng_state()) and [item["labels"] for item in items] == [0, 1, 2, 3] * 2 + [
        0,
        1,
    ]
    assert torch.equal(items[0]["pixel_values"], dataset.first()["pixel_values"])
    # Two workers, and three of which one has no file: a walk of each is its own file.
    for workers in (0, 2, 3):
        first, again = batches(workers), batches(workers)
        assert all(map(torch.equal, first, again))
        assert not torch.equal(first[0], first[2]) and not torch.equal(first[0], first[1])


def test_workers_walk_by_themselves(make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """Datasets counts walks in memory that workers share: of many at once one would take another's count."""
    stream = make_images(8).to_iterable_dataset(num_shards=4).shuffle(seed=1, buffer_size=2)
    dataset: Any = make_trainer(train_dataset=stream, **SETTINGS).train_dataset
    first, again = (
        torch.cat(
            [
                batch["labels"]
                for batch in islice(DataLoader(dataset, 1, num_workers=4, collate_fn=collate_distillation), 1200)
            ]
        )
        for _ in range(2)
    )
    assert torch.equal(first, again)


def test_resumed_to_the_bit(
    make_trainer: MakeTrainer, make_images: MakeImages, parameters: Any, tmp_path: Path
) -> None:
    """In the second walk through a stream that is shuffled anew in each."""
    settings = SETTINGS | {"mixup": 1.0, "max_steps": 8, "save_strategy": "steps", "save_steps": 4}

    def trainer() -> DistillationTrainer:
        stream = make_images(12).to_iterable_dataset(num_shards=3).shuffle(seed=1, buffer_size=5)
        return make_trainer(train_dataset=stream, output_dir=str(tmp_path / "out"), **settings)

    whole = trainer()
    whole.train()
    resumed = trainer()
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))
    for name, value in parameters(whole).items():
        assert torch.equal(parameters(resumed)[name], value), name


def test_faults(make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """What a stream can't do is said before the first step; a bad row by its number."""
    images = make_images(8)
    stream = images.to_iterable_dataset()
    for changes, message in (
        ({"max_steps": -1, "crd_weight": 0.0}, "max_steps"),
        ({}, "number of training images is unknown.*`queue_length`"),
        ({"views": 2, "crd_weight": 0.0}, "only yields its items one by one"),
        (
            {"teacher_head": "probe", "crd_weight": 0.0},
            "needs a classifier that is fitted on labelled training images",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            make_trainer(train_dataset=stream, **changes)
    with pytest.raises(ValueError, match="is a stream without a label column"):
        make_trainer(train_dataset=stream.remove_columns("label"), crd_weight=0.0)
    make_trainer(train_dataset=stream.remove_columns("label"), crd_weight=0.0, ce_weight=0.0)
    with pytest.raises(ValueError, match="`train_dataset` is a stream without rows"):
        make_trainer(train_dataset=stream.skip(8), crd_weight=0.0)
    other = images.cast_column("label", datasets.Value("int64")).map(lambda row: {"label": row["label"] + 3})
    with pytest.raises(
        ValueError, match="label of image number 1 of the stream.*, is 4; expected an integer from 0 to 3"
    ):
        make_trainer(train_dataset=other.to_iterable_dataset(), crd_weight=0.0).train()
    broken = images.cast_column("image", datasets.Image(decode=False)).to_list()
    broken[5]["image"] = {"bytes": np.arange(50, dtype=np.uint8).tobytes(), "path": "b.png"}
    stored = datasets.Dataset.from_list(broken, features=images.features).to_iterable_dataset()
    with pytest.raises(
        ValueError,
        match=r"image number 5 of the stream \(b.png\) cannot be decoded: cannot identify image file. Replace",
    ):
        make_trainer(train_dataset=stored, crd_weight=0.0).train()
