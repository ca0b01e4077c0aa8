"""Views that can be made again: a fixed number for each image, the same wherever they are asked for."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from exrep_hf.data.mixing import IMAGES, Mixing, mix_pairs
from exrep_hf.data.seeded import SeededDataset, generators_kept, seed_generators
from exrep_hf.data.transforms import Augmentation

# Sets the draws of a mixture apart from those of the image itself.
_MIXTURE = 1


@dataclass(frozen=True)
class ViewPolicy:
    """Which views of an image there are; with the defaults its evaluation view alone.

    Attributes:
        views: number of views; epoch e sees view e mod `views`.
        seed: of all that is random in them, ≥ 0.
        augmentation: random changes of a single image; None: its evaluation view.
        mixing: how it is mixed with another image, in a view of its own.

    Raises:
        ValueError: for fewer than one view.
    """

    views: int = 1
    seed: int = 42
    augmentation: Augmentation | None = None
    mixing: Mixing = Mixing()

    def __post_init__(self) -> None:
        if self.views < 1:
            raise ValueError(f"`views` is {self.views}; expected at least 1.")

    def as_dict(self) -> dict[str, Any]:
        """The policy in JSON's types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ViewPolicy":
        """The policy that `as_dict` wrote, also after it has been JSON."""
        augmentation = content["augmentation"]
        if augmentation is not None:
            pairs = {name: tuple(augmentation[name]) for name in ("scale", "ratio")}
            augmentation = Augmentation(**augmentation | pairs)
        return cls(content["views"], content["seed"], augmentation, Mixing(**content["mixing"]))


class ReplayedDataset(SeededDataset):
    """A map-style data set whose items depend on row and view alone, mixtures included.

    Args:
        dataset: anything with `__getitem__` and `__len__` whose items are dicts of tensors; its augmentation has to
            be the policy's.
        policy: the views.
        num_labels: number of classes, for the labels of mixed images; None leaves these out.
    """

    def __init__(self, dataset: Any, policy: ViewPolicy, num_labels: int | None = None) -> None:
        super().__init__(dataset, policy.seed)
        self.policy = policy
        self.num_labels = num_labels

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Returns several items of the current view.

        Returns:
            The data set's items, mixed where the policy says so, with the number of the view as `view`.
        """
        # Once: another process may set the next epoch meanwhile.
        view = int(self._epoch) % self.policy.views
        rows = [range(len(self))[index] for index in indices]
        if not self.policy.mixing:
            return [{**item, "view": view} for item in self.items_of(rows, view)]
        with generators_kept():
            mixtures = [self._draw_mixture(row, view) for row in rows]
        items = self.items_of([*rows, *(partner for partner, _, _ in mixtures)], view)
        own, others = items[: len(rows)], items[len(rows) :]
        return [
            {**self._mixed(item, other, share, box), "view": view}
            for item, other, (_, share, box) in zip(own, others, mixtures, strict=True)
        ]

    def _draw_mixture(self, row: int, view: int) -> tuple[int, Tensor, Tensor]:
        """The row of the partner, and `Mixing.draw` for one image."""
        seed_generators([self.seed, view, row, _MIXTURE])
        partner = int(torch.randint(len(self), ()))
        return partner, *self.policy.mixing.draw(1)

    def _mixed(self, item: dict[str, Any], other: dict[str, Any], share: Tensor, box: Tensor) -> dict[str, Any]:
        pairs = [_batch_of_one(part) for part in (item, other)]
        mixed = mix_pairs(pairs[0], pairs[1], share, box, self.num_labels)
        kept = {name: value for name, value in item.items() if name not in ("labels", "label")}
        return kept | {name: value[0] for name, value in mixed.items()}


def _batch_of_one(item: dict[str, Any]) -> dict[str, Tensor]:
    named = {"labels" if name == "label" else name: value for name, value in item.items()}
    return {name: torch.as_tensor(named[name])[None] for name in (*IMAGES, "labels") if name in named}
