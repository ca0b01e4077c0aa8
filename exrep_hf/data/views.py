"""Which views of an image there are, where they are to be made again."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exrep_hf.data.augmentation import Augmentation
from exrep_hf.data.mixing import Mixing


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
        """Return the policy in JSON's types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ViewPolicy":
        """Return the policy that `as_dict` wrote, also after it has been JSON."""
        augmentation = content["augmentation"]
        if augmentation is not None:
            pairs = {name: tuple(augmentation[name]) for name in ("scale", "ratio")}
            augmentation = Augmentation(**augmentation | pairs)
        return cls(content["views"], content["seed"], augmentation, Mixing(**content["mixing"]))
