r"""A trained Input Distiller as an augmentation for other data and another student, against doing without it.

    accelerate launch recipes/train.py --config recipes/fashion_mnist.yaml --controls none --num_seeds 1 \
        --distiller light --distiller_channels 7 --distiller_share 0.5 --output_dir out/removable
    python recipes/benchmarks/distiller_transfer.py --distiller out/removable/with_distiller

Trains a small network with labels on a few of scikit-learn's digits, with `DistillerAugment` at several probabilities
(0: without), each from the same weights and with the same steps, and evaluates on the test digits. Writes JSON.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import set_seed

from exrep_hf import DistillationArguments, DistillationTrainer, DistillerAugment, ExRepForImageClassification
from exrep_hf.command_line import run_command
from exrep_hf.data import Preprocessing, load_digits, split_public_private
from exrep_hf.evaluation import mean_and_deviation
from exrep_hf.files import write_json
from exrep_hf.models import load_classifier, set_input_size
from exrep_hf.report import device_name, software_versions
from exrep_hf.report.table import align

SIZE = 32


class Augmented(torch.utils.data.Dataset):
    """Digits as tensors, each varied by the distiller before it is normalised."""

    def __init__(self, images: Dataset, preprocessing: Preprocessing, augment: DistillerAugment) -> None:
        self.images, self.preprocessing, self.augment = images, preprocessing, augment

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One row: image as the student wants it, and label."""
        row = self.images[index]
        return {"pixel_values": self.preprocessing.evaluation(self.augment(row["image"])), "labels": row["label"]}


def accuracy(distiller: ExRepForImageClassification, p: float, seed: int, args: argparse.Namespace) -> float:
    """Top-1 of one student on the test digits."""
    digits = load_digits()
    public, _ = split_public_private(digits["train"], len(digits["train"]) - args.num_public, seed, "label")
    set_seed(seed)
    names = dict(enumerate(digits["train"].features["label"].names))
    student = load_classifier(args.student, id2label=names, pretrained=False)
    set_input_size(student.config, SIZE)
    preprocessing = Preprocessing.from_model(student)
    trainer = DistillationTrainer(
        student,
        args=DistillationArguments(
            output_dir=str(args.output.parent),
            seed=seed,
            max_steps=args.steps,
            learning_rate=0.003,
            lr_scheduler_type="cosine",
            per_device_train_batch_size=50,
            per_device_eval_batch_size=450,
            ce_weight=1,
            kd_weight=0,
            crd_weight=0,
            adversarial_weight=0,
            mixup=0,
            cutmix=0,
            freeze_batch_norm=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=args.steps,
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=Augmented(public, preprocessing, DistillerAugment(distiller, p)),
        eval_dataset=digits["test"],
        processing_class=preprocessing.to_image_processor(),
    )
    trainer.train()
    return trainer.evaluate()["eval_accuracy"]


def main(argv: Sequence[str] | None = None) -> None:
    """Train all students, then print and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--distiller", required=True, help="Student with a trained distiller: folder or Hub name.")
    parser.add_argument("--student", default="timm/test_efficientnet", help="Architecture of the other student.")
    parser.add_argument("--p", type=float, nargs="+", default=[0.0, 0.01, 0.1, 0.5])
    parser.add_argument("--num_public", type=int, default=100)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--num_seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("recipes/results/distiller_transfer.json"))
    args = parser.parse_args(argv)
    distiller = ExRepForImageClassification.from_pretrained(args.distiller)
    values = {p: [accuracy(distiller, p, seed, args) for seed in range(args.num_seeds)] for p in args.p}
    content = {
        "data": {"name": "digits", "num_public": args.num_public, "evaluated_on": "test"},
        "student": args.student,
        "steps": args.steps,
        "device": device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "versions": software_versions(),
        "accuracy": {str(p): {**(mean_and_deviation(each) or {}), "seeds": each} for p, each in values.items()},
    }
    write_json(content, args.output)
    rows = [("p", "top-1 %")]
    for p, summary in content["accuracy"].items():
        rows.append((p, f"{100 * summary['mean']:.1f} ± {100 * (summary['std'] or 0):.1f}"))
    print(align(rows))


if __name__ == "__main__":
    run_command(main)
