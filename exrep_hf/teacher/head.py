"""Another head for a teacher: one that was fitted on its features, or none."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exrep_hf.data import Preprocessing, ViewPolicy
from exrep_hf.data.classes import HasClasses
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher.head_file import save_head as save_probe
from exrep_hf.teacher.identity import joined_fingerprint
from exrep_hf.teacher.linear_probe import LinearProbe
from exrep_hf.teacher.reading_ahead import AnswerReader, answer_reader_of
from exrep_hf.teacher.source import TeacherSource, compile_source
from exrep_hf.teacher.text_head import text_in_words


class _OtherHead(TeacherSource):
    """A source round another one, whose images, views, networks and features it has."""

    def __init__(self, source: TeacherSource) -> None:
        if source.feature_dim is None:
            raise ValueError(
                f"The teacher, a {type(source).__name__}, gives no features, and a head of its own is all it has. "
                "Leave `teacher_head` out, or pass a teacher that gives features."
            )
        self.source = source_of(source)

    @property
    def feature_dim(self) -> int:
        """Width of the source's features."""
        assert self.source.feature_dim is not None
        return self.source.feature_dim

    @property
    def preprocessing(self) -> tuple[Preprocessing | None, ...]:
        """How the source wants its sets of pixels."""
        return self.source.preprocessing

    @property
    def views(self) -> ViewPolicy | None:
        """The views that the source can be queried on."""
        return self.source.views

    @property
    def fingerprint(self) -> str | None:
        """The source's: its features are what is answered."""
        return self.source.fingerprint

    def networks(self) -> Iterable[nn.Module]:
        """Return the source's networks."""
        return self.source.networks()

    def compile(self, backend: str | None, mode: str | None) -> None:
        """Compile what the source's answers come from."""
        compile_source(self.source, backend, mode)

    def answer_reader(self) -> AnswerReader | None:
        """Return what reads the source's answers; None where there is nothing to read."""
        return answer_reader_of(self.source)

    def check_images(self, dataset: Any) -> None:
        """Make sure that the source can be queried on a training data set; errors are its own."""
        self.source.check_images(dataset)

    def check_temperature(self, temperature: float) -> None:
        """Take any temperature: the source's logits are not used."""

    def features(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        """Return the source's features of a batch, `(batch, feature_dim)`."""
        return self.source(batch).features


class FeaturesOnly(_OtherHead):
    """Any source, with its logits left out.

    Args:
        source: whom to ask.

    Raises:
        ValueError: if it gives no features.
    """

    num_labels: int | None = None

    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        """Ask the source; its logits are not told."""
        return TeacherOutput(features=self.features(batch))


class HeadTeacher(_OtherHead):
    """Any source with another head on its features in place of its own; made of by `ProbedTeacher`, `TextTeacher`."""

    def __init__(self, source: TeacherSource) -> None:
        super().__init__(source)
        self._placed: dict[torch.device, tuple[Tensor, ...]] = {}

    @abstractmethod
    def _tensors(self) -> tuple[Tensor, ...]:
        """Return the head's weights, on the CPU; none where it has none yet."""

    @abstractmethod
    def _classify(self, features: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
        """Return logits of features `(batch, feature_dim)`, float32, by weights that lie beside them."""

    @abstractmethod
    def facts(self) -> dict[str, Any] | None:
        """Return what is told of the head, of JSON types: `kind` and more; None where there is none yet."""

    @abstractmethod
    def save_head(self, path: Path) -> None:
        """Write the head, where there is one, whole or not at all."""

    @property
    def fingerprint(self) -> str | None:
        """Hash of the source's fingerprint and of the head's weights, where there are both; else the source's."""
        own, weights = self.source.fingerprint, self._tensors()
        return own if own is None or not weights else joined_fingerprint([own, tensors_sha256(weights)])

    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        """Ask the source for features, and classify them in float32.

        Returns:
            Logits `(batch, num_labels)` and the source's features `(batch, feature_dim)`, float32; neither where the
            source has none for this batch.

        Raises:
            ValueError: if there is no head yet.
        """
        if not self._tensors():
            raise ValueError(
                "The teacher's head is not fitted yet. Let `DistillationTrainer` fit it (`teacher_head='probe'`), or "
                "set `head`."
            )
        features = self.features(batch)
        if features is None:
            return TeacherOutput()
        weights = self._on(features.device)
        # The head is of full precision; autocast would round its logits.
        with torch.autocast(features.device.type, enabled=False):
            logits = self._classify(features.float(), weights)
        return TeacherOutput(logits=logits, features=features)

    def _on(self, device: torch.device) -> tuple[Tensor, ...]:
        if device not in self._placed:
            # Kept there: it would be copied, and waited for, at each step.
            self._placed[device] = tuple(weight.to(device) for weight in self._tensors())
        return self._placed[device]


class ProbedTeacher(HeadTeacher):
    """Any source with a linear head on its features in place of its own; its classes are those the head was fitted on.

    Args:
        source: whose features they are.
        classes: whose classes the head has, in their order: the student's, or what else it was fitted for. Their names
            are read when they are asked for.
        head: of `fit_linear_probe`; may be set later, before the first batch.

    Attributes:
        source: the same, without a head that was put on it before.
        head: the linear classifier.

    Raises:
        ValueError: if the source gives no features, or if the head has other classes or takes other features.
    """

    def __init__(self, source: TeacherSource, classes: HasClasses, head: LinearProbe | None = None) -> None:
        super().__init__(source)
        self._classes = classes
        self._head: LinearProbe | None = None
        self.head = head

    @property
    def head(self) -> LinearProbe | None:
        """The linear classifier; None until it is set."""
        return self._head

    @head.setter
    def head(self, head: LinearProbe | None) -> None:
        expected = (self.num_labels, self.feature_dim)
        if head is not None and tuple(head.weight.shape) != expected:
            raise ValueError(
                f"The head has (classes, width) {tuple(head.weight.shape)}; expected {expected}. Fit it on this "
                "teacher's features and for these classes."
            )
        self._head = head
        self._placed.clear()

    @property
    def num_labels(self) -> int:
        """Number of the head's classes."""
        return self._classes.num_labels or 0

    @property
    def id2label(self) -> Mapping[int, str] | None:
        """Names of the head's classes."""
        return self._classes.id2label

    def facts(self) -> dict[str, Any] | None:
        """Return what `probe_facts` tells of the head; None until it is set."""
        return None if self._head is None else probe_facts(self._head)

    def save_head(self, path: Path) -> None:
        """Write the head, where there is one, whole or not at all."""
        if self._head is not None:
            save_probe(self._head, path)

    def _tensors(self) -> tuple[Tensor, ...]:
        return () if self._head is None else (self._head.weight, self._head.bias)

    def _classify(self, features: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
        return F.linear(features, *weights)


def tensors_sha256(weights: Iterable[Tensor]) -> str:
    """Return the SHA-256 of a head's weights."""
    digest = hashlib.sha256()
    for value in weights:
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def source_of(teacher: TeacherSource) -> TeacherSource:
    """Return the source below heads that were put on it; one with its own head is its own source."""
    while isinstance(teacher, _OtherHead):
        teacher = teacher.source
    return teacher


def head_in_words(facts: Mapping[str, Any] | None) -> str | None:
    """Return what a card says of a head that is not the teacher's own, from the facts about it; None for any other."""
    if facts is None or facts["kind"] not in ("probe", "text"):
        return None
    if facts["kind"] == "text":
        return text_in_words(facts)
    told = f"a linear classifier on its features, fitted on {facts['images']} labelled images"
    accuracy = facts["accuracy"]
    return told if accuracy is None else f"{told} (cross-validated top-1 {100 * accuracy:.1f} %)"


def probe_facts(head: LinearProbe) -> dict[str, Any]:
    """Return what is told of a head that was fitted, of JSON types: kind, cross-validated figures, images."""
    return {
        "kind": "probe",
        "accuracy": head.accuracy,
        "log_loss": head.log_loss,
        "images": head.images,
        "views": head.views,
        "strength": head.strength,
        "sha256": tensors_sha256((head.weight, head.bias)),
    }
