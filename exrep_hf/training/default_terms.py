"""Terms and mixing that follow from teacher and images, where they are not given."""

import copy

from exrep_hf.arguments import DistillationArguments
from exrep_hf.data import ViewPolicy
from exrep_hf.training.default_settings import Chosen

# Chosen on validation images, beside logits on mixed images: features pay there, and not on images as they are.
FEATURE_WEIGHT = 10.0
FEATURES_ALONE = 1.0
"""Where the teacher has nothing else to teach by: beside the labels."""
FEW_IMAGES = 5
"""Of a class: up to so many, mixtures of mixtures pay."""


def complete_terms(
    args: DistillationArguments,
    gives_features: bool,
    num_images: int | None,
    num_labels: int | None,
    stored: ViewPolicy | None = None,
    gives_logits: bool = True,
) -> Chosen:
    """Fill in the weight of the term on features, and how often images are mixed.

    Args:
        args: settings, which are not changed.
        gives_features: whether there is a teacher, and it gives features.
        num_images: training images; None where that is not known.
        num_labels: number of classes.
        stored: the views that a teacher's answers are stored for, whose mixing counts.
        gives_logits: whether the teacher, if there is one, gives logits.
    """
    args, told = copy.copy(args), []
    mixed = bool(args.mixup or args.cutmix)
    if args.feature_weight is None:
        pays = gives_features and mixed and args.needs_logits
        args.feature_weight = FEATURE_WEIGHT if pays else 0.0
        if gives_features and not gives_logits and not args.needs_teacher:
            args.feature_weight = FEATURES_ALONE
            told.append(f"the teacher has no logits, and its features count: `feature_weight` {FEATURES_ALONE:g}")
        elif pays:
            told.append(f"the teacher's features count beside its logits: `feature_weight` {FEATURE_WEIGHT:g}")
        elif gives_features and args.needs_logits:
            told.append(
                "the teacher's features are left out (`feature_weight` 0): beside logits they paid on mixed images "
                "alone, and these are not mixed"
            )
    if args.mix_rounds is None:
        rounds = rounds_for(num_images, num_labels) if stored is None else stored.mixing.rounds
        args.mix_rounds = rounds if mixed else 1
        if args.mix_rounds > 1:
            told.append(f"mixtures are of {2**args.mix_rounds} images: `mix_rounds` {args.mix_rounds}")
    if args.needs_teacher and not (args.ce_weight or args.needs_logits):
        told.append(
            "no term trains the student's classifier (`ce_weight` and `kd_weight` are 0), which falls behind as its "
            "features change: train on labels too (`ce_weight` 1), or fit a classifier afterwards"
        )
    return Chosen(args, tuple(told))


def rounds_for(num_images: int | None, num_labels: int | None) -> int:
    """Return how often images are mixed: twice where there are few of each class."""
    return 2 if num_images is not None and num_images <= FEW_IMAGES * (num_labels or 0) else 1
