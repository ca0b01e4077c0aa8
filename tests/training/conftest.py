"""Tiny networks and data sets, and a trainer over them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from transformers import ResNetConfig, ResNetForImageClassification

from exrep_hf import DistillationArguments, DistillationTrainer, ExRepForImageClassification, OnlineTeacher
from exrep_hf.data import Preprocessing
from tests.settings import EVERY_TERM

CLASSES = 4
SIZE = 16
PREPROCESSING = Preprocessing(SIZE, SIZE, None, "bilinear", (0.5,) * 3, (0.25,) * 3)


class TensorRows(Dataset):
    """Items as a user's own data set gives them; `without` leaves keys out."""

    def __init__(self, count: int, without: tuple[str, ...] = ()) -> None:
        generator = torch.Generator().manual_seed(7)
        self.images = torch.randn(count, 3, SIZE, SIZE, generator=generator)
        self.without = without

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = {"pixel_values": self.images[index], "labels": index % CLASSES, "sample_index": index}
        return {key: value for key, value in item.items() if key not in self.without}


def network(seed: int, width: int = 8, num_labels: int = CLASSES) -> ResNetForImageClassification:
    """A ResNet in `eval()` whose batch statistics are those of random images, so that its answers differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        names = {label: str(label) for label in range(num_labels)}
        config = ResNetConfig(
            embedding_size=8, hidden_sizes=[8, width], depths=[1, 1], layer_type="basic", id2label=names
        )
        model: Any = ResNetForImageClassification(config)
        model.train()
        with torch.no_grad():
            for _ in range(3):
                model(torch.randn(8, 3, SIZE, SIZE))
            model.classifier[-1].weight.mul_(3)
        return model.eval()


@pytest.fixture
def make_network() -> Callable[..., ResNetForImageClassification]:
    return network


@pytest.fixture
def teacher() -> OnlineTeacher:
    """Wider than the student, with its own batch statistics."""
    return OnlineTeacher(network(seed=1, width=12), PREPROCESSING.to_image_processor())


@pytest.fixture
def make_student() -> Callable[[], ExRepForImageClassification]:
    def make() -> ExRepForImageClassification:
        torch.manual_seed(2)
        return ExRepForImageClassification.from_backbone(
            network(seed=3), distiller="light", distiller_channels=4, image_size=SIZE
        )

    return make


@pytest.fixture
def make_rows() -> Callable[..., TensorRows]:
    return TensorRows


def image_rows(count: int) -> datasets.Dataset:
    """Images a little larger than the models want them, with classes in turn."""
    pixels = np.random.default_rng(5).integers(0, 256, (count, SIZE + 4, SIZE + 6, 3), dtype=np.uint8)
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(num_classes=CLASSES))
    rows = {"image": [Image.fromarray(each) for each in pixels], "label": [row % CLASSES for row in range(count)]}
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.fixture
def make_images() -> Callable[[int], datasets.Dataset]:
    return image_rows


@pytest.fixture
def make_args(tmp_path: Path) -> Callable[..., DistillationArguments]:
    def make(**changes: Any) -> DistillationArguments:
        settings: dict[str, Any] = {
            "output_dir": str(tmp_path / "out"),
            "use_cpu": True,
            "report_to": "none",
            "disable_tqdm": True,
            "logging_steps": 1,
            "save_strategy": "no",
            # Of all steps: tests go on from any.
            "save_total_limit": 0,
            "max_steps": 4,
            "per_device_train_batch_size": 4,
            "per_device_eval_batch_size": 4,
            "learning_rate": 1e-2,
            "num_negatives": 8,
            "embedding_dim": 8,
            "critic_hidden_dim": 8,
        } | EVERY_TERM
        return DistillationArguments(**settings | changes)

    return make


@pytest.fixture
def make_trainer(
    make_args: Callable[..., DistillationArguments],
    make_student: Callable[[], ExRepForImageClassification],
    teacher: OnlineTeacher,
) -> Callable[..., DistillationTrainer]:
    """Builds a trainer; keywords of the trainer go to it, all others are arguments of training."""

    def make(**changes: Any) -> DistillationTrainer:
        own = {
            "model",
            "teacher",
            "train_dataset",
            "eval_dataset",
            "augmentation",
            "optimizers",
            "callbacks",
            "classes",
            "teacher_head",
            "terms",
            "prompts",
            "class_names",
        }
        given: dict[str, Any] = {
            "model": changes["model"] if "model" in changes else make_student(),
            "teacher": teacher,
            "train_dataset": TensorRows(12),
            "processing_class": PREPROCESSING.to_image_processor(),
            "augmentation": None,
        }
        given |= {name: value for name, value in changes.items() if name in own}
        settings = {name: value for name, value in changes.items() if name not in own}
        # One name for the trainer's keyword and for a setting.
        arguments = make_args(**{name.removesuffix("_of_settings"): value for name, value in settings.items()})
        return DistillationTrainer(args=arguments, **given)

    return make


@pytest.fixture
def logged() -> Callable[[DistillationTrainer, str], list[float]]:
    def values(trainer: DistillationTrainer, name: str) -> list[float]:
        return [entry[name] for entry in trainer.state.log_history if name in entry]

    return values


@pytest.fixture
def parameters() -> Callable[[DistillationTrainer], dict[str, Tensor]]:
    def copies(trainer: DistillationTrainer) -> dict[str, Tensor]:
        objective = trainer.distillation_objective
        tensors = objective.state_dict() | objective.auxiliary_state()
        return {name: tensor.clone() for name, tensor in tensors.items()}

    return copies
