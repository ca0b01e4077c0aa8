"""One file of answers: safetensors, of which single rows are read."""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from exrep_hf.files import checksum
from exrep_hf.teacher.cache.manifest import Plan, Shard
from exrep_hf.untrusted import parse_json

_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "I16": torch.int16, "I32": torch.int32}
# One key with JSON in it: the order of several would differ from file to file.
_FACTS = "answers"
# A table takes some hundred.
_HEADER_BYTES = 2**16


def encode_shard(tables: dict[str, Tensor], plan: Plan, shard: Shard, correct: int, labelled: int) -> bytes:
    """Return the content of a file.

    Args:
        tables: `(rows, ...)`, by name.
        plan: of the whole.
        shard: which file it is.
        correct: how many of its images the teacher gave their label.
        labelled: how many have one.
    """
    facts = {"plan": plan.identity, "view": shard.view, "first": shard.first, "rows": shard.rows}
    facts |= {"correct": correct, "labelled": labelled}
    return save(tables, {_FACTS: json.dumps(facts)})


class ShardFile:
    """Rows of a file, read from it when they are asked for.

    The files can be mapped into memory, as safetensors' own reader does; here rows are read instead, because mapped
    pages count as the process's memory, which would grow with the number of images.

    Args:
        path: the file.

    Attributes:
        facts: what `encode_shard` was told.
        layout: type, rows, and values in a row of each table, by name.

    Raises:
        ValueError: if it is no whole file of this kind, saying why.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = open(path, "rb", buffering=0)
            length = int.from_bytes(self._file.read(8), "little")
            if length > _HEADER_BYTES:
                raise ValueError(f"its header has {length} bytes, more than {_HEADER_BYTES}")
            header = parse_json(self._file.read(length).decode(), "its header")
            self.facts: dict[str, Any] = dict(parse_json(header.pop("__metadata__")[_FACTS], "its header"))
            _check_header(header)
            tables = {name: (_DTYPES[entry["dtype"]], entry["shape"]) for name, entry in header.items()}
            self.layout = {name: (dtype, shape[0], math.prod(shape[1:])) for name, (dtype, shape) in tables.items()}
            self._starts = {name: 8 + length + entry["data_offsets"][0] for name, entry in header.items()}
            end = 8 + length + max(entry["data_offsets"][1] for entry in header.values())
            spans = {name: entry["data_offsets"][1] - entry["data_offsets"][0] for name, entry in header.items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"it can't be read ({error!s:.300})") from error
        for name, (dtype, rows, values) in self.layout.items():
            if spans[name] != rows * values * dtype.itemsize:
                raise ValueError(f"its table {name!r} has {spans[name]} bytes for {rows} rows of {values}")
        if end != path.stat().st_size:
            raise ValueError(f"it has {path.stat().st_size} bytes instead of {end}")

    def _place(self, name: str, row: int) -> tuple[int, int]:
        """Start and length of a row, in bytes."""
        dtype, _, values = self.layout[name]
        width = values * dtype.itemsize
        return self._starts[name] + row * width, width

    def fetch_soon(self, row: int) -> None:
        """Let the system read a row from the disk while others are asked for."""
        if hasattr(os, "posix_fadvise"):
            for name in self.layout:
                os.posix_fadvise(self._file.fileno(), *self._place(name, row), os.POSIX_FADV_WILLNEED)

    def read_row(self, name: str, row: int, out: np.ndarray) -> None:
        """Read the bytes of a row of a table.

        Raises:
            OSError: if the file has been cut meanwhile.
        """
        start, width = self._place(name, row)
        if os.preadv(self._file.fileno(), [out.data], start) != width:
            raise OSError(f"{self._file.name!r} ends within row {row} of {name!r}; it was whole when it was opened.")


def _check_header(header: dict[str, Any]) -> None:
    """Make sure that sizes are whole numbers, and that tables begin where the header ends or behind it."""
    for name, entry in header.items():
        if not all(
            type(number) is int and 0 <= number < 2**63 for number in [*entry["shape"], *entry["data_offsets"]]
        ):
            raise ValueError(f"its table {name!r:.100} has sizes that are none")


def checksum_file(path: Path) -> Path:
    """Return where the checksum of a file is kept until the manifest holds it."""
    return path.with_suffix(".sha256")


def find_fault(path: Path, plan: Plan, shard: Shard, size: int | None = None, sha256: str | None = None) -> str | None:
    """Return what is wrong with a file; None if nothing is.

    Args:
        path: the file.
        plan: what it should belong to.
        shard: which file it should be.
        size: the bytes it should have, where that is known.
        sha256: the checksum it should have; None doesn't compute it.
    """
    if not path.is_file():
        return "it is missing"
    if size is not None and path.stat().st_size != size:
        return f"it has {path.stat().st_size} bytes instead of {size}"
    try:
        file = ShardFile(path)
    except ValueError as error:
        return str(error)
    expected = {"plan": plan.identity, "view": shard.view, "first": shard.first, "rows": shard.rows}
    if {name: file.facts.get(name) for name in expected} != expected:
        return f"it is of other answers: {file.facts!s:.300}, expected {expected}"
    wanted = {name: (plan.dtypes[name], shard.rows, width) for name, width in plan.widths.items()}
    if file.layout != wanted:
        told = f"expected widths {plan.widths} of {plan.storage['dtype']}"
        return f"it has other tables than it says: {file.layout!s:.300}, {told}"
    if sha256 is not None and checksum(path) != sha256:
        return "its checksum is not the manifest's"
    return None
