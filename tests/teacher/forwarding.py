"""A source round another one, which only forwards: whatever holds for the inner one has to hold for it."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from exrep_hf.data import Preprocessing, ViewPolicy
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher import TeacherSource


class Forwarding:
    def __init__(self, source: TeacherSource) -> None:
        self._source = source

    @property
    def num_labels(self) -> int | None:
        return self._source.num_labels

    @property
    def id2label(self) -> Mapping[int, str] | None:
        return self._source.id2label

    @property
    def feature_dim(self) -> int | None:
        return self._source.feature_dim

    @property
    def preprocessing(self) -> tuple[Preprocessing | None, ...]:
        return self._source.preprocessing

    @property
    def views(self) -> ViewPolicy | None:
        return self._source.views

    @property
    def fingerprint(self) -> str | None:
        return self._source.fingerprint

    def networks(self) -> Iterable[nn.Module]:
        return self._source.networks()

    def check_images(self, dataset: Any) -> None:
        self._source.check_images(dataset)

    def check_temperature(self, temperature: float) -> None:
        self._source.check_temperature(temperature)

    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        return self._source(batch, temperature=temperature)
