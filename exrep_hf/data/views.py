"""Which views of an image there are, where they are to be made again."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exrep_hf.data.augmentation import Augmentation, largest
from exrep_hf.data.mixing import Mixing
from exrep_hf.data.preprocessing import Preprocessing


@dataclass(frozen=True)
class ViewPolicy:
    """Which views of an image there are; with the defaults its evaluation view alone.

    Attributes:
        views: number of views; epoch e sees view e mod `views`.
        seed: of all that is random in them, ≥ 0.
        augmentation: random changes of a single image; None: its evaluation view.
        mixing: how it is mixed with other images, in a view of its own.
        reference: the model at whose size `auto_augment` acts; None: the largest input of those that look, or none
            is needed.

    Raises:
        ValueError: for fewer than one view.
    """

    views: int = 1
    seed: int = 42
    augmentation: Augmentation | None = None
    mixing: Mixing = Mixing()
    reference: Preprocessing | None = None

    def __post_init__(self) -> None:
        if self.views < 1:
            raise ValueError(f"`views` is {self.views}; expected at least 1.")

    def as_dict(self) -> dict[str, Any]:
        """Return the policy in JSON's types, without `reference`, which stands beside it as the teacher's own."""
        content = {name: value for name, value in dataclasses.asdict(self).items() if name != "reference"}
        if self.mixing.rounds == 1:
            # As it was written before there were rounds: the same views have one form.
            del content["mixing"]["rounds"]
        return content

    def seen_by(self, models: Sequence[Preprocessing | None]) -> "ViewPolicy":
        """Return the same views, with `reference` where they depend on it: the largest input of some models.

        Args:
            models: how they want their images; None where that is not known.
        """
        known = [model for model in models if model is not None]
        if not known or self.augmentation is None or self.augmentation.auto_augment is None:
            return dataclasses.replace(self, reference=None)
        return dataclasses.replace(self, reference=largest(known))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ViewPolicy":
        """Return the policy that `as_dict` wrote, also after it has been JSON."""
        augmentation = content["augmentation"]
        if augmentation is not None:
            pairs = {name: tuple(augmentation[name]) for name in ("scale", "ratio")}
            augmentation = Augmentation(**augmentation | pairs)
        return cls(content["views"], content["seed"], augmentation, Mixing(**content["mixing"]))
