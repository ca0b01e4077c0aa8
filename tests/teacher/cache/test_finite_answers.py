"""Answers that hold NaN or infinite values are neither stored nor taught from."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from exrep_hf.finite import NonFiniteError
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher import CachedTeacher
from exrep_hf.teacher.cache import Storage

Write = Callable[..., CachedTeacher]


@pytest.mark.parametrize("top_k", [None, 2])
@pytest.mark.parametrize(("table", "value"), [("logits", math.nan), ("logits", -math.inf), ("features", math.inf)])
def test_what_a_teacher_says(
    table: str, value: float, top_k: int | None, write: Write, make_teacher: Any, tmp_path: Path
) -> None:
    """In a folder it would lie for good, and be met in an epoch of some run."""

    class Failing(type(make_teacher())):  # type: ignore[misc]
        """Fails on row 13, in view 1."""

        views_begun = 0

        def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
            answer = super().__call__(batch)
            rows = batch["sample_index"].tolist()
            self.views_begun += 0 in rows
            if self.views_begun == 2 and 13 in rows:
                answer[table][rows.index(13), 1] = value
            return answer

    storage = Storage(rows_per_shard=6, batch_size=4, top_k=top_k)
    told = rf"The teacher's {table} for 1 of 4 images hold NaN or infinite values: row 13 in view 1; .*Look at its"
    with pytest.raises(NonFiniteError, match=told):
        write(tmp_path / "answers", Failing(), storage=storage)
    assert not (tmp_path / "answers" / "manifest.json").exists()
    # What is whole is of use still.
    teacher = make_teacher()
    write(tmp_path / "answers", teacher, storage=storage)
    assert teacher.asked < 40


def poison(folder: Path, shard: str, table: str, row: int) -> None:
    """Put NaN into a stored answer, with a manifest that says so: as another program may have written both."""
    path = folder / shard
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    tensors = load_file(path)
    tensors[table][row, 0] = math.nan
    save_file(tensors, path, facts)
    manifest = json.loads((folder / "manifest.json").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest["shards"][shard] = {"bytes": path.stat().st_size, "sha256": digest}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("table", ["logits", "features", "top_logits", "remainder"])
def test_what_is_read(table: str, dtype: str, write: Write, tmp_path: Path) -> None:
    """The images of other rows are answered as ever."""
    top_k = None if table in ("logits", "features") else 2
    folder = tmp_path / "answers"
    write(folder, storage=Storage(dtype, rows_per_shard=6, top_k=top_k))
    poison(folder, "view-0001/shard-00002.safetensors", table, 1)
    cached = CachedTeacher(folder, verify="full")
    rows = torch.tensor([3, 13, 14])
    answer = cached({"sample_index": rows, "view": torch.tensor([1, 0, 1])})
    assert answer.logits is not None and answer.logits.isfinite().all()
    told = rf"stored answers of '.*answers': the {table} for 1 of 3 images .*: row 13 in view 1; .*Store the teacher's"
    with pytest.raises(NonFiniteError, match=told):
        cached({"sample_index": rows, "view": torch.tensor([1, 1, 1])})
