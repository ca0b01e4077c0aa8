"""A teacher that is asked at every step."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from exrep_hf.data import Preprocessing, ViewPolicy
from exrep_hf.data.pixels import teacher_pixels
from exrep_hf.models import (
    FeatureReader,
    Features,
    PooledReader,
    has_classifier,
    load_teacher_network,
    timm_names,
    vision_tower,
)
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher.identity import joined_fingerprint, network_fingerprint


class OnlineTeacher:
    """A frozen network: always in `eval()`, never under gradients, in no checkpoint.

    It is deliberately no `nn.Module`: nothing that is done to the trained module (`train()`, `state_dict()`,
    sharding) reaches it.

    Args:
        model: a classifier, or a network without one, of transformers or timm; of a model with two towers the one for
            images is taken. It is frozen, not copied.
        processing_class: the teacher's image processor; found from the model where not given.
        features: what its features are: `own` is what the model itself pools (timm's `forward_head(pre_logits=True)`,
            transformers' `pooler_output`, or what enters a classifier's last layer), `cls` the first token, `mean`
            the mean of the patches' tokens.
        batch_size: images that it answers at a time; all of a batch where not given.

    Attributes:
        model: the network.
        features: as given.
        batch_size: as given.
        num_labels: number of classes; None for a network without a classifier.
        id2label: names of the classes, where it has any.
        feature_dim: width of the features.
        preprocessing: one entry, how it wants its images; None where it does not say, in which case batches have to
            hold them as it wants them.

    Raises:
        ValueError: if the model takes no images, or has no such features.
    """

    def __init__(
        self,
        model: PreTrainedModel | nn.Module,
        processing_class: BaseImageProcessor | None = None,
        features: Features = "own",
        batch_size: int | None = None,
    ) -> None:
        if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
            raise ValueError(
                f"`batch_size` is {batch_size!r}; expected a whole number of images ≥ 1, or None for all."
            )
        preprocessing = _preprocessing(model, processing_class)
        model = vision_tower(model)
        self._reader = _reader(model, features, preprocessing)
        self.num_labels = self._reader.num_labels
        self.id2label: dict[int, str] | None = None
        if self.num_labels is not None:
            self.id2label = getattr(getattr(model, "config", None), "id2label", None) or timm_names(model)
        self.feature_dim = self._reader.feature_dim
        self.preprocessing: tuple[Preprocessing | None, ...] = (preprocessing,)
        self.views: ViewPolicy | None = None
        self.features, self.batch_size = features, batch_size
        self.model = model.eval().requires_grad_(False)
        # To look at all modules at each call is much faster than to set them.
        self._modules = tuple(model.modules())
        self._read: Callable[[nn.Module, Tensor], tuple[Tensor | None, Tensor]] = self._reader.__call__
        self.is_compiled = False

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        revision: str | None = None,
        dtype: torch.dtype | None = None,
        features: Features = "own",
        batch_size: int | None = None,
    ) -> "OnlineTeacher":
        """Load a published network: a classifier where its head's weights are there, else what is below it.

        Args:
            name_or_path: Hub name, `timm/...` or local folder.
            revision: branch, tag or commit on the Hub.
            dtype: of the weights; None: as they were saved.
            features: as in the class.
            batch_size: as in the class.

        Raises:
            ValueError: if there is no such model, naming what was asked for; or its weights are not whole.
        """
        network = load_teacher_network(name_or_path, revision, dtype)
        return cls(network, features=features, batch_size=batch_size)

    @property
    def fingerprint(self) -> str:
        """Hash of the names, shapes and first values of all weights, 16 hexadecimal digits.

        For features that are not the network's own it is another.
        """
        of_weights = network_fingerprint(self.model)
        return of_weights if self.features == "own" else joined_fingerprint([of_weights, self.features])

    def networks(self) -> list[nn.Module]:
        """Return the one network."""
        return [self.model]

    def compile(self, backend: str | None, mode: str | None) -> None:
        """Compile the forward, with settings of `torch.compile`; once."""
        if not self.is_compiled:
            self._read = torch.compile(self._reader.__call__, backend=backend or "inductor", mode=mode)
            self.is_compiled = True

    def check_images(self, dataset: Any) -> None:
        """Take any images."""

    def check_temperature(self, temperature: float) -> None:
        """Take any temperature."""

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        """Answer `teacher_pixel_values` where the batch has them, else `pixel_values`.

        Returns:
            Logits `(batch, num_labels)`, where there is a classifier, and pooled features before dropout
            `(batch, feature_dim)`, float32, on the device of the images.

        Raises:
            ValueError: for images that are not normalised.
        """
        (images,) = teacher_pixels(batch, 1)
        if not images.is_floating_point():
            raise ValueError(
                f"The batch holds pixels of {images.dtype}, as batches of a `DistillationTrainer`'s loaders do; "
                "expected normalised images. Pass it through `exrep_hf.data.Normalising(student, teachers)` first, "
                "with how both want their images."
            )
        # At each call, because the model is the caller's too: what they do to it must not change the answers.
        if any(module.training for module in self._modules):
            self.model.eval()
        weight = next(self.model.parameters())
        if weight.device != images.device:
            self.model.to(images.device)
        # A teacher in half precision, or images that a backend cast for the student, must not meet another dtype.
        images = images.to(weight.dtype)
        logits, features = [], []
        for part in images.split(self.batch_size or max(len(images), 1)):
            own, pooled = self._read(self.model, part)
            # A copy: a CUDA graph writes the next part's answers where it wrote these.
            logits += [] if own is None else [own.float().clone()]
            features.append(pooled.float().clone())
        return TeacherOutput(logits=torch.cat(logits) if logits else None, features=torch.cat(features))


def _reader(model: nn.Module, features: Features, preprocessing: Preprocessing | None) -> FeatureReader | PooledReader:
    if features == "own" and has_classifier(model):
        return FeatureReader(model)
    image = None
    if preprocessing is not None:
        image = torch.zeros(len(preprocessing.mean), preprocessing.height, preprocessing.width)
    return PooledReader(model, features, image)


def _preprocessing(model: nn.Module, processing_class: BaseImageProcessor | None) -> Preprocessing | None:
    if processing_class is not None:
        return Preprocessing.from_image_processor(processing_class)
    try:
        return Preprocessing.from_model(model)
    except ValueError:
        return None
