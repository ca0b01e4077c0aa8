"""Answers by image and view."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exrep_hf.teacher.cache.answer_files import AnswerFiles
from exrep_hf.teacher.cache.finite_answers import check_answers
from exrep_hf.teacher.cache.manifest import shard_name
from exrep_hf.teacher.cache.shard_file import ShardFile

# Files that are open at a time: each holds a descriptor.
_OPEN_FILES = 256


class StoredAnswers:
    """Rows of stored tables; only those of a batch are read, all at once.

    Args:
        files: where they lie.
    """

    def __init__(self, files: AnswerFiles) -> None:
        self._files = files
        self._rows_per_shard: int = files.manifest.plan.storage["rows_per_shard"]
        self._open: OrderedDict[tuple[int, int], ShardFile] = OrderedDict()
        self._view_folders: dict[int, Path] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files to the process that has opened them."""
        return {**self.__dict__, "_open": OrderedDict()}

    def rows(self, index: np.ndarray, view: np.ndarray) -> dict[str, Tensor]:
        """Return the stored rows of some images.

        Args:
            index: `(batch,)`, rows of the data set, within it.
            view: `(batch,)`, whose answers.

        Returns:
            Tables `(batch, width)`, by name, in their stored types.

        Raises:
            ValueError: if files on the Hub can't be downloaded, or hold NaN or infinite values.
        """
        shards, places = np.divmod(index, self._rows_per_shard)
        by_file: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for place, (of_view, shard, row) in enumerate(
            zip(view.tolist(), shards.tolist(), places.tolist(), strict=True)
        ):
            by_file.setdefault((of_view, shard), []).append((place, row))
        # The disk has all of them to do while the first is read.
        for pair, wanted in by_file.items():
            file = self._file(*pair)
            for _, row in wanted:
                file.fetch_soon(row)
        out: dict[str, np.ndarray] = {}
        dtypes = {name: dtype for name, (dtype, _, _) in file.layout.items()}
        for pair, wanted in by_file.items():
            file = self._file(*pair)
            for name, (dtype, _, width) in file.layout.items():
                table = out.setdefault(name, np.empty((len(index), width * dtype.itemsize), np.uint8))
                for place, row in wanted:
                    file.read_row(name, row, table[place])
        tables = {name: torch.from_numpy(table).view(dtypes[name]) for name, table in out.items()}
        whose = f"The stored answers of {self._files.name!r}: the"
        check_answers(tables, index.tolist(), view.tolist(), whose, "Store the teacher's answers again.")
        return tables

    def _file(self, view: int, number: int) -> ShardFile:
        key = (view, number)
        if key not in self._open:
            if view not in self._view_folders:
                self._view_folders[view] = self._files.view(view)
            self._open[key] = ShardFile(self._view_folders[view] / shard_name(view, number))
            if len(self._open) > _OPEN_FILES:
                self._open.popitem(last=False)
        self._open.move_to_end(key)
        return self._open[key]
