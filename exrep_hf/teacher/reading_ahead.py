"""Answers that are read beside the images, by the loader's workers, and travel to the device with the batch."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from exrep_hf.teacher.source import TeacherSource


class AnswerReader(Protocol):
    """Reads what a source will look for in a batch; goes to the loader's workers, so it has to be picklable."""

    def __call__(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what the batch is to hold besides, `(batch, ...)` each, under names of the source's own.

        Args:
            batch: as the collator made it, on the CPU.

        Raises:
            ValueError: if there are no answers to it.
        """
        ...


@runtime_checkable
class ReadsAhead(Protocol):
    """What a `TeacherSource` may have besides: then its `__call__` needs not wait for a disk.

    A source still has to answer batches that nobody read for.
    """

    def answer_reader(self) -> AnswerReader | None:
        """Return what reads answers; None: there is nothing to read."""
        ...


class SeveralReaders:
    """The readers of several sources as one."""

    def __init__(self, readers: list[AnswerReader]) -> None:
        self._readers = readers

    def __call__(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what all of them read."""
        return {name: value for reader in self._readers for name, value in reader(batch).items()}


class AnsweredCollator:
    """A collator whose batches hold what is read of a source's answers to them.

    Args:
        collate: makes the batch of items; one without `sample_index` stays as it is.
        read: of the source.
    """

    def __init__(self, collate: Callable[[Any], Any], read: AnswerReader) -> None:
        self._collate = collate
        self._read = read

    def __call__(self, items: Any) -> Any:
        """Return the batch of some items."""
        batch = self._collate(items)
        # A collator of the user's may leave out what answers are found by: the source says so.
        return {**batch, **self._read(batch)} if "sample_index" in batch else batch


def answer_reader_of(source: TeacherSource) -> AnswerReader | None:
    """Return what reads a source's answers ahead of a step; None where it has nothing of the kind."""
    return source.answer_reader() if isinstance(source, ReadsAhead) else None
