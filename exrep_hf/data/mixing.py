"""Mixtures of images, on which the teacher is asked too: Mixup and CutMix for distillation.

Zhang et al., "mixup", ICLR 2018, https://arxiv.org/abs/1710.09412; Yun et al., "CutMix", ICCV 2019,
https://arxiv.org/abs/1905.04899. That the teacher answers the mixture itself, so that no label has to be made up for
it, is from Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022,
https://arxiv.org/abs/2106.05237.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from exrep_hf.data.answers import ANSWERS
from exrep_hf.data.checks import check_label_batch
from exrep_hf.data.pixels import pixel_names

MOST_ROUNDS = 6

Others = Tensor | Sequence[Tensor]
"""Each image's partner `(batch, ...)`, or one by one."""


@dataclass(frozen=True)
class Mixing:
    """How images of a batch are mixed; names as in timm's `train.py`, where both 0 leave them as they are.

    Attributes:
        mixup: α of Mixup, > 0: two images are blended in the proportion λ ~ Beta(α, α).
        cutmix: α of CutMix, > 0: a box of the area 1 − λ comes from another image.

        rounds: how often: 2 makes mixtures of mixtures, of four images.

    With both, each image takes one of the two at random. λ, box and partner are each image's own in each round.

    Raises:
        ValueError: if an α is negative, or there is no round.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    rounds: int = 1

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"`{name}` is {getattr(self, name)}; expected an α ≥ 0 (0 turns it off).")
        if not isinstance(self.rounds, int) or not 1 <= self.rounds <= MOST_ROUNDS:
            raise ValueError(
                f"`mix_rounds` is {self.rounds!r}; expected a whole number from 1 to {MOST_ROUNDS}, which mixes "
                f"{2**MOST_ROUNDS} images into each (`mixup` and `cutmix` 0 mix nothing)."
            )

    def __bool__(self) -> bool:
        """Return whether anything is mixed."""
        return bool(self.mixup or self.cutmix)

    def __call__(self, batch: Mapping[str, Tensor], num_labels: int) -> dict[str, Tensor]:
        """Mix the images of a batch, for student and teachers alike, whatever their sizes.

        Randomness comes from torch's global generator of the CPU, which checkpoints hold.

        Args:
            batch: with `pixel_values` `(batch, channels, height, width)`, and the teacher's sets of pixels and
                `labels` `(batch,)` where there are any.
            num_labels: number of classes.

        Returns:
            A new batch; `labels` become shares `(batch, num_labels)`, as timm's Mixup has them; of an image without a
            label (-1) there is no share.

        Raises:
            ValueError: if the batch holds stored answers of a teacher: they are for the images before they were mixed;
                or a label that is no class.
        """
        mixed = dict(batch)
        if not self:
            return mixed
        stored = sorted(set(ANSWERS) & batch.keys())
        if stored:
            raise ValueError(
                f"A batch that is to be mixed holds {stored}: a teacher's answers for images that are not mixed. Set "
                "`mixup` and `cutmix` to 0, or ask the teacher at each step."
            )
        images = batch["pixel_values"]
        for partner, own_share, box in self._drawn(len(images), images.device):
            others: dict[str, Others] = {name: _chosen(mixed[name], partner) for name in pixel_names(mixed)}
            labels = {"labels": mixed["labels"][partner]} if "labels" in mixed else {}
            mixed |= mix_pairs(mixed, others | labels, own_share, box, num_labels)
        return mixed

    def _drawn(self, count: int, device: torch.device) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return what is drawn for each round: partners `(count,)`, shares and boxes as of `draw`."""
        rounds = []
        for _ in range(self.rounds):
            partner = torch.randperm(count)
            own_share, box = self.draw(count)
            rounds.append(torch.cat([partner[:, None], own_share[:, None], box], 1))
        # Small, and in one copy that nobody waits for; floats hold the numbers of a batch exactly.
        table = torch.stack(rounds)
        table = table.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else table.to(device)
        return [(each[:, 0].long(), each[:, 1], each[:, 2:]) for each in table]

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Return each image's share in a blend `(count,)`, and box (top, left, bottom, right) as image parts."""
        own_share, box = torch.ones(count), torch.zeros(count, 4)
        cut = torch.rand(count) < 0.5 if self.mixup and self.cutmix else torch.full((count,), bool(self.cutmix))
        if self.mixup:
            own_share = torch.where(cut, own_share, _beta(self.mixup, count))
        if self.cutmix:
            half = (1 - _beta(self.cutmix, count)).sqrt()[:, None] / 2
            centre = torch.rand(count, 2)
            box = torch.where(cut[:, None], torch.cat([centre - half, centre + half], 1).clamp(0, 1), box)
        return own_share, box


def _beta(alpha: float, count: int) -> Tensor:
    # torch's own Beta draws with the global generator, unlike NumPy's.
    return torch.distributions.Beta(alpha, alpha).sample((count,))


def mix_pairs(
    batch: Mapping[str, Tensor], others: Mapping[str, Others], own_share: Tensor, box: Tensor, num_labels: int | None
) -> dict[str, Tensor]:
    """Mix images, and labels to shares of the classes, with their partners.

    Args:
        batch: `pixel_values` `(batch, channels, height, width)`, and the teacher's sets of pixels and `labels`
            `(batch,)`, or shares of classes `(batch, num_labels)`, where there are any. Of pixels of uint8 mixtures
            are rounded, as timm's `FastCollateMixup` does.
        others: the same of each image's partner.
        own_share: of `Mixing.draw`, `(batch,)`.
        box: of `Mixing.draw`, `(batch, 4)`.
        num_labels: number of classes; None leaves labels out.

    Raises:
        ValueError: for a label that is no class.
    """
    mixed = {name: _mix(batch[name], others[name], own_share, box) for name in pixel_names(batch)}
    if "labels" in batch and num_labels is not None:
        own, other = (_one_hot(part["labels"], num_labels) for part in (batch, others))  # type: ignore[arg-type]
        covered = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
        mixed["labels"] = torch.lerp(other, own, (own_share * (1 - covered))[:, None])
    return mixed


def _one_hot(labels: Tensor, num_labels: int) -> Tensor:
    if labels.is_floating_point():
        return labels
    check_label_batch(labels, num_labels)
    return F.one_hot(labels.long().clamp(min=0), num_labels).float() * (labels >= 0)[:, None]


def _chosen(images: Tensor, partner: Tensor) -> Others:
    # On the CPU a copy of a whole batch takes longer than mixing it.
    return [images[row] for row in partner.tolist()] if images.device.type == "cpu" else images[partner]


def _mix(images: Tensor, others: Others, own_share: Tensor, box: Tensor) -> Tensor:
    if images.device.type == "cpu":
        return _mixed_one_by_one(images, others, own_share, box)
    assert isinstance(others, Tensor)
    return _mixed_by_masks(images, others, own_share, box)


def _mixed_by_masks(images: Tensor, others: Tensor, own_share: Tensor, box: Tensor) -> Tensor:
    """Mix a whole batch at once, without a look at what was drawn."""
    height, width = images.shape[-2:]
    rows, columns = (_centres(size, images.device) for size in (height, width))
    top, left, bottom, right = (edge[:, None] for edge in box.T)
    inside = ((rows >= top) & (rows < bottom))[:, None, :, None] & ((columns >= left) & (columns < right))[
        :, None, None
    ]
    share = torch.where(inside, 0.0, own_share[:, None, None, None])
    if images.dtype == torch.uint8:
        return torch.lerp(others.float(), images.float(), share).round_().to(torch.uint8)
    return torch.lerp(others, images, share.to(images.dtype))


def _mixed_one_by_one(images: Tensor, others: Others, own_share: Tensor, box: Tensor) -> Tensor:
    """Return the same to the bit, where an image stays in the cache and masks take longer than boxes."""
    mixed = torch.empty_like(images)
    heights, widths = (_centres(size, images.device) for size in images.shape[-2:])
    rows = torch.searchsorted(heights, box[:, 0::2].contiguous()).tolist()
    columns = torch.searchsorted(widths, box[:, 1::2].contiguous()).tolist()
    each = zip(mixed, images, others, own_share.tolist(), rows, columns, strict=True)
    for made, image, other, share, (top, bottom), (left, right) in each:
        if share == 1:
            made.copy_(image)
        elif image.dtype == torch.uint8:
            made.copy_(torch.lerp(other.float(), image.float(), share).round_())
        else:
            torch.lerp(other, image, share, out=made)
        made[:, top:bottom, left:right] = other[:, top:bottom, left:right]
    return mixed


def _centres(size: int, device: torch.device) -> Tensor:
    """Return where pixels lie, as parts of an image's side."""
    return (torch.arange(size, device=device) + 0.5) / size
