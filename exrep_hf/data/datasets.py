"""The training set that the Trainer walks through."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset, Image
from PIL import Image as PILImage

from exrep_hf.data.transforms import ViewTransform


class DistillationDataset(torch.utils.data.Dataset):
    """Rows of a Hugging Face data set as items for distillation; pair it with `collate_distillation`.

    Args:
        dataset: a data set with an image column; its own format or transform is not applied.
        transform: makes the tensors of an image.
        image_column: name of the column with images.
        label_column: name of the column with class numbers; `None`: items have no labels.

    Raises:
        ValueError: if the data set is empty.
    """

    def __init__(
        self, dataset: Dataset, transform: ViewTransform, image_column: str, label_column: str | None = None
    ) -> None:
        if len(dataset) == 0:
            raise ValueError("the data set is empty; expected at least one image.")
        columns = [image_column] if label_column is None else [image_column, label_column]
        self.rows = dataset.with_format(None).select_columns(columns)
        self.transform = transform
        self.image_column = image_column
        self.label_column = label_column

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> list[int] | None:
        """Class number of every row, where there is a label column."""
        return None if self.label_column is None else self.rows[self.label_column][:]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns one item.

        Returns:
            `pixel_values` `(channels, height, width)`, `teacher_pixel_values` where the teacher wants its own,
            `labels` (int) where there is a label column, and `sample_index` (int): the position in this data set.

        Raises:
            ValueError: if the image cannot be decoded; names the row and the file.
        """
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Returns several items, read together."""
        return list(self.iterate(indices))

    def iterate(self, indices: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Reads several rows together and transforms each when it is asked for."""
        positions = [range(len(self))[index] for index in indices]
        try:
            rows = self.rows[positions]
        except Exception as error:
            # Pillow raises many kinds of errors on broken files. The rows are read again, alone, to find which one.
            raise self._undecodable(positions, error) from error
        for place, position in enumerate(positions):
            yield self._item(rows, place, position)

    def _item(self, rows: Mapping[str, list[Any]], place: int, position: int) -> dict[str, Any]:
        image = rows[self.image_column][place]
        if image is None:
            raise self._broken(position, "there is no image")
        item: dict[str, Any] = dict(self._views(image, position))
        if self.label_column is not None:
            item["labels"] = rows[self.label_column][place]
        item["sample_index"] = position
        return item

    def _views(self, image: PILImage.Image, position: int) -> dict[str, torch.Tensor]:
        try:
            return self.transform(image)
        except (OSError, ValueError, SyntaxError) as error:
            raise self._broken(position, str(error)) from error

    def _undecodable(self, positions: Sequence[int], error: Exception) -> ValueError:
        for position in positions:
            try:
                self.rows[position]
            except Exception as row_error:
                return self._broken(position, str(row_error))
        return self._broken(positions[0], str(error))

    def _broken(self, position: int, reason: str) -> ValueError:
        stored = self.rows.cast_column(self.image_column, Image(decode=False))[position][self.image_column] or {}
        file = f" ({stored['path']})" if stored.get("path") else ""
        return ValueError(
            f"the image in row {position}{file} cannot be decoded: {reason}. Replace it, or leave such rows out with "
            "--skip_broken_images."
        )
