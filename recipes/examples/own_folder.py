"""Your own folder of images: train, look at the figures, keep a model that anybody can load.

    python recipes/examples/own_folder.py my_images/ timm/convnext_tiny.in12k_ft_in1k timm/resnet18.a1_in1k out/mine

The folder has a sub-folder a class, or `train/` and `test/` of them. The teacher may know other classes: it gets a
linear probe on yours; the student gets a new head.
"""

import sys

from transformers import pipeline

from exrep_hf import DistillationArguments, DistillationTrainer, ExRepForImageClassification
from exrep_hf.data import load_images


def main(folder: str, teacher: str, student: str, output_dir: str, max_steps: int = -1, use_cpu: bool = False) -> None:
    """Train the student under the teacher.

    Args:
        folder: of the images.
        teacher: Hub name, `timm/…`, or folder.
        student: the same.
        output_dir: for the trained student.
        max_steps: where not given, as long as its preset takes.
        use_cpu: even where there is a GPU.
    """
    images = load_images(folder)
    if "test" not in images:
        images = images["train"].train_test_split(0.2, stratify_by_column="label", seed=0)
    names = images["train"].features["label"].names
    network = ExRepForImageClassification.from_backbone(
        student, num_labels=len(names), id2label=dict(enumerate(names))
    )
    trainer = DistillationTrainer(
        model=network,
        teacher=teacher,
        teacher_head="probe",
        args=DistillationArguments(output_dir, max_steps=max_steps, use_cpu=use_cpu, report_to="none"),
        train_dataset=images["train"],
        eval_dataset=images["test"],
    )
    before = trainer.evaluate()["eval_accuracy"]
    trainer.train()
    after = trainer.evaluate()["eval_accuracy"]
    trainer.save_model()
    print(f"top-1 {before:.3f} → {after:.3f}")
    print(pipeline("image-classification", model=output_dir)(images["test"][0]["image"], top_k=2))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4])
