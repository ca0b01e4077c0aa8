"""What is the same for all tools: images, teacher, starting student, and how their students are judged."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset
from safetensors.torch import load_file

from exrep_hf import DistillationArguments
from exrep_hf.arguments import DataArguments, ModelArguments
from exrep_hf.data import Preprocessing
from exrep_hf.data.partition import DataPartition, load_partition
from exrep_hf.evaluation.predict import predict
from exrep_hf.files import replacing
from exrep_hf.models import load_classifier
from exrep_hf.study.stages import starting_student


@dataclass(frozen=True)
class Settings:
    """Sizes of the task.

    Attributes:
        teacher: name of the teacher.
        student: name of the student.
        images: public ones.
        steps: of 128 images.
        student_steps: with labels, before.
        test_images: that students are judged on; None: all.
        smoke: whether all of it is a toy.
    """

    teacher: str | None
    student: str | None
    images: int = 500
    steps: int = 1500
    student_steps: int = 300
    test_images: int | None = None
    smoke: bool = False

    def __post_init__(self) -> None:
        if self.smoke:
            for name, value in {"images": 130, "steps": 4, "student_steps": 3, "test_images": 200}.items():
                object.__setattr__(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        """Return what a record says of its task."""
        return asdict(self)


@dataclass(frozen=True)
class TaskOfSeed:
    """What tools get under a seed.

    Attributes:
        seed: which draws the public images and the starting weights.
        images: folder of PNG files, in a folder a class, named by its number.
        teacher: folder of the teacher.
        student: folder of the starting student.
    """

    seed: int
    images: Path
    teacher: Path
    student: Path

    @classmethod
    def prepared(
        cls, seed: int, teacher: Path, student: Path, data: DataPartition, work: Path, settings: Settings
    ) -> "TaskOfSeed":
        """Write what is not there yet."""
        folder = work / f"task-{seed}"
        task = cls(seed, folder / "images", teacher.absolute(), folder / "student")
        public, _ = data.parts(seed)
        if not task.images.is_dir():
            write_images(public, task.images)
        if not task.student.is_dir():
            model = ModelArguments(
                student=str(student), student_from_scratch=True, student_steps=settings.student_steps
            )
            model.pretraining_learning_rate, model.pretraining_weight_decay = 4e-3, 0.05
            quiet = DistillationArguments(
                output_dir=str(folder), seed=seed, report_to="none", disable_tqdm=True, save_strategy="no"
            )
            starting_student(data, seed, quiet, model, task.student)
        return task


def write_images(images: Dataset, folder: Path) -> None:
    """Write images as PNG files, whole or not at all: `train/LABEL/ROW.png`."""
    with replacing(folder) as temporary:
        for row, (image, label) in enumerate(zip(images["image"], images["label"], strict=True)):
            path = temporary / "train" / str(label) / f"{row:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)


def load_data(folder: str, settings: Settings) -> DataPartition:
    """Load Fashion-MNIST, and keep as many test images as are asked for."""
    data = load_partition(DataArguments(dataset="fashion_mnist", data_dir=folder, num_public=settings.images))
    if settings.test_images is not None:
        data = replace(data, test=data.test.select(range(min(settings.test_images, len(data.test)))))
    return data


def accuracy_of(start: Path, weights: Path, data: DataPartition) -> float:
    """Return top-1 on the test images, in [0, 1], of weights for the network that training started from.

    Raises:
        RuntimeError: if they are not all of the network's, under its names.
    """
    model = load_classifier(str(start))
    model.load_state_dict(load_file(weights))
    logits, labels = predict(model, Preprocessing.from_model(model), data.test, ("image", "label"), 500)
    return (logits.argmax(-1) == labels).double().mean().item()
