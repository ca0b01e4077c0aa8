"""A teacher that classifies images by what the classes are called."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from exrep_hf.models import TextWeights
from exrep_hf.teacher.head import HeadTeacher, tensors_sha256
from exrep_hf.teacher.head_file import save_text_head
from exrep_hf.teacher.source import TeacherSource
from exrep_hf.teacher.text_head import TextHead, text_facts


class TextTeacher(HeadTeacher):
    """Any source of what a vision tower pools, with a head of the text tower's beside it; features are the source's.

    Args:
        source: whose features they are.
        head: of `make_text_head`; another one for the same classes may be set later.

    Raises:
        ValueError: if the source gives no features, or others than the head takes.
    """

    def __init__(self, source: TeacherSource, head: TextHead) -> None:
        super().__init__(source)
        self.head = head

    @property
    def head(self) -> TextHead:
        """The classifier, with names and prompts."""
        return self._head

    @head.setter
    def head(self, head: TextHead) -> None:
        weights = head.weights
        width = (weights.weight if weights.projection is None else weights.projection).shape[1]
        if width != self.feature_dim:
            raise ValueError(
                f"The head takes features of width {width}, and the teacher's are {self.feature_dim} wide; expected "
                "the same. Make it of the teacher's own checkpoint."
            )
        self._head = head
        self._placed.clear()

    @property
    def num_labels(self) -> int:
        """Number of classes."""
        return len(self._head.names)

    @property
    def id2label(self) -> Mapping[int, str]:
        """Names of the classes."""
        return dict(enumerate(self._head.names))

    def facts(self) -> dict[str, Any]:
        """Return what is told of the head, of JSON types: kind, prompts, words."""
        return text_facts(self._head) | {"sha256": tensors_sha256(self._tensors())}

    def save_head(self, path: Path) -> None:
        """Write the head whole or not at all."""
        save_text_head(self._head, path)

    def _tensors(self) -> tuple[Tensor, ...]:
        weights = self._head.weights
        projection = () if weights.projection is None else (weights.projection,)
        return (weights.weight, weights.bias, *projection)

    def _classify(self, features: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
        weight, bias, *projection = weights
        return TextWeights(weight, bias, projection[0] if projection else None).logits(features)
