"""Answers that stand in the items of a data set."""

from collections.abc import Mapping
from typing import Any

import datasets
import torch
from torch import Tensor

from exrep_hf.data import Preprocessing
from exrep_hf.data.answers import FEATURES, LOGITS
from exrep_hf.data.checks import is_map_style
from exrep_hf.data.classes import HasClasses
from exrep_hf.data.seeding import generators_kept
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher.source import TeacherSource


class GivenAnswers(TeacherSource):
    """A teacher whose answers are in the batch already: `teacher_logits`, `teacher_features`.

    `DistillationTrainer` makes one where it is given no teacher and the items of a map-style data set hold them; pass
    one for a data set that only yields its items one by one.

    Args:
        num_labels: number of classes of the logits; None: there are none.
        feature_dim: width of the pooled features; None: there are none.
        classes: whose classes the logits are of; `DistillationTrainer` takes the student's, as for labels.

    Raises:
        ValueError: if there are neither logits nor features.
    """

    num_labels: int | None = None
    feature_dim: int | None = None
    preprocessing: tuple[Preprocessing | None, ...] = ()

    def __init__(
        self, num_labels: int | None = None, feature_dim: int | None = None, classes: HasClasses | None = None
    ) -> None:
        if num_labels is None and feature_dim is None:
            raise ValueError(
                "`num_labels` and `feature_dim` are both None; expected at least one: the width of the "
                f"`{LOGITS}` or of the `{FEATURES}` in the items."
            )
        self.num_labels = num_labels
        self.feature_dim = feature_dim
        self.classes = classes

    @property
    def id2label(self) -> Mapping[int, str] | None:
        """Names of the classes, where there are as many."""
        return self.classes.id2label if self.classes and self.classes.num_labels == self.num_labels else None

    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        """Return what the batch holds; nothing where it holds none, as in evaluation it may.

        Returns:
            Logits `(batch, num_labels)` and features `(batch, feature_dim)`, float32.

        Raises:
            ValueError: for answers of another width.
        """
        return TeacherOutput(
            logits=_of_width(batch.get(LOGITS), self.num_labels, LOGITS),
            features=_of_width(batch.get(FEATURES), self.feature_dim, FEATURES),
        )


def answers_in_items(dataset: Any, classes: HasClasses) -> GivenAnswers | None:
    """Return the teacher that stands in a data set's first item, if there is one.

    Args:
        dataset: that is trained on.
        classes: the student's.

    Raises:
        ValueError: if what stands there is no vector.
    """
    item = _first_item(dataset)
    logits, features = (_width(item[name], name) if name in item else None for name in (LOGITS, FEATURES))
    return None if logits is None and features is None else GivenAnswers(logits, features, classes)


def _first_item(dataset: Any) -> Mapping[str, Any]:
    if not is_map_style(dataset) or len(dataset) == 0:
        return {}
    if isinstance(dataset, datasets.Dataset) and dataset.format["type"] != "custom":
        # Without decoding an image.
        columns = [name for name in (LOGITS, FEATURES) if name in dataset.column_names]
        return dataset.with_format(None).select_columns(columns)[0] if columns else {}
    with generators_kept():
        item = dataset[0]
    return item if isinstance(item, Mapping) else {}


def _width(value: Any, name: str) -> int:
    try:
        answer = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"`{name}` of the first item is a {type(value).__name__}; expected a vector of numbers. Let the items "
            "hold one each, or leave it out and pass the teacher itself."
        ) from error
    if answer.ndim != 1 or len(answer) == 0:
        raise ValueError(
            f"`{name}` of the first item has the shape {tuple(answer.shape)}; expected one vector an image: the "
            "logits of all classes, or the features after pooling. Let the items hold it so."
        )
    return len(answer)


def _of_width(answers: Tensor | None, width: int | None, name: str) -> Tensor | None:
    if answers is None or width is None:
        return None
    if answers.ndim != 2 or answers.shape[1] != width:
        raise ValueError(
            f"`{name}` of a batch has the shape {tuple(answers.shape)}; expected (batch, {width}), as in the first "
            "item. Let every item hold an answer of the same width."
        )
    return answers.float()
