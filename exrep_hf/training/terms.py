"""The terms of the loss that have settings of their own: each a `Term`, as the user's are."""

import torch
from torch import Tensor, nn

from exrep_hf.arguments import DistillationArguments
from exrep_hf.arguments.distillation import FEATURE_TERMS
from exrep_hf.data.checks import check_label_batch
from exrep_hf.losses import AdversarialLoss, CRDLoss, FeatureLoss, KDLoss, Term
from exrep_hf.losses.cross_entropy import labelled_cross_entropy
from exrep_hf.models import StudentOutput
from exrep_hf.outputs import TeacherOutput

Batch = dict[str, Tensor]


def our_terms(
    args: DistillationArguments, student_dim: int, teacher_dim: int | None, num_samples: int | None
) -> dict[str, Term]:
    """Return the active ones by name; terms of weight 0 are not built.

    Args:
        args: weights and settings.
        student_dim: width of the student's pooled features.
        teacher_dim: of the teacher's; needed by the terms that compare features.
        num_samples: number of training images; needed by CRD's memory bank.

    Raises:
        ValueError: if an active term lacks `teacher_dim` or `num_samples`, or its queue is shorter than a batch.
    """
    terms: dict[str, Term] = {}
    if args.ce_weight:
        terms["ce"] = Term(LabelTerm(args.label_smoothing_factor), args.ce_weight)
    if args.kd_weight:
        terms["kd"] = Term(LogitTerm(KDLoss(args.temperature)), args.kd_weight)
    if not any(getattr(args, name) for name in FEATURE_TERMS):
        return terms
    if teacher_dim is None:
        named = ", ".join(f"`{name}`" for name in FEATURE_TERMS)
        raise ValueError(
            f"One of {named} is above 0 but no teacher was given: these terms compare features. Pass a teacher, or "
            "set these weights to 0."
        )
    if args.feature_weight:
        loss = FeatureLoss(student_dim, teacher_dim, args.feature_hidden_dim)
        terms["feature"] = Term(FeatureTerm(loss), args.feature_weight)
    if args.crd_weight:
        contrast = _contrastive(args, student_dim, teacher_dim, num_samples)
        terms["crd"] = Term(ContrastTerm(contrast, args.has_bank), args.crd_weight)
    if args.adversarial_weight:
        adversarial = AdversarialLoss(student_dim, teacher_dim, hidden_dim=args.critic_hidden_dim)
        weights = {"adversarial": args.adversarial_weight, "critic": args.critic_weight}
        terms["adversarial"] = Term(AdversarialTerm(adversarial), weights)
    return terms


class LabelTerm(nn.Module):
    """Cross-entropy with the labels, classes or of mixed images their shares.

    Args:
        label_smoothing: in [0, 1).
    """

    needs = ("labels",)

    def __init__(self, label_smoothing: float) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, student: StudentOutput, teacher: TeacherOutput, batch: Batch) -> Tensor:
        """Return a scalar."""
        logits, labels = student.logits, batch["labels"]
        assert logits is not None
        if not labels.is_floating_point():
            check_label_batch(labels, logits.shape[-1])
        return labelled_cross_entropy(logits, labels, self.label_smoothing, self.training)


class LogitTerm(nn.Module):
    """`KDLoss` as a term."""

    needs = ("teacher_logits",)

    def __init__(self, loss: KDLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, student: StudentOutput, teacher: TeacherOutput, batch: Batch) -> Tensor:
        """Return a scalar."""
        return self.loss(student.logits, teacher.logits)


class FeatureTerm(nn.Module):
    """`FeatureLoss` as a term."""

    needs = ("teacher_features",)

    def __init__(self, loss: FeatureLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, student: StudentOutput, teacher: TeacherOutput, batch: Batch) -> dict[str, Tensor]:
        """Return a scalar, or nothing."""
        # Before training begins nothing is known of the features, and the term's value means nothing.
        if not (self.training or self.loss.is_standardised):
            return {}
        return {"feature": self.loss(student.features, teacher.features)}


class ContrastTerm(nn.Module):
    """`CRDLoss` as a term.

    Args:
        loss: with a bank or a queue.
        has_rows: whether it has a row for each image, which a queue has not.
    """

    def __init__(self, loss: CRDLoss, has_rows: bool) -> None:
        super().__init__()
        self.loss = loss
        self.needs = ("teacher_features", "sample_index") if has_rows else ("teacher_features",)

    def forward(self, student: StudentOutput, teacher: TeacherOutput, batch: Batch) -> Tensor:
        """Return a scalar."""
        return self.loss(student.features, teacher.features, batch.get("sample_index"), labels=batch.get("labels"))


class AdversarialTerm(nn.Module):
    """`AdversarialLoss` as a term of two parts."""

    needs = ("teacher_features",)

    def __init__(self, loss: AdversarialLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, student: StudentOutput, teacher: TeacherOutput, batch: Batch) -> dict[str, Tensor]:
        """Return a scalar for the student and one for the critic."""
        adversarial, critic = self.loss(student.features, teacher.features)
        return {"adversarial": adversarial, "critic": critic}


def _contrastive(args: DistillationArguments, student_dim: int, teacher_dim: int, num_samples: int | None) -> CRDLoss:
    if num_samples is None and args.queue_length is None:
        raise ValueError(
            "`crd_weight` is above 0 but the number of training images is unknown: the memory bank has one row an "
            "image. Pass a training data set with a length, give `queue_length`, or set `crd_weight` to 0."
        )
    crd = CRDLoss(
        student_dim,
        teacher_dim,
        num_samples or args.queue_length or 0,
        embedding_dim=args.embedding_dim,
        num_negatives=args.num_negatives,
        temperature=args.crd_temperature,
        momentum=args.momentum,
        queue_length=args.queue_length,
        share_negatives=args.crd_negatives == "batch",
        table_dtype=torch.bfloat16 if args.crd_table_dtype == "bfloat16" else torch.float32,
        kernel=args.crd_kernel,
    )
    crd.largest_batch = args.train_batch_size
    images = args.train_batch_size * args.world_size
    if args.queue_length is not None and args.queue_length < images:
        raise ValueError(
            f"`queue_length` is {args.queue_length}, and each batch of all processes has {images} images; expected at "
            "least as many rows. Lengthen the queue."
        )
    return crd
