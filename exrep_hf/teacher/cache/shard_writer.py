"""A teacher's answers to a row of batches, file by file."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from exrep_hf.data import collate_distillation
from exrep_hf.data.datasets import ReplayedDataset
from exrep_hf.data.labels import class_of_most
from exrep_hf.data.transport import Normalising
from exrep_hf.files import write_bytes
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher.cache.finite_answers import check_answers
from exrep_hf.teacher.cache.manifest import Plan, Shard
from exrep_hf.teacher.cache.shard_file import checksum_file, encode_shard
from exrep_hf.teacher.cache.top_k import keep_top_k
from exrep_hf.teacher.source import TeacherSource

logger = logging.getLogger(__name__)

# Labelled images after which a teacher that gets nearly all of them wrong is reported.
_ENOUGH_IMAGES = 512


class ShardWriter:
    """Writes the files of one process, and shows how far it is.

    Args:
        teacher: whom to ask.
        dataset: the views, as the teacher wants them.
        folder: where files are written.
        plan: what is stored.
        batch_size: images to ask about at a time.
        expected_top1: share of the images that the teacher should get right; None: not known.
    """

    def __init__(
        self,
        teacher: TeacherSource,
        dataset: ReplayedDataset,
        folder: Path,
        plan: Plan,
        batch_size: int,
        expected_top1: float | None,
    ) -> None:
        self.teacher = teacher
        self.dataset = dataset
        self.folder = folder
        self.plan = plan
        self.batch_size = batch_size
        self.expected_top1 = expected_top1
        self.device = PartialState().device
        self.normalising = Normalising.for_teacher(teacher.preprocessing)
        self.dtype: torch.dtype = getattr(torch, plan.storage["dtype"])
        self.autocast: torch.dtype | None = plan.storage["autocast"] and getattr(torch, plan.storage["autocast"])
        self.correct = self.labelled = 0

    def write(self, shards: Sequence[Shard], num_workers: int) -> None:
        """Write some files, prepared by this many other processes.

        Raises:
            ValueError: if rows are numbered otherwise, or an answer is not finite, by itself or in the type it is
                stored in.
            OSError: if a file can't be written.
        """
        process = PartialState().process_index
        progress = tqdm(
            total=sum(shard.rows for shard in shards),
            desc=f"asking the teacher (process {process})",
            position=process,
            unit=" images",
        )
        with progress:
            for view in sorted({shard.view for shard in shards}):
                of_view = [shard for shard in shards if shard.view == view]
                self.dataset.set_epoch(view)
                loader = DataLoader(
                    self.dataset,
                    batch_sampler=[rows for shard in of_view for rows in self._batches(shard)],
                    collate_fn=collate_distillation,
                    num_workers=num_workers,
                    pin_memory=self.device.type == "cuda",
                )
                batches = iter(loader)
                for shard in of_view:
                    self._write_shard(shard, batches, progress)

    def _batches(self, shard: Shard) -> list[list[int]]:
        size, end = self.batch_size, shard.first + shard.rows
        return [list(range(first, min(first + size, end))) for first in range(shard.first, end, size)]

    def _write_shard(self, shard: Shard, batches: Iterator[dict[str, Tensor]], progress: Any) -> None:
        parts: dict[str, list[Tensor]] = {}
        correct = labelled = 0
        for rows in self._batches(shard):
            batch = next(batches)
            self._check_rows(batch, rows)
            tables, right, known = self._ask(batch, rows, shard.view)
            for name, table in tables.items():
                parts.setdefault(name, []).append(table)
            correct, labelled = correct + right, labelled + known
            progress.update(len(rows))
            self._watch_top1(right, known, progress)
        content = encode_shard(
            {name: torch.cat(each) for name, each in parts.items()}, self.plan, shard, correct, labelled
        )
        path = self.folder / shard.name
        path.parent.mkdir(exist_ok=True)
        # First: a file without its checksum can't be told from a damaged one.
        write_bytes(hashlib.sha256(content).hexdigest().encode(), checksum_file(path))
        write_bytes(content, path)

    def _check_rows(self, batch: dict[str, Tensor], rows: list[int]) -> None:
        expected = torch.tensor(rows)
        if not torch.equal(batch.get("sample_index", expected), expected):
            raise ValueError(
                f"The images from row {rows[0]} on have other `sample_index` than their rows; answers are stored by "
                "row. Pass the data set that is trained on, not a part or another order of it."
            )

    def _ask(self, batch: dict[str, Tensor], rows: list[int], view: int) -> tuple[dict[str, Tensor], int, int]:
        """Return what is stored for a batch, how many images the teacher gave their label, and how many have one."""
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            moved = {name: each.to(self.device, non_blocking=True) for name, each in batch.items()}
            answer = self.teacher(self.normalising(moved))
        given = self._declared(answer)
        logits = given.get("logits")
        views = [view] * len(rows)
        check_answers(given, rows, views, "The teacher's", "Look at its weights, its `autocast`, and these images.")
        right = known = 0
        if "labels" in batch and logits is not None:
            labels = class_of_most(batch["labels"].to(logits.device))
            right, known = int((logits.argmax(-1) == labels).sum()), int((labels >= 0).sum())
        top_k, tables = self.plan.storage["top_k"], dict(given)
        if top_k is not None:
            tables |= keep_top_k(tables.pop("logits").float(), top_k)
        stored = {}
        for name, table in tables.items():
            whole_or_log = name in ("top_classes", "remainder")
            stored[name] = table.cpu() if whole_or_log else table.to("cpu", self.dtype)
        outside = f"They are outside the range of {self.dtype}: store them as `float32`."
        check_answers(stored, rows, views, "As they would be stored, the teacher's", outside)
        return stored, right, known

    def _declared(self, answer: TeacherOutput) -> dict[str, Tensor]:
        """Return the parts of an answer that the plan is for: those that the teacher says it gives."""
        widths, given = self.plan.teacher, {}
        for name, width in (("logits", widths.get("num_labels")), ("features", widths.get("feature_dim"))):
            part = getattr(answer, name)
            if width is not None and part is None:
                raise ValueError(
                    f"The teacher, a {type(self.teacher).__name__}, answered without {name}; expected {width} an "
                    "image, as it says of itself. Pass one that gives what it says."
                )
            if width is not None:
                given[name] = part
        return given

    def _watch_top1(self, right: int, count: int, progress: Any) -> None:
        before, self.labelled, self.correct = self.labelled, self.labelled + count, self.correct + right
        if not self.labelled:
            return
        top1 = self.correct / self.labelled
        progress.set_postfix(top1=f"{top1:.3f}", refresh=False)
        if before < _ENOUGH_IMAGES <= self.labelled:
            warn_of_top1(top1, self.labelled, self.expected_top1)


def warn_of_top1(top1: float, labelled: int, expected: float | None) -> None:
    """Warn of a teacher that is right less than half as often as it should be."""
    if expected is not None and top1 < expected / 2:
        logger.warning(
            "The teacher is right about %.1f %% of %d images, less than half of the expected %.1f %%: are the labels "
            "in its order, and the images as it wants them?",
            100 * top1,
            labelled,
            100 * expected,
        )
