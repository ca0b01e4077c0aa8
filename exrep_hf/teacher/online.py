"""A teacher that is asked at every step."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from exrep_hf.data import Preprocessing
from exrep_hf.models import FeatureReader, load_classifier
from exrep_hf.outputs import TeacherOutput


class OnlineTeacher:
    """A frozen network: always in `eval()`, never under gradients, in no checkpoint.

    It is deliberately no `nn.Module`: nothing that is done to the trained module (`train()`, `state_dict()`,
    sharding) reaches it.

    Args:
        model: a `*ForImageClassification` of transformers or a classifier of timm.
        processing_class: the teacher's image processor; found from the model where not given.

    Raises:
        ValueError: if the model has no classifier, or does not say how it wants its images.
    """

    training_images_only = False

    def __init__(
        self, model: PreTrainedModel | nn.Module, processing_class: BaseImageProcessor | None = None
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self._reader = FeatureReader(model)
        self.num_labels = self._reader.num_labels
        self.id2label: dict[int, str] | None = getattr(getattr(model, "config", None), "id2label", None)
        self.feature_dim = self._reader.feature_dim
        self.preprocessing: Preprocessing | None = (
            Preprocessing.from_model(model)
            if processing_class is None
            else Preprocessing.from_image_processor(processing_class)
        )

    @classmethod
    def from_pretrained(cls, name_or_path: str, revision: str | None = None) -> "OnlineTeacher":
        """Load a published classifier: Hub name, `timm/...` or local folder.

        Raises:
            ValueError: if there is no such model, naming what was asked for.
        """
        return cls(load_classifier(name_or_path, revision=revision))

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Tensor]) -> TeacherOutput:
        """Answer `teacher_pixel_values` where the batch has them, else `pixel_values`.

        Returns:
            Logits `(batch, num_labels)` and pooled features `(batch, feature_dim)`, float32.
        """
        images = batch["teacher_pixel_values"] if "teacher_pixel_values" in batch else batch["pixel_values"]
        # Each time, because the model is the caller's too: what it does to it must not change the answers.
        self.model.eval().to(images.device)
        logits, features = self._reader(self.model, images)
        return TeacherOutput(logits=logits.float(), features=features.float())
