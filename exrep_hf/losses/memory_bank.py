"""The memory bank of contrastive representation distillation: one row per training image and side."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from exrep_hf.losses.gather import gather_batches
from exrep_hf.losses.unregistered_tensors import UnregisteredTensorModule

# Of the initial tables, whatever the run's own seed.
_INITIAL_SEED = 0
# Of a table that is drawn: more need not be held twice.
_ROWS_AT_A_TIME = 4096


class MemoryBank(UnregisteredTensorModule):
    """Running embeddings of all training images, and the normalisers of the scores against them.

    In a run of several processes (`torch.distributed`, default group) every process holds the whole bank. The tables
    start equal, because they are drawn from a generator of their own, and stay equal, because every process applies
    the batches of all. Only indices and embeddings of the batch travel: `bytes_sent` a step and process.

    Args:
        num_samples: rows, one per training image.
        embedding_dim: columns.
        momentum: share of the old row that an update keeps, in [0, 1).
        dtype: of the tables, float32 or bfloat16; a new row is computed in float32.

    Attributes:
        student: `(num_samples, embedding_dim)`, of this dtype, initially uniform in ±1/√(embedding_dim / 3).
        teacher: the same for the teacher's side.
        log_normalizer_student: log Z of the student's embeddings against the teacher's table, scalar; NaN until set.
        log_normalizer_teacher: log Z of the teacher's embeddings against the student's table, scalar; NaN until set.
        is_normalized: whether both are set, scalar bool on the CPU: known without waiting for the device. A tensor, as
            a step that is compiled would be compiled again when a plain value changes.
        largest_batch: images that a process may have in a batch; where it stays 0, all processes have to have equally
            many, as accelerate's loaders give them by default.
    """

    student: Tensor
    teacher: Tensor
    log_normalizer_student: Tensor
    log_normalizer_teacher: Tensor
    is_normalized: Tensor
    on_host = ("is_normalized",)

    def __init__(
        self, num_samples: int, embedding_dim: int, momentum: float, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.is_normalized = torch.tensor(False, device="cpu")
        self.momentum = momentum
        self.largest_batch = 0
        # All processes must start from the same tables, whatever their global seeds are.
        generator = torch.Generator("cpu").manual_seed(_INITIAL_SEED)
        self.student = _drawn(num_samples, embedding_dim, dtype, generator)
        self.teacher = _drawn(num_samples, embedding_dim, dtype, generator)
        self.log_normalizer_student = torch.tensor(math.nan, device="cpu")
        self.log_normalizer_teacher = torch.tensor(math.nan, device="cpu")

    @staticmethod
    def bytes_sent(batch: int, embedding_dim: int) -> int:
        """Count the bytes that a process sends a step: a batch's indices (int64) and both embeddings (float32)."""
        return batch * (8 + 2 * 4 * embedding_dim)

    @torch.no_grad()
    def set_normalizers(self, student_estimate: Tensor, teacher_estimate: Tensor, batch: int) -> None:
        """Keep the first estimates of log Z, of the batches of all processes together, and ignore all later ones.

        Args:
            student_estimate: log Z of this process's batch on the student's side, scalar.
            teacher_estimate: the same on the teacher's side.
            batch: images in this process's batch.
        """
        size = torch.full_like(student_estimate, math.log(batch))
        estimates = gather_batches(torch.stack([student_estimate, teacher_estimate, size]).unsqueeze(0), 1)
        sizes = estimates[:, 2]  # (processes,) of (processes, 3)
        # The log of a mean over images, which is a mean over processes weighted by their images.
        student, teacher = (
            torch.logsumexp(side + sizes, dim=0) - torch.logsumexp(sizes, dim=0) for side in estimates[:, :2].T
        )
        self.log_normalizer_student.copy_(self.normalizer_or(self.log_normalizer_student, student))
        self.log_normalizer_teacher.copy_(self.normalizer_or(self.log_normalizer_teacher, teacher))
        self.is_normalized.fill_(True)

    @staticmethod
    def normalizer_or(log_normalizer: Tensor, estimate: Tensor) -> Tensor:
        """Return the stored log Z, or `estimate` while none is stored; both scalars."""
        # A branch in Python would wait for the device.
        return torch.where(log_normalizer.isnan(), estimate, log_normalizer)

    @torch.no_grad()
    def update(self, sample_index: Tensor, student: Tensor, teacher: Tensor) -> None:
        """Move the rows of a batch towards new embeddings: `M[i] <- normalise(m · M[i] + (1 - m) · v)`.

        If an image occurs more than once, its last occurrence counts (the last process's, where several have it).

        Args:
            sample_index: `(batch,)` rows to move, int64.
            student: `(batch, embedding_dim)` unit embeddings of the student.
            teacher: the same of the teacher.
        """
        index = gather_batches(sample_index, self.largest_batch)  # (n,), n images of all processes
        embeddings = gather_batches(torch.stack([student, teacher], dim=1), self.largest_batch)  # (n, 2, dim)
        # Duplicates all write the value of the last one, so the order of the writes is of no consequence.
        ordered, order = torch.sort(index, stable=True)
        last = order[torch.searchsorted(ordered, index, right=True) - 1]  # (n,), place of each image's last occurrence
        for table, new in zip((self.student, self.teacher), embeddings[last].unbind(1), strict=True):
            moved = torch.lerp(new, table[index].float(), self.momentum)  # (n, dim)
            table.index_copy_(0, index, F.normalize(moved, dim=1).to(table.dtype))

    def tensors(self) -> dict[str, Tensor]:
        """Return all that a checkpoint needs, by flat name; the tensors themselves, not copies."""
        return {
            "bank.student": self.student,
            "bank.teacher": self.teacher,
            "log_normalizer.student": self.log_normalizer_student,
            "log_normalizer.teacher": self.log_normalizer_teacher,
        }

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Copy what `tensors` gave into this bank, in place.

        Raises:
            ValueError: if names, sizes or dtypes differ from this bank's; nothing is copied then.
        """
        own = self.tensors()
        if state.keys() != own.keys():
            raise ValueError(f"A CRD bank holds {sorted(own)}, got {sorted(state)}; load what bank_state() gave.")
        # All are looked at before the first is copied.
        for name, tensor in own.items():
            if state[name].shape != tensor.shape:
                raise ValueError(
                    f"CRD {name} has size {tuple(tensor.shape)} here, {tuple(state[name].shape)} in the checkpoint; "
                    "resume with the same training set and embedding_dim."
                )
            if state[name].dtype != tensor.dtype:
                raise ValueError(
                    f"CRD {name} is {tensor.dtype} here, {state[name].dtype} in the checkpoint; resume with the same "
                    "table_dtype."
                )
        for name, tensor in own.items():
            tensor.copy_(state[name])
        self.is_normalized.fill_(not bool(self.log_normalizer_student.isnan() | self.log_normalizer_teacher.isnan()))


def _drawn(num_samples: int, embedding_dim: int, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Return an initial table, `(num_samples, embedding_dim)`: the same numbers in any dtype, but for rounding."""
    # A row then has the norm 1 on average, like the unit embeddings that replace it.
    bound = 1 / math.sqrt(embedding_dim / 3)
    # On the CPU also under `torch.device("meta")` or "cuda": other devices draw other numbers from a seed.
    table = torch.empty(num_samples, embedding_dim, dtype=dtype, device="cpu")
    for rows in table.split(_ROWS_AT_A_TIME):
        rows.copy_(torch.empty(rows.shape, device="cpu").uniform_(-bound, bound, generator=generator))
    return table
