"""The data sets that the Trainer walks through: rows as items, items that come out the same again, fixed views."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from datasets import Dataset, Image
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from exrep_hf.data.augmentation import ViewTransform
from exrep_hf.data.decoding import decoded, why_not_decoded
from exrep_hf.data.extra_images import Extra, place_in_walks
from exrep_hf.data.labels import MISSING, is_missing
from exrep_hf.data.mixing import mix_pairs
from exrep_hf.data.partners import AnyPartners, Draw, GroupPartners, Partners, Place
from exrep_hf.data.pixels import pixel_names
from exrep_hf.data.rows import is_number, parts_of
from exrep_hf.data.seeding import generators_kept, seed_generators
from exrep_hf.data.views import ViewPolicy

Made = TypeVar("Made")


class DistillationDataset(torch.utils.data.Dataset):
    """Rows of a Hugging Face data set as items for distillation; pair it with `collate_distillation`.

    Args:
        dataset: a data set with an image column; its own format or transform is not applied.
        transform: makes the tensors of an image.
        image_column: name of the column with images.
        label_column: name of the column with class numbers; `None`: items have no labels.
        numbers: the model's number of each class of the data set; `None`: the same.
        answer_columns: names of columns with a teacher's answers, which items hold as they are.

    Raises:
        ValueError: if the data set is empty.
    """

    def __init__(
        self,
        dataset: Dataset,
        transform: ViewTransform,
        image_column: str,
        label_column: str | None = None,
        numbers: Sequence[int] | None = None,
        answer_columns: Sequence[str] = (),
    ) -> None:
        if len(dataset) == 0:
            raise ValueError("The data set is empty; expected at least one image.")
        columns = [image_column, *([] if label_column is None else [label_column]), *answer_columns]
        self.rows = dataset.with_format(None).select_columns(columns)
        # Data sets copy their features whenever they are asked for them.
        self._feature = self.rows.features[image_column]
        self._stored = self.rows.cast_column(image_column, Image(decode=False))
        self.transform = transform
        self.image_column = image_column
        self.label_column = label_column
        self.numbers = numbers
        self.answer_columns = tuple(answer_columns)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def stored_labels(self) -> list[int] | None:
        """Class of every row as the data set numbers it, where there is a label column."""
        return None if self.label_column is None else self.rows[self.label_column][:]

    @property
    def labels(self) -> list[int] | None:
        """Class of every row as the model numbers it, -1 where it is missing, where there is a label column."""
        stored = self.stored_labels
        return None if stored is None else [self._renumbered(label) for label in stored]

    def _renumbered(self, label: Any) -> Any:
        if is_missing(label):
            return MISSING
        return self.numbers[label] if self.numbers is not None and isinstance(label, int) else label

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one item.

        Returns:
            the tensors of `transform`: `pixel_values` `(channels, height, width)`, and the teacher's own pixels;
            `labels` (int; -1: missing) where there is a label column, a teacher's answers as float32 where there are
            columns of them, and `sample_index` (int): the position in this data set.

        Raises:
            ValueError: if the image cannot be decoded; names the row and the file.
        """
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return several items, read together."""
        return list(self.iterate(indices))

    def iterate(self, indices: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Read several rows together, and decode and transform each when it is asked for."""
        positions = [range(len(self))[index] for index in indices]
        rows = self._stored[positions]
        for place, position in enumerate(positions):
            yield self._item(rows, place, position)

    def _item(self, rows: Mapping[str, list[Any]], place: int, position: int) -> dict[str, Any]:
        item: dict[str, Any] = dict(self._views(rows[self.image_column][place], position))
        if self.label_column is not None:
            label = rows[self.label_column][place]
            item["labels"] = self._renumbered(label)
        for column in self.answer_columns:
            item[column] = torch.as_tensor(rows[column][place], dtype=torch.float32)
        item["sample_index"] = position
        return item

    def pixels(self, row: int) -> Tensor:
        """Return the whole image of a row in the student's channels, uint8 `(channels, height, width)`.

        Raises:
            ValueError: if it cannot be decoded; names the row and the file.
        """
        return self._made(self._stored[row][self.image_column], row, self.transform.student.pixels)

    def _views(self, stored: Any, position: int) -> dict[str, torch.Tensor]:
        return self._made(stored, position, self.transform)

    def _made(self, stored: Any, position: int, make: Callable[[Any], Made]) -> Made:
        """Return what is made of an image."""
        if stored is None:
            raise self._broken(position, "there is no image")
        try:
            image = decoded(stored, self._feature, self.transform.takes_pixels)
        except Exception as error:
            # Pillow raises many kinds of errors on broken files.
            raise self._broken(position, why_not_decoded(error)) from error
        try:
            return make(image)
        except (OSError, ValueError, SyntaxError) as error:
            raise self._broken(position, why_not_decoded(error)) from error

    def _broken(self, position: int, reason: str) -> ValueError:
        stored = self._stored[position][self.image_column] or {}
        file = f" ({stored['path']})" if stored.get("path") else ""
        return ValueError(
            f"The image in row {position}{file} cannot be decoded: {reason}. Replace it, or leave such rows out with "
            "--skip_broken_images."
        )


class SeededDataset(torch.utils.data.Dataset):
    """A map-style data set whose random transforms come out the same however the items are fetched.

    Loaders fetch ahead, restart their workers on resuming, and share rows between processes. With one global
    generator, a resumed run would therefore see other crops than an uninterrupted one. Here each item is made under
    seeds of its own for torch, NumPy and `random`, and the generators of the caller stay untouched.

    Args:
        dataset: anything with `__getitem__` and `__len__`.
        seed: of the run, ≥ 0.
        numbered: whether `sample_index` has to be the row: items without one get it. Those of a `DistillationDataset`
            get it in any case: below torch's `Subset` and `ConcatDataset` it has other numbers.
        extra: how the last rows come beside the others; None: all come once in each walk.

    Attributes:
        dataset: the data set itself.
        walk: items of one walk through the rows: as many as there are, but for extra ones.
        length: items of an epoch: those of a walk, or more, where the rows come again and again, each time made anew
            as in an epoch of their own.

    Raises:
        ValueError: when an item is asked for that numbers itself otherwise.
    """

    def __init__(self, dataset: Any, seed: int, numbered: bool = False, extra: Extra | None = None) -> None:
        self.dataset = dataset
        self.seed = seed
        self.numbered = numbered
        self.extra = extra
        # Rows that come once in each walk.
        self._regular = len(dataset) - (0 if extra is None else extra.count)
        self.walk = self._regular + (0 if extra is None else extra.per_walk(self._regular))
        self.length = self.walk
        self._is_ours = all(isinstance(part, DistillationDataset) for part in parts_of(dataset))
        # In shared memory, because workers that outlive an epoch hold a copy of this object.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """The epoch that items are made for."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Vary the items with the epoch."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        """Return the item of a row, made under its own seed."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return several items, each made under its own seed."""
        return self.items_of(self.places(indices))

    def places(self, indices: Sequence[int]) -> list[Place]:
        """Return the rows of some items of the current epoch, each with the number of the walk through all rows."""
        # Once: another process may set the next epoch meanwhile.
        before = self.epoch * self.length
        positions = (before + index for index in map(range(self.length).__getitem__, indices))
        return [place_in_walks(position, self._regular, self.extra) for position in positions]

    def items_of(self, places: Sequence[Place]) -> list[Any]:
        """Return several items, each made under the seed of its row and number (of an epoch or a view)."""
        # Lazy: an item's randomness happens when it is asked for, under the seed set just before.
        rows = [row for row, _ in places]
        if isinstance(self.dataset, DistillationDataset):
            items = self.dataset.iterate(rows)
        else:
            items = (self.dataset[row] for row in rows)
        made = []
        with generators_kept():
            for row, number in places:
                seed_generators([self.seed, number, row])
                made.append(self._with_row(next(items), row))
        return made

    def _with_row(self, item: Any, row: int) -> Any:
        if not isinstance(item, Mapping) or not (self.numbered or self._is_ours):
            return item
        own = row if self._is_ours else item.get("sample_index", row)
        if not is_number(own, row):
            raise ValueError(
                f"The `sample_index` of row {row} of `train_dataset` is {own}; expected {row}, as rows are numbered "
                f"from 0 to {len(self.dataset) - 1}: the memory bank and stored answers have a row an image. Leave "
                "`sample_index` out of the items, and they get their row."
            )
        return {**item, "sample_index": row}


class EpochCallback(TrainerCallback):
    """Tells a `SeededDataset` which epoch begins; accelerate's loaders do so in runs of one process only.

    Args:
        dataset: the training data set.
    """

    def __init__(self, dataset: SeededDataset) -> None:
        self.dataset = dataset

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Pass on the number of the epoch, which is fractional where a run is resumed within one."""
        self.dataset.set_epoch(int(state.epoch or 0))


class ReplayedDataset(SeededDataset):
    """A map-style data set whose items depend on row and view alone, mixtures included.

    Args:
        dataset: anything with `__getitem__` and `__len__` whose items are dicts of tensors; its augmentation has to
            be the policy's.
        policy: the views.
        num_labels: number of classes, for the labels of mixed images; None leaves these out.
        numbered: as in `SeededDataset`.
        extra: as in `SeededDataset`; partners in mixtures are extra images as often.

    Attributes:
        policy: as given.
        partners: what is mixed with what.
        grouped: the same, where it is within groups.
        finish: what is done to each item at the end, after it was mixed; None: nothing.
    """

    finish: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    def __init__(
        self,
        dataset: Any,
        policy: ViewPolicy,
        num_labels: int | None = None,
        numbered: bool = False,
        extra: Extra | None = None,
    ) -> None:
        super().__init__(dataset, policy.seed, numbered, extra)
        self.policy = policy
        self.num_labels = num_labels
        self.grouped: GroupPartners | None = None
        if policy.mixing and policy.rule > 1 and extra is None:
            self.grouped = GroupPartners(policy.seed, policy.mixing, len(dataset))
        self.partners: Partners = self.grouped or AnyPartners(policy.seed, policy.mixing, self._any_row)

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return several items of the current view.

        Returns:
            The data set's items, mixed where the policy says so, with the number of the view as `view`.
        """
        return self._made_at(self.places(indices))

    def made(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """Return the items of some positions in a walk through all rows again and again, whatever the epoch."""
        return self._made_at([(position % len(self.dataset), position // len(self.dataset)) for position in positions])

    def _made_at(self, places: Sequence[Place]) -> list[dict[str, Any]]:
        views = [(row, number % self.policy.views) for row, number in places]
        rounds = self.policy.mixing.rounds if self.policy.mixing else 0
        # From the last round to the images themselves: one that is in several mixtures of a batch is made once.
        wanted, draws = [dict.fromkeys(views)], []
        for mixing_round in range(rounds, 0, -1):
            drawn = {place: self.partners.draw(place, mixing_round) for place in wanted[-1]}
            wanted.append(dict.fromkeys([*drawn, *(partner for partner, _, _ in drawn.values())]))
            draws.append(drawn)
        made = dict(zip(wanted[-1], self.items_of(list(wanted[-1])), strict=True))
        for drawn in reversed(draws):
            made = {place: self._mixed(made[place], made[draw[0]], draw) for place, draw in drawn.items()}
        items = [{**made[place], "view": place[1]} for place in views]
        return items if self.finish is None else [self.finish(item) for item in items]

    def _any_row(self) -> int:
        partner = int(torch.randint(self.walk, ()))
        if partner >= self._regular and self.extra is not None:
            partner = self._regular + int(torch.randint(self.extra.count, ()))
        return partner

    def _mixed(self, item: dict[str, Any], other: dict[str, Any], draw: Draw) -> dict[str, Any]:
        pairs = [_batch_of_one(part) for part in (item, other)]
        mixed = mix_pairs(pairs[0], pairs[1], draw[1], draw[2], self.num_labels)
        kept = {name: value for name, value in item.items() if name not in ("labels", "label")}
        return kept | {name: value[0] for name, value in mixed.items()}


def _batch_of_one(item: dict[str, Any]) -> dict[str, Tensor]:
    named = {"labels" if name == "label" else name: value for name, value in item.items()}
    return {name: torch.as_tensor(named[name])[None] for name in (*pixel_names(named), "labels") if name in named}
