"""The stored answers to a batch: read where its images are made, and unpacked where they are needed."""

from collections.abc import Mapping

import torch
from torch import Tensor

from exrep_hf.teacher.cache.answer_files import AnswerFiles
from exrep_hf.teacher.cache.reader import StoredAnswers


class BatchAnswers:
    """Finds answers by `sample_index` and `view` of a batch; an `AnswerReader`.

    What is read travels as bytes, under names that hold the answers' fingerprint: no backend casts these as it casts
    a batch's numbers, and they are nobody else's. A copy in another process opens files of its own.

    Args:
        files: where they lie.
        views: how many views there are.
    """

    def __init__(self, files: AnswerFiles, views: int) -> None:
        plan = files.manifest.plan
        self._stored = StoredAnswers(files)
        self._num_samples: int = plan.dataset["num_samples"]
        self._views = views
        self._dtypes = plan.dtypes
        self._keys = {name: f"stored_{files.manifest.fingerprint}_{name}" for name in plan.widths}

    def __call__(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Read the answers to a batch.

        Args:
            batch: with `sample_index` `(batch,)`, and `view` `(batch,)`, which may be missing where there is only one.

        Returns:
            For each table its rows `(batch, bytes)`, uint8 on the CPU.

        Raises:
            ValueError: if the batch lacks them, or holds others than those that are stored; or if what is stored is
                not finite.
        """
        if "sample_index" not in batch:
            raise ValueError(
                f"The batch has no `sample_index`, only {sorted(batch)}, and stored answers are found by it. Let the "
                "data set's items hold it, or use an `OnlineTeacher`."
            )
        index = batch["sample_index"].cpu()
        view = batch["view"].cpu() if "view" in batch else torch.zeros_like(index)
        if "view" not in batch and self._views > 1:
            raise ValueError(
                f"The batch has no `view`, only {sorted(batch)}, and answers are stored for {self._views} views. "
                "Let `DistillationTrainer` make the batches."
            )
        _check_range("sample_index", index, self._num_samples, "the images with stored answers")
        _check_range("view", view, self._views, "the stored views")
        tables = self._stored.rows(index.numpy(), view.numpy())
        return {self._keys[name]: table.view(torch.uint8) for name, table in tables.items()}

    def tables(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tables of a batch `(batch, width)`, by name, in their stored types and on its device.

        They are read now, for which a device has to be waited for, where they have not travelled with the batch;
        errors as of reading.
        """
        read: Mapping[str, Tensor] = batch
        if not set(self._keys.values()) <= batch.keys():
            device = batch["sample_index"].device if "sample_index" in batch else None
            read = {key: table.to(device) for key, table in self(batch).items()}
        return {name: read[key].view(self._dtypes[name]) for name, key in self._keys.items()}


def _check_range(name: str, values: Tensor, count: int, meaning: str) -> None:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= count:
        raise ValueError(
            f"`{name}` is {low if low < 0 else high}; expected 0 to {count - 1}: {meaning}. Train on the data set "
            "that the answers were stored for."
        )
