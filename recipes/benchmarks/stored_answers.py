"""A step with stored answers over the same step with the answers in memory.

    python recipes/benchmarks/stored_answers.py                    # a minute or two on a core, 0.2 GB of disk
    python recipes/benchmarks/stored_answers.py --device cuda

The answers of a teacher with 1 000 classes to 100 352 images are stored in half precision, in a temporary folder
(201 MB; where `TMPDIR` is). Both students have the same images, which are in memory, the same loader, and rows in a
random order; one finds its answers on the disk, the other indexes a tensor on the device. A timed run is one walk
through a loader of 8 batches of 64, whose workers stay, so that all that is read in it is counted to it.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from paired import Row, compare, parser, report
from random_images import RandomImages
from torch import Tensor, nn
from torch.utils.data import RandomSampler, Sampler

from exrep_hf import CachedTeacher, DistillationArguments, DistillationTrainer, ExRepForImageClassification
from exrep_hf.data import Preprocessing, ViewPolicy
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher import TeacherSource
from exrep_hf.teacher.cache import Storage

TARGET = 1.03
BATCH, STEPS = 64, 8


class FromMemory(TeacherSource):
    """Answers that are on the device; asked for a set of pixels, it writes them to a disk."""

    num_labels: int | None = None
    feature_dim: int | None = None
    preprocessing: tuple[Preprocessing | None, ...] = ()

    def __init__(self, logits: Tensor, is_asked_by_row: bool) -> None:
        self.logits = logits
        self.num_labels = logits.shape[1]
        self._views = ViewPolicy() if is_asked_by_row else None
        self.preprocessing = () if is_asked_by_row else (None,)

    @property
    def views(self) -> ViewPolicy | None:
        """One, as stored answers have it."""
        return self._views

    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        """Take the rows of a batch."""
        return TeacherOutput(logits=self.logits[batch["sample_index"].to(self.logits.device)].float())


class ShortWalks(DistillationTrainer):
    """A trainer whose loader walks through a few batches of random rows."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        return RandomSampler(self.train_dataset, num_samples=STEPS * self.args.train_batch_size)  # type: ignore[arg-type]


class Walk:
    """One walk through the loader, with a step for each batch.

    Args:
        teacher: whose answers they are.
        images: the rows.
        student: a network of timm.
        workers: of the loader.
        device: where it trains.
        folder: for what a trainer writes.
    """

    def __init__(
        self,
        teacher: TeacherSource,
        images: RandomImages,
        student: str,
        workers: int,
        device: str,
        folder: Path,
    ) -> None:
        torch.manual_seed(0)
        network = timm.create_model(student, num_classes=teacher.num_labels)
        settings = DistillationArguments(
            output_dir=str(folder / "out"),
            use_cpu=device == "cpu",
            report_to="none",
            per_device_train_batch_size=BATCH,
            dataloader_num_workers=workers,
            dataloader_persistent_workers=workers > 0,
            ce_weight=0.0,
            kd_weight=1.0,
            feature_weight=0.0,
            mixup=0.0,
            cutmix=0.0,
        )
        model = ExRepForImageClassification.from_backbone(network, image_size=images.images.shape[-1])
        self.trainer = ShortWalks(model, teacher, settings, images, augmentation=None, classes="position")
        self.loader = self.trainer.get_train_dataloader()
        self.trainer.create_optimizer()
        self.model: nn.Module = self.trainer.accelerator.prepare(self.trainer.model)

    def __call__(self) -> None:
        """Walk."""
        assert self.trainer.optimizer is not None
        for batch in self.loader:
            self.trainer.training_step(self.model, batch)
            self.trainer.optimizer.step()
            self.model.zero_grad()


def measured(args: argparse.Namespace, folder: Path) -> list[Row]:
    """Store answers, and time steps with them."""
    rows, classes, size = (512, 50, 32) if args.smoke else (100_352, 1000, 64)
    images, logits = RandomImages(rows, size), torch.randn(rows, classes).half()
    storage = Storage(batch_size=1024)
    stored = CachedTeacher.write(FromMemory(logits, False), images, folder / "answers", storage=storage)
    megabytes = sum(path.stat().st_size for path in (folder / "answers").rglob("*.safetensors")) / 1e6
    print(f"{megabytes:.0f} MB of stored answers")
    in_memory = FromMemory(logits.to(args.device), True)
    found = []
    for workers in (2, 0):
        one, other = (
            Walk(teacher, images, args.student, workers, args.device, folder) for teacher in (stored, in_memory)
        )
        ratio = compare(one, other, args.pairs, warm_up=1)
        what = f"step with stored answers over answers in memory, {workers} workers"
        found.append(Row(6, what, ratio, TARGET, note=f"{args.student}@{size}, B {BATCH}, {rows} x {classes} float16"))
    return found


def main(argv: list[str]) -> None:
    """Measure both rows."""
    described = parser(__doc__)
    described.add_argument("--student", default="test_efficientnet", help="A network of timm.")
    args = described.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        report(measured(args, Path(folder)), "stored_answers", args)


if __name__ == "__main__":
    main(sys.argv[1:])
