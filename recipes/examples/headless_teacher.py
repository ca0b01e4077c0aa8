"""A teacher without a classifier: a probe on the labels that you have, or none, and its features alone.

    python recipes/examples/headless_teacher.py images/ timm/vit_small_patch14_dinov2.lvd142m timm/resnet18.a1_in1k out

Both ways from the same student. With `probe` the teacher gets a linear classifier, fitted on the labelled images; with
`none` the student follows its features, and learns its own classifier from the labels.
"""

import sys
from typing import Literal

import torch

from exrep_hf import DistillationArguments, DistillationTrainer, ExRepForImageClassification
from exrep_hf.data import load_images


def main(
    folder: str, teacher: str, student: str, output_dir: str, max_steps: int = -1, use_cpu: bool = False
) -> dict[str, float]:
    """Train two students, and return the top-1 of each way.

    Args:
        folder: of images, `train/` and `test/` with a sub-folder a class.
        teacher: Hub name, `timm/…`, or folder.
        student: the same.
        output_dir: a student a way is saved below it.
        max_steps: where not given, as long as the preset takes.
        use_cpu: even where there is a GPU.
    """
    images = load_images(folder)
    names = images["train"].features["label"].names
    reached: dict[str, float] = {}
    ways: dict[Literal["probe", "none"], float] = {"probe": 0.0, "none": 1.0}
    for head, ce_weight in ways.items():
        torch.manual_seed(0)
        args = DistillationArguments(
            f"{output_dir}/{head}",
            max_steps=max_steps,
            ce_weight=ce_weight,
            kd_weight=0.0 if head == "none" else 1.0,
            use_cpu=use_cpu,
            report_to="none",
        )
        trainer = DistillationTrainer(
            ExRepForImageClassification.from_backbone(student, num_labels=len(names), id2label=dict(enumerate(names))),
            teacher=teacher,
            args=args,
            train_dataset=images["train"],
            eval_dataset=images["test"],
            teacher_head=head,
        )
        trainer.train()
        reached[head] = trainer.evaluate()["eval_accuracy"]
        trainer.save_model()
    print({head: round(accuracy, 3) for head, accuracy in reached.items()})
    return reached


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4])
