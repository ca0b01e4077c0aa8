"""Which views of an image there are, where they are to be made again."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exrep_hf.data.augmentation import Augmentation, largest
from exrep_hf.data.mixing import Mixing
from exrep_hf.data.preprocessing import Preprocessing

NEWEST_RULE = 2


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
        rule: how views are mixed: 2, within groups of images and rounded to 8 bits, as images are; 1, with any image
            and unrounded, as in views that were stored before there was a second rule.

    Raises:
        ValueError: for fewer than one view, or a rule that is not known.
    """

    views: int = 1
    seed: int = 42
    augmentation: Augmentation | None = None
    mixing: Mixing = Mixing()
    reference: Preprocessing | None = None
    rule: int = NEWEST_RULE

    def __post_init__(self) -> None:
        if self.views < 1:
            raise ValueError(f"`views` is {self.views}; expected at least 1.")
        if not 1 <= self.rule <= NEWEST_RULE:
            raise ValueError(
                f"`rule` is {self.rule}; expected 1 to {NEWEST_RULE}, by which views can be made again. Those of a "
                "later one take a newer release."
            )

    @property
    def mixes_pixels(self) -> bool:
        """Whether mixtures are of pixels from 0 to 255, and not of normalised values."""
        return not self.mixing or self.rule > 1

    def as_dict(self) -> dict[str, Any]:
        """Return the policy in JSON's types, without `reference`, which stands beside it as the teacher's own."""
        content = {name: value for name, value in dataclasses.asdict(self).items() if name != "reference"}
        if self.mixing.rounds == 1:
            # As it was written before there were rounds: the same views have one form.
            del content["mixing"]["rounds"]
        if not self.mixing or self.rule == 1:
            del content["rule"]
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
        mixing = Mixing(**content["mixing"])
        rule = content.get("rule", 1 if mixing else NEWEST_RULE)
        return cls(content["views"], content["seed"], augmentation, mixing, rule=rule)
