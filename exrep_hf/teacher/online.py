"""A teacher that is asked at every step."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from exrep_hf.data import Preprocessing, ViewPolicy
from exrep_hf.data.pixels import teacher_pixels
from exrep_hf.models import FeatureReader, load_classifier
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher.identity import network_fingerprint


class OnlineTeacher:
    """A frozen network: always in `eval()`, never under gradients, in no checkpoint.

    It is deliberately no `nn.Module`: nothing that is done to the trained module (`train()`, `state_dict()`,
    sharding) reaches it.

    Args:
        model: a `*ForImageClassification` of transformers or a classifier of timm. It is frozen, not copied.
        processing_class: the teacher's image processor; found from the model where not given.

    Attributes:
        model: the network.
        preprocessing: one entry, how it wants its images; None where it does not say, in which case batches have to
            hold them as it wants them.

    Raises:
        ValueError: if the model has no classifier.
    """

    def __init__(self, model: PreTrainedModel | nn.Module, processing_class: BaseImageProcessor | None = None) -> None:
        self._reader = FeatureReader(model)
        self.num_labels = self._reader.num_labels
        self.id2label: dict[int, str] | None = getattr(getattr(model, "config", None), "id2label", None)
        self.feature_dim = self._reader.feature_dim
        self.preprocessing: tuple[Preprocessing | None, ...] = (_preprocessing(model, processing_class),)
        self.views: ViewPolicy | None = None
        self.model = model.eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], revision: str | None = None) -> "OnlineTeacher":
        """Load a published classifier: Hub name, `timm/...` or local folder, in the type of its weights.

        Raises:
            ValueError: if there is no such model, naming what was asked for.
        """
        return cls(load_classifier(name_or_path, revision=revision, dtype=None))

    @property
    def fingerprint(self) -> str:
        """Hash of the names, shapes and first values of all weights, 16 hexadecimal digits."""
        return network_fingerprint(self.model)

    def networks(self) -> list[nn.Module]:
        """Return the one network."""
        return [self.model]

    def check_images(self, dataset: Any) -> None:
        """Take any images."""

    def check_temperature(self, temperature: float) -> None:
        """Take any temperature."""

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        """Answer `teacher_pixel_values` where the batch has them, else `pixel_values`.

        Returns:
            Logits `(batch, num_labels)` and pooled features before dropout `(batch, feature_dim)`, float32, on the
            device of the images.
        """
        (images,) = teacher_pixels(batch, 1)
        # At each call, because the model is the caller's too: what they do to it must not change the answers.
        self.model.eval()
        weight = next(self.model.parameters())
        if weight.device != images.device:
            self.model.to(images.device)
        # A teacher in half precision, or images that a backend cast for the student, must not meet another dtype.
        logits, features = self._reader(self.model, images.to(weight.dtype))
        return TeacherOutput(logits=logits.float(), features=features.float())


def _preprocessing(model: nn.Module, processing_class: BaseImageProcessor | None) -> Preprocessing | None:
    if processing_class is not None:
        return Preprocessing.from_image_processor(processing_class)
    try:
        return Preprocessing.from_model(model)
    except ValueError:
        return None
