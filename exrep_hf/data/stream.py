"""Images that come one by one, without a number or a row: a streamed HF data set as items for distillation."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import datasets
import torch
from datasets import Image
from torch.utils.data import get_worker_info

from exrep_hf.data.augmentation import ViewTransform
from exrep_hf.data.decoding import decoded, why_not_decoded
from exrep_hf.data.labels import MISSING, is_missing
from exrep_hf.data.loading import find_columns
from exrep_hf.data.pixels import STUDENT_PIXELS
from exrep_hf.data.seeding import generators_kept, seed_generators

# Sets these draws apart from those of data sets with rows.
_STREAM = 3


def is_image_stream(dataset: Any) -> bool:
    """Return whether a data set is a stream of HF's with a column of images, which are to be made tensors here."""
    if not isinstance(dataset, datasets.IterableDataset) or dataset.features is None:
        return False
    features = dataset.features
    return any(isinstance(each, Image) for each in features.values()) and (
        STUDENT_PIXELS not in features or isinstance(features[STUDENT_PIXELS], Image)
    )


class StreamedImages(torch.utils.data.IterableDataset):
    """A stream of images as items for distillation, each made where it is needed and the same in every run.

    It never ends: after a walk through the stream comes the next, in another order where it is shuffled, and a run of
    so many steps is one epoch to the Trainer, which finds its place in it again when it resumes. What is random in an
    item follows from seed, walk, the worker that reads it and its number there. Several processes read the same
    stream, and each decodes the images of its own batches alone.

    Args:
        stream: with an image column.
        transform: makes the tensors of an image.
        label_needed: whether each row has to have a column of labels.
        numbers: the model's number of each class of the stream; `None`: the same.
        num_labels: the model's number of classes.
        seed: of all that is random, ≥ 0.

    Raises:
        ValueError: if columns are missing, or the first image can't be made.
    """

    def __init__(
        self,
        stream: datasets.IterableDataset,
        transform: ViewTransform,
        label_needed: bool,
        numbers: Sequence[int] | None,
        num_labels: int,
        seed: int,
    ) -> None:
        self.image_column, self.label_column = find_columns(stream)
        if label_needed and self.label_column is None:
            raise ValueError(
                f"`train_dataset` is a stream without a label column, with {sorted(stream.column_names or ())}; "
                "cross-entropy needs one. Name it `label`, or set `ce_weight` to 0."
            )
        self.rows = stream
        self.transform = transform
        self.numbers = numbers
        self.num_labels = num_labels
        self.seed = seed

    def __iter__(self) -> Iterator["StreamedItem"]:
        """Yield the items of one walk after another, of a worker those of its own part of the files."""
        worker = get_worker_info()
        part = 0 if worker is None else worker.id
        # Undecoded: most of what a process reads may be another's. And a stream of its own for each worker: a stream
        # counts its walks in memory that workers share, where one would change the order of another.
        rows = self.rows.cast_column(self.image_column, Image(decode=False))
        for walk in itertools.count():
            rows.set_epoch(walk)
            number = -1
            for number, row in enumerate(rows):
                yield StreamedItem(self, row, (walk, part, number))
            if number < 0:
                # There are fewer files than workers, or nothing at all.
                return

    def first(self) -> dict[str, Any]:
        """Return the first item.

        Raises:
            ValueError: if there is none, or it can't be made.
        """
        item = next(iter(itertools.islice(self, 1)), None)
        if item is None:
            raise ValueError("`train_dataset` is a stream without rows; expected at least one image.")
        return dict(item)

    def made(self, row: Mapping[str, Any], place: tuple[int, int, int]) -> dict[str, Any]:
        """Return the item of a row: the tensors of `transform`, and `labels` where there is a column of them.

        Args:
            row: as the stream has it.
            place: walk, worker and number, which its randomness follows from.

        Raises:
            ValueError: for an image that can't be decoded or a label that is no class, naming where it comes from.
        """
        stored = row[self.image_column]
        what = f"number {place[2]} of the stream{_origin(row, stored)}"
        with generators_kept():
            seed_generators([self.seed, _STREAM, *place])
            try:
                image = decoded(stored, Image(), self.transform.takes_pixels)
                item: dict[str, Any] = dict(self.transform(image))
            except Exception as error:
                # Pillow raises many kinds of errors on broken files.
                raise ValueError(
                    f"The image {what} cannot be decoded: {why_not_decoded(error)}. Replace it, or leave it out with "
                    "`filter`."
                ) from error
        if self.label_column is not None:
            item["labels"] = self._number(row[self.label_column], what)
        return item

    def _number(self, label: Any, what: str) -> int:
        if is_missing(label):
            return MISSING
        count = self.num_labels if self.numbers is None else len(self.numbers)
        if not isinstance(label, int) or label >= count:
            raise ValueError(
                f"The label of image {what}, is {label!r}; expected an integer from 0 to {count - 1}, as there are "
                f"{count} classes, or -1 for none. Correct it, or number the classes with `map`."
            )
        return label if self.numbers is None else self.numbers[label]


class StreamedItem(Mapping[str, Any]):
    """An item that is made when somebody looks into it.

    Args:
        source: makes it.
        row: of the stream.
        place: walk, worker and number.
    """

    def __init__(self, source: StreamedImages, row: Mapping[str, Any], place: tuple[int, int, int]) -> None:
        self._source = source
        self._row = row
        self._place = place
        self._item: dict[str, Any] | None = None

    def _made(self) -> dict[str, Any]:
        if self._item is None:
            self._item = self._source.made(self._row, self._place)
        return self._item

    def __getitem__(self, key: str) -> Any:
        return self._made()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made())

    def __len__(self) -> int:
        return len(self._made())


def _origin(row: Mapping[str, Any], stored: Any) -> str:
    """Return where a row comes from, as far as it says so."""
    path = stored.get("path") if isinstance(stored, dict) else None
    named = [str(each) for each in (row.get("__key__"), row.get("__url__"), path) if each]
    return f" ({', '.join(named)})" if named else ""
