"""A term of your own in the loss: relations between the images of a batch (Park et al., CVPR 2019).

    python recipes/examples/own_term.py out/rkd

On scikit-learn's digits, from an untrained teacher: it shows the way, and no figure.
"""

import sys

import torch
from torch import Tensor, nn

from exrep_hf import DistillationArguments, DistillationTrainer, ExRepForImageClassification, StudentOutput, Term
from exrep_hf.data import load_images
from exrep_hf.outputs import TeacherOutput


class RelationLoss(nn.Module):
    """Distances between the student's features follow those between the teacher's."""

    needs = ("teacher_features",)

    def forward(self, student: StudentOutput, teacher: TeacherOutput, batch: dict[str, Tensor]) -> Tensor:
        """Return the Huber loss of all distances, each over their mean."""
        assert student.features is not None and teacher.features is not None
        own, other = (torch.pdist(features.float()) for features in (student.features, teacher.features))
        return nn.functional.smooth_l1_loss(own / own.mean(), other / other.mean())


def main(output_dir: str, max_steps: int = 20, use_cpu: bool = True) -> dict[str, float]:
    """Train with the term beside the teacher's logits, and return what the last logged step says of each."""
    images = load_images("digits")
    student, teacher = (
        ExRepForImageClassification.from_backbone("timm/test_efficientnet", num_labels=10, pretrained=False)
        for _ in range(2)
    )
    args = DistillationArguments(output_dir, max_steps=max_steps, logging_steps=5, use_cpu=use_cpu, report_to="none")
    trainer = DistillationTrainer(
        student,
        teacher,
        args,
        images["train"],
        images["test"],
        classes="position",
        terms={"relations": Term(RelationLoss(), weight=2.0)},
    )
    trainer.train()
    logged: dict[str, float] = [entry for entry in trainer.state.log_history if "loss" in entry][-1]
    print({name: value for name, value in logged.items() if name.startswith("loss")})
    return logged


if __name__ == "__main__":
    main(sys.argv[1])
