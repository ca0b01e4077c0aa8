"""What a teacher has to offer, wherever its answers come from."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

from exrep_hf.data import Preprocessing
from exrep_hf.outputs import TeacherOutput


@runtime_checkable
class TeacherSource(Protocol):
    """Anything that answers a batch with logits and pooled features.

    Attributes:
        num_labels: number of classes of the logits.
        id2label: names of the classes; None where they are not known.
        feature_dim: width of the pooled features.
        preprocessing: how the teacher wants its images; None where it sees none (stored answers) or where the
            batches hold what it wants.
        training_images_only: True where only images of the training set can be answered, and only by
            `sample_index`; the Trainer then leaves it out of evaluation.
    """

    num_labels: int
    id2label: dict[int, str] | None
    feature_dim: int
    preprocessing: Preprocessing | None
    training_images_only: bool

    def __call__(self, batch: Mapping[str, Tensor]) -> TeacherOutput:
        """Answer a batch as the collator builds it; the answer lies on the batch's device."""
        ...
