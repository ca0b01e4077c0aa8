"""Cross-entropy with labels, of which some may be missing."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from exrep_hf.losses.gather import process_count

_IGNORED = -100


def labelled_cross_entropy(
    logits: Tensor, labels: Tensor, smoothing: float = 0.0, over_processes: bool = False
) -> Tensor:
    """Cross-entropy of the images that have a label, each by how much of it has one; the mean over these.

    An image without a label counts 0; a mixture counts the share of its parts that have one, and of these the classes
    are its target. The sum is divided by the sum of these weights, or by 1 where that is larger: a batch in which
    hardly anything has a label doesn't count like one that has.

    Args:
        logits: `(batch, num_labels)`, any float dtype.
        labels: `(batch,)` class numbers, below 0 where there is none; or of mixed images the shares of classes
            `(batch, num_labels)`, whose sum is the share that has a label.
        smoothing: share of the target that is spread over all classes, in [0, 1).
        over_processes: take the mean over the images of all processes, which all call this at once; the mean of their
            values is then that of the one batch that theirs make up.

    Returns:
        Scalar ≥ 0, float32; 0 where no image has a label.
    """
    logits = logits.float()
    if labels.is_floating_point():
        weights = labels.sum(-1, keepdim=True)  # (batch, 1)
        shares = (1 - smoothing) * labels + smoothing / logits.shape[-1] * weights  # (batch, num_labels)
        total = -(shares * F.log_softmax(logits, dim=-1)).sum()
    else:
        weights = (labels >= 0).float()  # (batch,)
        targets = torch.where(labels >= 0, labels.long(), _IGNORED)  # (batch,)
        total = F.cross_entropy(logits, targets, ignore_index=_IGNORED, reduction="sum", label_smoothing=smoothing)
    labelled, processes = weights.sum(), process_count() if over_processes else 1
    if processes > 1:
        dist.all_reduce(labelled)
    return total * processes / labelled.clamp(min=1)
