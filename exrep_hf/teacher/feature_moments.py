"""Mean and deviation of a teacher's features, by which they are standardised."""

import torch
from torch import Tensor

from exrep_hf.main_process import decided_by_main
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


def stored_statistics(teacher: TeacherSource, num_images: int) -> tuple[Tensor, Tensor] | None:
    """Return mean and deviation of all features that are stored, `(feature_dim,)` each, the same on all processes.

    Of many views only so many are read that these are the statistics of at least 2^17 answers.

    Args:
        teacher: whose features they are.
        num_images: training images.

    Returns:
        None where the teacher has to see images to answer.
    """
    views = teacher.views
    if views is None or teacher.preprocessing or teacher.feature_dim is None:
        return None
    moments, count = Moments(teacher.feature_dim), min(views.views, -(-_ENOUGH // num_images))
    return decided_by_main(lambda: _of_whole_views(teacher, moments, num_images, count).statistics())


def _of_whole_views(teacher: TeacherSource, moments: Moments, num_images: int, views: int) -> Moments:
    for view in range(views):
        for rows in torch.arange(num_images).split(_CHUNK):
            features = teacher({"sample_index": rows, "view": torch.full_like(rows, view)}).features
            assert features is not None
            moments.add(features)
    return moments
