"""A teacher whose answers were computed once and stored."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from exrep_hf.data import DistillationDataset, Preprocessing, collate_distillation
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher.source import TeacherSource

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
ANSWERS_NAME = "answers.safetensors"
DTYPES = {"float16": torch.float16, "float32": torch.float32}


class CachedTeacher:
    """Logits and features of every training image in its evaluation view, read from a folder that `write` made.

    Answers are found by `sample_index`, so batches have to hold it, and images must not be augmented: the answers
    would be for other views. The file is mapped into memory, not read; only the rows of a batch are touched.

    Args:
        folder: what `write` made.

    Attributes:
        num_samples: number of images.
        fingerprint: hash of the stored answers, 16 hexadecimal digits.

    Raises:
        ValueError: if the folder holds no stored answers, of another format, or not as many as it says.
    """

    training_images_only = True
    preprocessing: Preprocessing | None = None

    def __init__(self, folder: str | Path) -> None:
        manifest = _read_manifest(Path(folder))
        self.num_samples: int = manifest["num_samples"]
        self.num_labels: int = manifest["num_labels"]
        self.feature_dim: int = manifest["feature_dim"]
        self.fingerprint: str = manifest["sha256"][:16]
        names = manifest["id2label"]
        self.id2label: dict[int, str] | None = None if names is None else {int(key): names[key] for key in names}
        self._answers = _read_answers(Path(folder), manifest)

    def __call__(self, batch: Mapping[str, Tensor]) -> TeacherOutput:
        """Answer the images of `sample_index`.

        Returns:
            Logits `(batch, num_labels)` and features `(batch, feature_dim)`, float32, on the batch's device.

        Raises:
            ValueError: if the batch has no `sample_index`, or one outside the stored images.
        """
        if "sample_index" not in batch:
            raise ValueError(
                f"The batch has no `sample_index`, only {sorted(batch)}, and stored answers are found by it. Let the "
                "data set's items hold it, or use an `OnlineTeacher`."
            )
        device = batch["sample_index"].device
        index = batch["sample_index"].cpu()
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= self.num_samples:
            raise ValueError(
                f"`sample_index` is {low if low < 0 else high}; expected 0 to {self.num_samples - 1}, the images with "
                "stored answers. Train on the data set that `CachedTeacher.write` got."
            )
        rows = {name: table[index].to(device).float() for name, table in self._answers.items()}
        return TeacherOutput(logits=rows["logits"], features=rows["features"])

    @classmethod
    def write(
        cls,
        teacher: TeacherSource,
        dataset: Dataset,
        folder: str | Path,
        batch_size: int = 64,
        dtype: torch.dtype = torch.float16,
    ) -> "CachedTeacher":
        """Ask a teacher about every image, in order, and store what it says.

        The folder appears under its name when all is written.

        Args:
            teacher: whom to ask.
            dataset: map-style, without augmentation; items as for training. A `sample_index` has to be the row.
            folder: a new folder.
            batch_size: images asked about at a time.
            dtype: `torch.float16` or `torch.float32`, of the stored answers.

        Returns:
            A reader of the folder.

        Raises:
            ValueError: if the folder exists, the data set augments or numbers its images otherwise, or an answer is
                outside the range of `dtype`.
        """
        folder = Path(folder)
        if folder.exists():
            raise ValueError(f"{str(folder)!r} exists; expected a new folder. Give another, or remove it.")
        names = {value: name for name, value in DTYPES.items()}
        if dtype not in names:
            raise ValueError(f"`dtype` is {dtype}; expected torch.float16 or torch.float32.")
        if isinstance(dataset, DistillationDataset) and dataset.transform.augmentation is not None:
            raise ValueError(
                "The data set augments its images; expected their evaluation view, which stored answers are for. "
                "Build it with a `ViewTransform` without augmentation."
            )
        answers = _ask(teacher, dataset, batch_size, dtype)
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        save_file(answers, unfinished / ANSWERS_NAME)
        digest = hashlib.sha256()
        with open(unfinished / ANSWERS_NAME, "rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
        preprocessing = teacher.preprocessing
        manifest = {
            "format_version": FORMAT_VERSION,
            "num_samples": len(answers["logits"]),
            "num_labels": answers["logits"].shape[1],
            "feature_dim": answers["features"].shape[1],
            "dtype": names[dtype],
            "id2label": teacher.id2label,
            "preprocessing": None if preprocessing is None else dataclasses.asdict(preprocessing),
            "sha256": digest.hexdigest(),
        }
        (unfinished / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        unfinished.rename(folder)
        return cls(folder)


def _ask(teacher: TeacherSource, dataset: Dataset, batch_size: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """The teacher's answers `(num_samples, ...)`, by name."""
    device = PartialState().device
    loader = DataLoader(dataset, batch_size=batch_size, collate_fn=collate_distillation)
    parts: dict[str, list[Tensor]] = {"logits": [], "features": []}
    row = 0
    for batch in tqdm(loader, desc="Asking the teacher", unit="batch"):
        expected = torch.arange(row, row + len(batch["pixel_values"]))
        if not torch.equal(batch.get("sample_index", expected), expected):
            raise ValueError(
                f"The images from row {row} on have other `sample_index` than their rows; answers are stored by row. "
                "Pass the data set that is trained on, not a part or another order of it."
            )
        row += len(expected)
        answer = teacher({name: tensor.to(device) for name, tensor in batch.items()})
        for name, rows in parts.items():
            stored = answer[name].to("cpu", dtype)
            if not bool(stored.isfinite().all()):
                raise ValueError(
                    f"The teacher's {name} for rows {int(expected[0])} to {int(expected[-1])} hold values outside the "
                    f"range of {dtype}. Store them with `dtype=torch.float32`, if the teacher's answers are finite."
                )
            rows.append(stored)
    return {name: torch.cat(rows) for name, rows in parts.items()}


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{str(folder)!r} holds no stored answers of a teacher ({error}); expected a folder that "
            "`CachedTeacher.write` made."
        ) from error
    if manifest.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"The stored answers in {str(folder)!r} have format version {manifest.get('format_version')}; expected "
            f"{FORMAT_VERSION}. Write them again, or use the release that wrote them."
        )
    return manifest


def _read_answers(folder: Path, manifest: dict[str, Any]) -> dict[str, Tensor]:
    try:
        answers = load_file(folder / ANSWERS_NAME)
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"The stored answers in {str(folder)!r} can't be read ({error}). Write them again with "
            "`CachedTeacher.write`."
        ) from error
    widths = {"logits": manifest["num_labels"], "features": manifest["feature_dim"]}
    expected = {name: ((manifest["num_samples"], width), DTYPES[manifest["dtype"]]) for name, width in widths.items()}
    found = {name: (tuple(table.shape), table.dtype) for name, table in answers.items()}
    if found != expected:
        raise ValueError(
            f"The stored answers in {str(folder)!r} are {found}; its manifest says {expected}. Write them again with "
            "`CachedTeacher.write`."
        )
    return answers
