"""Contrastive representation distillation.

Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, https://arxiv.org/abs/1910.10699
"""

from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exrep_hf.losses.contrast import Negatives, contrastive_loss, log_normalizer_unless
from exrep_hf.losses.embedding_queue import EmbeddingQueue
from exrep_hf.losses.memory_bank import MemoryBank
from exrep_hf.losses.negatives import NegativeSampler

# A move by less than 2⁻⁸ of a number may leave it as it is: rows stay up to 2⁻⁸ / (1 - momentum) from where they'd go.
_BFLOAT16_MOMENTUM = 0.9


class CRDLoss(nn.Module):
    """Student and teacher embeddings of one image attract each other, those of different images repel.

    Both features are embedded linearly and L2-normalised. The student's embedding is contrasted with the teacher's
    table of a memory bank and the other way round; positives and negatives are rows of the bank, which follows the
    embeddings with momentum (Tian et al. 2020). Everything is computed in float32 and in the log domain.

    The bank is a plain tensor pair, not in `state_dict()`: save it by `bank_state()`. `train()` and `eval()` decide
    whether the bank moves, so keep this loss in `train()` while a frozen student is trained in `eval()`.

    Args:
        student_dim: width of the student's features.
        teacher_dim: width of the teacher's features.
        num_samples: number of training images, ≥ 2.
        embedding_dim: width of the embeddings.
        num_negatives: negatives per image (K), drawn with replacement, ≥ 1.
        temperature: divides the cosine of two embeddings, > 0.
        momentum: share of the old row that the bank keeps at an update, in [0, 1).
        queue_length: contrast with this many latest embeddings instead of one row an image: for training sets whose
            bank does not fit. The positive of each side is then the other side's embedding of the same image,
            and `momentum` is of no consequence; at least one step's images of all processes.
        share_negatives: draw `num_negatives` rows for a batch instead of for each of its images, and leave out each
            image's own class afterwards: a fraction of the time. An image's negatives have the same distribution,
            and its loss the same expectation, but the images of a batch no longer have independent ones.
        table_dtype: of the bank's tables. `torch.bfloat16` halves them; rounding a row changes its similarities, which
            lie in [-1, 1], by at most 2⁻⁸ (as a rule, with 128 dimensions, by 0.0002). `momentum` ≤ 0.9.
        kernel: let a Triton kernel read the rows of each image's own negatives on a GPU; of no effect elsewhere.

    Attributes:
        student_embedding: linear map of the student's features.
        teacher_embedding: linear map of the teacher's features.
        bank: the `MemoryBank`; `bank.student`, `bank.teacher` are `(num_samples, embedding_dim)`. With `queue_length`
            an `EmbeddingQueue` of so many rows.
        negatives: the `NegativeSampler`.

    Raises:
        ValueError: if an argument is outside its range.
    """

    def __init__(
        self,
        student_dim: int,
        teacher_dim: int,
        num_samples: int,
        embedding_dim: int = 128,
        num_negatives: int = 4096,
        temperature: float = 0.07,
        momentum: float = 0.5,
        queue_length: int | None = None,
        share_negatives: bool = False,
        table_dtype: torch.dtype = torch.float32,
        kernel: bool = False,
    ) -> None:
        super().__init__()
        if num_samples < 2:
            raise ValueError(f"CRD num_samples must be ≥ 2, got {num_samples}; one image has no negatives.")
        if num_negatives < 1:
            raise ValueError(f"CRD num_negatives must be ≥ 1, got {num_negatives}; leave CRD out to do without.")
        if not temperature > 0:
            raise ValueError(f"CRD temperature must be > 0, got {temperature}; the usual choice is 0.07.")
        if not 0 <= momentum < 1:
            raise ValueError(f"CRD momentum must be in [0, 1), got {momentum}; the usual choice is 0.5.")
        if table_dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"CRD table_dtype must be torch.float32 or torch.bfloat16, got {table_dtype}.")
        if table_dtype == torch.bfloat16 and momentum > _BFLOAT16_MOMENTUM:
            raise ValueError(
                f"CRD momentum must be ≤ {_BFLOAT16_MOMENTUM} with tables in bfloat16, got {momentum}: a row's "
                "small moves are rounded away. Take float32 tables, or less momentum."
            )
        if queue_length is not None and queue_length < 2:
            raise ValueError(
                f"CRD queue_length must be ≥ 2, got {queue_length}; leave it out for a bank of all images."
            )
        if kernel and find_spec("triton") is None:
            raise ValueError("CRD kernel is True, and triton is not installed; install it, or leave the kernel out.")
        self.num_samples = num_samples
        self.num_negatives = num_negatives
        self.temperature = temperature
        self.share_negatives = share_negatives
        self.kernel = kernel
        self.student_embedding = nn.Linear(student_dim, embedding_dim)
        self.teacher_embedding = nn.Linear(teacher_dim, embedding_dim)
        self.bank: MemoryBank | EmbeddingQueue = (
            MemoryBank(num_samples, embedding_dim, momentum, table_dtype)
            if queue_length is None
            else EmbeddingQueue(queue_length, embedding_dim, table_dtype)
        )
        # As many as the bank has rows, which for a queue is not the number of images.
        self.negatives = NegativeSampler(len(self.bank.student), keeps_order=not share_negatives)

    @property
    def largest_batch(self) -> int:
        """Images that a process may have in a batch, for batches of unequal sizes in a run of several processes."""
        return self.bank.largest_batch

    @largest_batch.setter
    def largest_batch(self, images: int) -> None:
        self.bank.largest_batch = self.negatives.largest_batch = images

    def forward(
        self,
        student_features: Tensor,
        teacher_features: Tensor,
        sample_index: Tensor | None,
        labels: Tensor | None = None,
        negative_index: Tensor | None = None,
    ) -> Tensor:
        """Contrast a batch with the bank and, in training mode, move the bank afterwards.

        In evaluation mode the images have no row in the bank: the positive of each side is the other side's embedding
        of the same image, negatives are rows of the bank, and nothing is stored.

        Args:
            student_features: `(batch, student_dim)`, any float dtype.
            teacher_features: `(batch, teacher_dim)`, any float dtype; no gradient goes back to them.
            sample_index: `(batch,)` rows of the training images, in [0, num_samples); ignored in evaluation mode.
            labels: `(batch,)` classes to draw no negatives from. Without them, training uses the classes of
                `set_labels`; if there are none either, negatives are all other images. Labels that were never
                registered are learned as batches pass, which sorts all rows at every step: for small data sets.
            negative_index: `(batch, K)` rows to use as negatives instead of drawn ones.

        Returns:
            Scalar ≥ 0, float32: the sum of both sides, averaged over the batch.

        Raises:
            ValueError: if shapes disagree, if `sample_index` is missing in training, or if an index on the CPU is out
                of range (on other devices a check would make the host wait).
        """
        if student_features.ndim != 2 or teacher_features.ndim != 2 or len(student_features) != len(teacher_features):
            raise ValueError(
                f"CRD needs pooled features (batch, dim) of one batch, got {tuple(student_features.shape)} of the "
                f"student and {tuple(teacher_features.shape)} of the teacher; pool both and pass the same images."
            )
        rows = self._rows(sample_index, len(student_features)) if self.training else None  # (batch,)
        # Rows that hold an earlier embedding of the same image; a queue's hold those of others.
        own_rows = None if isinstance(self.bank, EmbeddingQueue) else rows
        negatives = self._negatives(own_rows, labels, negative_index, len(student_features))

        # Divided by 0.07, a score in bfloat16 is wrong by a tenth.
        with torch.autocast(student_features.device.type, enabled=False):
            student = self._embed(self.student_embedding, student_features)  # (batch, embedding_dim)
            teacher = self._embed(self.teacher_embedding, teacher_features.detach())  # (batch, embedding_dim)
            bank, temperature = self.bank, self.temperature
            # Each side looks for its image among the other side's embeddings; (batch, embedding_dim).
            student_positive = teacher.detach() if own_rows is None else bank.teacher[own_rows].float()
            teacher_positive = student.detach() if own_rows is None else bank.student[own_rows].float()
            sides = (student, student_positive, bank.teacher), (teacher, teacher_positive, bank.student)
            log_z = bank.log_normalizer_student, bank.log_normalizer_teacher
            # After the first step these are the stored ones, which spares it a pass over the rows.
            estimates = [
                log_normalizer_unless(bank.is_normalized, stored, *side, *negatives.parts, temperature)
                for stored, side in zip(log_z, sides, strict=True)
            ]
            if rows is not None:
                bank.set_normalizers(estimates[0], estimates[1], len(student))
            # Before the first training step Z is that of the batch at hand.
            log_z = bank.normalizer_or(log_z[0], estimates[0]), bank.normalizer_or(log_z[1], estimates[1])
            losses = [
                contrastive_loss(*side, negatives, each_log_z, temperature, self.kernel)
                for side, each_log_z in zip(sides, log_z, strict=True)
            ]
            # Last: the loss is of the bank as it was before this batch.
            if rows is not None:
                bank.update(rows, student.detach(), teacher.detach())
            # A queue's row changes its class with its image; before the draw, rows still hold earlier images.
            if rows is not None and own_rows is None and labels is not None:
                self.negatives.remember(rows, labels)
            return losses[0] + losses[1]

    def set_labels(self, labels: Tensor) -> None:
        """Register the class of every training image, so that negatives come from other classes.

        Args:
            labels: `(num_samples,)`, integers; -1 where unknown.

        Raises:
            ValueError: if the length is wrong, the dtype is no integer, or there is only one class.
        """
        self.negatives.register(labels)

    @property
    def normalizer_student(self) -> Tensor:
        """Z of the student's embeddings, scalar; NaN before the first training step, inf beyond float32."""
        return self.bank.log_normalizer_student.exp()

    @property
    def normalizer_teacher(self) -> Tensor:
        """Z of the teacher's embeddings, scalar; NaN before the first training step, inf beyond float32."""
        return self.bank.log_normalizer_teacher.exp()

    def bank_state(self) -> dict[str, Tensor]:
        """Return tables and normalisers for a checkpoint, by name: the tensors themselves, not copies.

        Classes are not in it: register them again when a run is resumed.
        """
        return self.bank.tensors()

    def load_bank_state(self, state: dict[str, Tensor]) -> None:
        """Copy what `bank_state` gave into this bank, in place.

        Raises:
            ValueError: if names or sizes differ from this bank's; nothing is copied then.
        """
        self.bank.load(state)

    def _embed(self, embedding: nn.Linear, features: Tensor) -> Tensor:
        # The weights may be in half precision; the bank, and all that is compared with it, is not.
        return F.normalize(embedding(features.to(embedding.weight.dtype)).float(), dim=1)

    def _negatives(
        self, rows: Tensor | None, labels: Tensor | None, negative_index: Tensor | None, batch: int
    ) -> Negatives:
        if negative_index is not None:
            self._check_negatives(negative_index, batch)
            return Negatives(negative_index)
        if self.share_negatives:
            return Negatives(*self.negatives.draw_for_all(rows, labels, batch, self.num_negatives))
        return Negatives(self.negatives.draw(rows, labels, batch, self.num_negatives))

    def _rows(self, sample_index: Tensor | None, batch: int) -> Tensor:
        # A queue has no row of an image's own, so its number in the data set is of no consequence.
        if isinstance(self.bank, EmbeddingQueue):
            return self.bank.take_rows(batch)
        return self._checked_rows(sample_index, batch)

    def _checked_rows(self, sample_index: Tensor | None, batch: int) -> Tensor:
        if sample_index is None or sample_index.shape != (batch,):
            received = None if sample_index is None else tuple(sample_index.shape)
            raise ValueError(
                f"CRD needs sample_index ({batch},) in training mode, got {received}; "
                "let the data set give each image its row."
            )
        self._check_range("sample_index", sample_index)
        return sample_index.long()

    def _check_negatives(self, negative_index: Tensor, batch: int) -> None:
        if negative_index.ndim != 2 or len(negative_index) != batch:
            raise ValueError(
                f"CRD negative_index must be ({batch}, K), got {tuple(negative_index.shape)}; give every image of the "
                "batch its row of negatives."
            )
        self._check_range("negative_index", negative_index)

    def _check_range(self, name: str, index: Tensor) -> None:
        # Reading values of an accelerator's tensor would make the host wait for it at every step.
        if index.device.type != "cpu":
            return
        low, high = int(index.min()), int(index.max())
        size = len(self.bank.student)
        if low < 0 or high >= size:
            raise ValueError(
                f"CRD {name} must be in [0, {size}), got {low if low < 0 else high} with num_samples="
                f"{self.num_samples}; build CRDLoss with the size of the training set that numbers the images."
            )
