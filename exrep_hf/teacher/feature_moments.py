"""Mean and deviation of a teacher's features, by which they are standardised."""

import torch
from torch import Tensor

from exrep_hf.main_process import decided_by_main
from exrep_hf.teacher.cached import CachedTeacher
from exrep_hf.teacher.head import source_of
from exrep_hf.teacher.source import TeacherSource

# Of more stored answers than this whole views are left out: no mean gets better by them.
_ENOUGH = 2**17
_CHUNK = 4096


class Moments:
    """Sums over features, from which their mean and deviation follow.

    Args:
        dim: width of the features.

    Attributes:
        sums: `(2, dim + 1)`, float64 on the CPU: of features and of their squares, each beside the number of images.
    """

    def __init__(self, dim: int) -> None:
        self.sums = torch.zeros(2, dim + 1, dtype=torch.float64)

    def add(self, features: Tensor) -> None:
        """Take note of features `(batch, dim)`."""
        # Not on the device: some have no float64.
        features = features.detach().cpu().double()
        self.sums[:, :-1] += torch.stack([features.sum(0), features.square().sum(0)])
        self.sums[:, -1] += len(features)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation, `(dim,)` each, float32."""
        mean, square = self.sums[:, :-1] / self.sums[:, -1:]
        return mean.float(), (square - mean.square()).clamp(min=0).sqrt().float()


def stored_statistics(teacher: TeacherSource) -> tuple[Tensor, Tensor] | None:
    """Return mean and deviation of all features that are stored, `(feature_dim,)` each, the same on all processes.

    Of many views only so many are read that these are the statistics of at least 2^17 answers.

    Returns:
        None where the teacher's answers are not stored.
    """
    teacher = source_of(teacher)
    # A head on top of stored answers changes no features.
    source = source_of(teacher)
    if not isinstance(source, CachedTeacher) or source.feature_dim is None:
        return None
    moments = Moments(source.feature_dim)
    return decided_by_main(lambda: _of_whole_views(source, moments).statistics())


def _of_whole_views(teacher: CachedTeacher, moments: Moments) -> Moments:
    for view in range(min(teacher.views.views, -(-_ENOUGH // teacher.num_samples))):
        for rows in torch.arange(teacher.num_samples).split(_CHUNK):
            features = teacher({"sample_index": rows, "view": torch.full_like(rows, view)}).features
            assert features is not None
            moments.add(features)
    return moments
