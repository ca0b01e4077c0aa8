"""What a folder of stored answers says about itself: `plan.json` while it is written, then `manifest.json`."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

FORMAT = "exrep_hf teacher cache"
FORMAT_VERSION = 2
MANIFEST_NAME = "manifest.json"
PLAN_NAME = "plan.json"
DTYPES = ("float16", "bfloat16", "float32")
REMAINDERS = 8
"""Masses that are kept of the logits that are not, one for each temperature of `top_k`."""
# Facts that are told, and that two folders of the same answers may differ in.
_TOLD = ("versions.", "teacher.license", "dataset.license", "dataset.name")


@dataclass(frozen=True)
class Storage:
    """How answers are stored.

    Attributes:
        dtype: of logits and features: `float16`, `bfloat16` or `float32`.
        top_k: keep only the largest logits, and what is needed to rebuild the mass of the others; None: all.
        rows_per_shard: images in a file.
        batch_size: images that the teacher is queried on at a time; never of two files. Not part of what is stored.
        autocast: half precision in which the teacher computes, `float16` or `bfloat16`; None: as its weights are.

    Raises:
        ValueError: for a value outside its range.
    """

    dtype: str = "float16"
    top_k: int | None = None
    rows_per_shard: int = 16384
    batch_size: int = 64
    autocast: str | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"`dtype` is {self.dtype!r}; expected one of {', '.join(DTYPES)}.")
        for name in ("top_k", "rows_per_shard", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` is {value}; expected at least 1.")


@dataclass(frozen=True)
class Provenance:
    """Names and licences, for the manifest and the card; None where they are not known."""

    teacher: str | None = None
    teacher_revision: str | None = None
    teacher_license: str | None = None
    dataset: str | None = None
    dataset_license: str | None = None


@dataclass(frozen=True)
class Shard:
    """One file: some rows of one view.

    Attributes:
        number: among the files of its view.
        view: whose answers it holds.
        first: its first row.
        rows: how many.
    """

    number: int
    view: int
    first: int
    rows: int

    @property
    def name(self) -> str:
        """Path within the folder."""
        return shard_name(self.view, self.number)


def shard_name(view: int, number: int) -> str:
    """Path of a file within the folder."""
    return f"{view_folder(view)}/shard-{number:05d}.safetensors"


def view_folder(view: int) -> str:
    """Name of the folder of a view's files."""
    return f"view-{view:04d}"


@dataclass(frozen=True)
class Plan:
    """All that is decided before the first image is queried on.

    Attributes:
        teacher: name, revision, weights_sha256, num_labels and feature_dim (None: no such answers), id2label, license;
            `features`, where they are not simply the input of one final layer; `pooling`, where they are not those
            that the network itself pools; and `head`, as of `probe_facts`, where one was fitted.
        preprocessing: fields of the teacher's `Preprocessing`, in a list where it wants several sets of pixels; None
            where it is not known.
        dataset: name, fingerprint, num_samples, license.
        views: of `ViewPolicy.as_dict`.
        storage: fields of `Storage`, without the batch size.
        versions: of the packages that compute answers.

    Licences and the data set's name are told, and don't make answers others; nor do versions.
    """

    teacher: dict[str, Any]
    preprocessing: dict[str, Any] | list[dict[str, Any] | None] | None
    dataset: dict[str, Any]
    views: dict[str, Any]
    storage: dict[str, Any]
    versions: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON holds it."""
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        return json.loads(json.dumps(content))

    @cached_property
    def identity(self) -> str:
        """Hash of what is stored, 16 hexadecimal digits: files of other answers are told by it."""
        return hashlib.sha256(json.dumps(self._decisive(), sort_keys=True).encode()).hexdigest()[:16]

    def _decisive(self) -> dict[str, Any]:
        return {name: value for name, value in _flat(self.as_dict()).items() if not name.startswith(_TOLD)}

    @property
    def widths(self) -> dict[str, int]:
        """Values in a row of each stored table, by its name."""
        top_k, widths = self.storage["top_k"], {}
        if top_k is not None:
            widths = {"top_logits": top_k, "top_classes": top_k, "remainder": REMAINDERS}
        elif self.teacher.get("num_labels") is not None:
            widths = {"logits": self.teacher["num_labels"]}
        if self.teacher.get("feature_dim") is not None:
            widths["features"] = self.teacher["feature_dim"]
        return widths

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        """Type of each stored table, by its name."""
        whatever = {"top_classes": torch.int32, "remainder": torch.float32}
        return {name: whatever.get(name, getattr(torch, self.storage["dtype"])) for name in self.widths}

    @property
    def shards_per_view(self) -> int:
        """Number of files of a view."""
        return -(-self.dataset["num_samples"] // self.storage["rows_per_shard"])

    def shards_of(self, view: int) -> list[Shard]:
        """Return the files of a view."""
        size, count = self.storage["rows_per_shard"], self.dataset["num_samples"]
        starts = range(0, count, size)
        return [Shard(number, view, first, min(size, count - first)) for number, first in enumerate(starts)]

    def shards(self) -> list[Shard]:
        """Return all files."""
        return [shard for view in range(self.views["views"]) for shard in self.shards_of(view)]

    def differences(self, other: "Plan") -> list[str]:
        """Return what two plans disagree in, with both values."""
        mine, theirs = self._decisive(), other._decisive()
        return [
            f"{name}: {mine.get(name)!r} stored, {theirs.get(name)!r} now"
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted name; None counts as missing, and classes' names as one value."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict) and name != "id2label":
            found |= _flat(value, f"{prefix}{name}.")
        elif value is not None:
            found[prefix + name] = value
    return found


@dataclass(frozen=True)
class Manifest:
    """A plan that was carried out.

    Attributes:
        plan: what was to be stored.
        shards: `bytes` and `sha256` of each file, by its name.
        summary: `top1` of the teacher on the stored views and the number of `labelled` images, where there are labels.
    """

    plan: Plan
    shards: dict[str, dict[str, Any]]
    summary: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest as JSON holds it."""
        return {**self.plan.as_dict(), "summary": self.summary, "shards": self.shards}

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all stored answers, 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.shards, sort_keys=True).encode()).hexdigest()[:16]
