"""An image classifier with an Input Distiller before it."""

import copy
import importlib
import logging
import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForImageClassification, PreTrainedModel
from transformers.utils import ModelOutput

from .backbone import fit_head, image_shape, load_with_head, make_plain
from .classifier_heads import logits_of
from .configuration_exrep import Distiller, ExRepConfig
from .feature_reader import FeatureReader
from .input_distiller import LightDistiller, PaperDistiller, initialize_layer
from .new_head import is_head_wanted, reset_timm_head
from .precision import to_float32
from .timm_module import has_learnt, is_timm_module, wrap_timm
from .whole_parameters import whole_parameters
from .whole_weights import check_whole

logger = logging.getLogger(__name__)


@dataclass
class StudentOutput(ModelOutput):
    """What a student says about a batch.

    Attributes:
        loss: cross-entropy, a scalar, where labels were given.
        logits: `(batch, num_labels)`.
        features: pooled final features, `(batch, feature_dim)`, where asked for.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    features: Tensor | None = None


class ExRepForImageClassification(PreTrainedModel):
    """A student `S` that receives `x + G(x)`, where `G` is the Input Distiller (Jeon et al., ACCV 2020).

    Args:
        config: which classifier and which distiller. Both start untrained, the distiller at exactly zero residual;
            see `from_backbone` for a trained classifier.

    Attributes:
        classifier: an ordinary Hugging Face image classifier, timm's by `TimmWrapperForImageClassification`.
        input_distiller: the network that emits the residual, or None.
        preset: the one that `from_backbone` took its settings from, if any.
        starts_from_nothing: whether no weights of the classifier were loaded: what training starts from decides its
            learning rate.
        has_new_head: whether the last layer alone is untrained, so that its classes may get any names.
    """

    config: ExRepConfig
    config_class = ExRepConfig
    main_input_name = "pixel_values"
    # The Trainer divides the loss under gradient accumulation by itself.
    accepts_loss_kwargs = False

    def __init__(self, config: ExRepConfig):
        super().__init__(config)
        self.input_distiller = _build_distiller(config)
        self.classifier = AutoModelForImageClassification.from_config(config.build_backbone_config())
        self.supports_gradient_checkpointing = self.classifier.supports_gradient_checkpointing
        self._reader = FeatureReader(self.classifier)
        self.preset: str | None = None
        self.starts_from_nothing = not config.name_or_path
        self.has_new_head = False
        self.post_init()
        # A classifier may list block names that it doesn't hold, and FSDP's wrapping policy fails on those.
        present = {type(module).__name__ for module in self.modules()}
        self._no_split_modules = set(self._no_split_modules or ()) & present

    @property
    def feature_dim(self) -> int:
        """Width of the pooled features."""
        return self._reader.feature_dim

    def residual(self, pixel_values: Tensor) -> Tensor:
        """Return what the Input Distiller adds to an image: `(batch, channels, height, width)`, in (-1, 1)."""
        if self.input_distiller is None:
            return torch.zeros_like(pixel_values)
        return self.input_distiller(pixel_values.to(self.dtype))

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_features: bool = False,
        with_residual: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> StudentOutput | tuple[Tensor, ...]:
        """Classify a batch.

        Args:
            pixel_values: images, normalised as the classifier expects, `(batch, channels, height, width)`.
            labels: class indices, `(batch,)`; adds the cross-entropy to the output.
            output_features: add the pooled features, `(batch, feature_dim)`.
            with_residual: which images get their residual, `(batch,)` of bool; None: all of them.
            return_dict: False for a tuple of those parts of the output that are there.

        Raises:
            ValueError: for images that are not normalised.
        """
        if not pixel_values.is_floating_point():
            raise ValueError(
                f"`pixel_values` are of {pixel_values.dtype}; expected normalised images, floating-point. Normalise "
                "them as the student's image processor does; batches of a trainer's loaders by "
                "`exrep_hf.data.Normalising`."
            )
        # Here, so that weights in bfloat16 take images in float32, whatever the classifier's own habits.
        pixel_values = pixel_values.to(self.dtype)
        if self.input_distiller is not None:
            residual = self.input_distiller(pixel_values)  # (batch, channels, height, width)
            if with_residual is not None:
                residual = residual * with_residual[:, None, None, None]
            pixel_values = pixel_values + residual
        features = None
        if output_features:
            logits, features = self._reader(self.classifier, pixel_values)  # (batch, num_labels), (batch, feature_dim)
        else:
            logits = logits_of(self.classifier(pixel_values))  # (batch, num_labels)
        # In float32 also under autocast: bfloat16 has three digits.
        loss = F.cross_entropy(logits.float(), labels) if labels is not None else None
        output = StudentOutput(loss=loss, logits=logits, features=features)
        return output if return_dict is None or return_dict else output.to_tuple()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | None, *model_args: Any, **kwargs: Any
    ) -> Any:
        """Load as transformers does, but whole, and in float32 where no `dtype` is given.

        A checkpoint without an Input Distiller may be opened as a student with one, which starts at zero residual.
        Whoever asks for `output_loading_info` or `ignore_mismatched_sizes` judges what was loaded by themselves.

        Args:
            pretrained_model_name_or_path: Hub name or folder.
            *model_args: as in transformers.
            **kwargs: as in transformers.

        Raises:
            ValueError: if the checkpoint lacks weights, or has others.
        """
        if "torch_dtype" not in kwargs:
            kwargs.setdefault("dtype", torch.float32)
        load: Any = super().from_pretrained
        if {"output_loading_info", "ignore_mismatched_sizes"} & kwargs.keys():
            return load(pretrained_model_name_or_path, *model_args, **kwargs)
        model, report = load(
            pretrained_model_name_or_path,
            *model_args,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **kwargs,
        )
        distiller = {name for name in model.state_dict() if name.startswith("input_distiller.")}
        if distiller <= set(report["missing_keys"]):
            report["missing_keys"] = set(report["missing_keys"]) - distiller
        check_whole(model, report, str(pretrained_model_name_or_path))
        return model

    @classmethod
    def from_backbone(
        cls,
        backbone: str | os.PathLike[str] | nn.Module,
        distiller: Distiller | None = None,
        *,
        preset: str | None = None,
        distiller_channels: int | None = None,
        image_size: int | None = None,
        num_labels: int | None = None,
        id2label: dict[int, str] | None = None,
        pretrained: bool = True,
        revision: str | None = None,
        new_head: bool | None = None,
    ) -> "ExRepForImageClassification":
        """Put an Input Distiller before a classifier, whose answers stay what they are until it is trained.

        Args:
            backbone: a Hub name ("timm/tf_efficientnet_b1.aa_in1k", "microsoft/resnet-50"), a local folder, or an
                image classifier of transformers or timm, which is wrapped and not copied. Weights in half precision
                become float32: a student is trained.
            distiller: "light", "paper", or None for no distiller.
            preset: take those of `distiller`, `distiller_channels` and `image_size` that are not given from a preset,
                such as "exrep-paper".
            distiller_channels: width of the "light" distiller; 24 where nothing else is said.
            image_size: side in pixels; by default the classifier's own, or 224 where it names none.
            num_labels: number of classes; by default the classifier's. For another number the head is replaced by an
                untrained one, which is said, and a network without a head gets one.
            id2label: names of the classes, from 0 on.
            pretrained: False takes only the architecture of a name, with its library's initialisation.
            revision: branch, tag or commit on the Hub.
            new_head: True replaces the head in any case, False never.

        Raises:
            ValueError: not found, not a classifier, a network without a head and without `num_labels`, other classes
                than the head's with `new_head=False`, or as many by names that have nothing in common; or an unknown
                preset.
        """
        chosen = {} if preset is None else _settings_of_preset(preset)
        if distiller is None and chosen.get("distiller") != "none":
            distiller = chosen.get("distiller")
        distiller_channels = distiller_channels or chosen.get("distiller_channels", 24)
        image_size = image_size or chosen.get("image_size")
        if isinstance(backbone, os.PathLike):
            backbone = os.fspath(backbone)
        has_new_head = False
        if isinstance(backbone, str):
            untrained = not pretrained
            backbone, has_new_head = load_with_head(backbone, num_labels, id2label, pretrained, revision, new_head)
        elif is_timm_module(backbone):
            untrained = not has_learnt(backbone)
            backbone, has_new_head = _wrapped(backbone, num_labels, id2label, new_head)
        elif isinstance(backbone, PreTrainedModel):
            untrained = not backbone.name_or_path
            if not isinstance(backbone, ExRepForImageClassification):
                has_new_head = fit_head(backbone, num_labels, id2label, new_head)
        else:
            raise ValueError(
                f"`backbone` is a {type(backbone).__name__}; expected a name, or an image classifier of transformers "
                "or timm: a `*ForImageClassification`, or what `timm.create_model` makes."
            )
        if isinstance(backbone, ExRepForImageClassification):
            raise ValueError(
                "`backbone` is an ExRepForImageClassification already; expected a classifier without a distiller. "
                "Use `ExRepForImageClassification.from_pretrained`, or pass `backbone.without_distiller()`."
            )
        if found := to_float32(backbone):
            told = ", ".join(map(str, found))
            logger.warning("The weights of the given %s were %s and are float32 now.", type(backbone).__name__, told)
        if not backbone.config.architectures:
            # Where several classes share a configuration, transformers chooses by this name.
            backbone.config.architectures = [type(backbone).__name__]
        num_channels, own_size = image_shape(backbone.config)
        config = ExRepConfig(
            backbone_config=backbone.config,
            distiller=distiller,
            distiller_channels=distiller_channels,
            image_size=image_size or own_size or 224,
            num_channels=num_channels,
            num_labels=num_labels,
            id2label=id2label,
        )
        with whole_parameters():
            model = cls(config)
        # The untrained classifier that came with the configuration goes.
        model.classifier = backbone
        model._reader = FeatureReader(backbone)
        if model.input_distiller is not None:
            model.input_distiller.to(device=backbone.device, dtype=backbone.dtype)
        model.preset, model.starts_from_nothing = preset, untrained
        model.has_new_head = has_new_head and not untrained
        return model.train(backbone.training)

    def without_distiller(self) -> PreTrainedModel:
        """Return the plain classifier, as a deep copy that further training of this model doesn't change.

        Its `save_pretrained` folder loads with transformers alone, and a timm model's by
        `timm.create_model("local-dir:…", pretrained=True)` as well.
        """
        classifier = copy.deepcopy(self.classifier)
        # The copy has to load without this package, so it must not refer to anything of it.
        self._reader.detach_from(classifier)
        # Classes may have been renamed since; their one home is this model's configuration.
        labels = self.config.build_backbone_config()
        classifier.config.id2label, classifier.config.label2id = labels.id2label, labels.label2id
        return make_plain(classifier)

    def get_input_embeddings(self) -> nn.Module | None:  # type: ignore[override]
        """None: images have no token embeddings."""
        return None

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Not possible: images have no token embeddings."""
        raise NotImplementedError("ExRepForImageClassification has no token embeddings to set.")

    def _init_weights(self, module: nn.Module) -> None:
        # Reaches the distiller's layers only: transformers lets a nested PreTrainedModel initialise its own.
        initialize_layer(module)

    def _set_gradient_checkpointing(self, enable: bool = True, *args: Any, **kwargs: Any) -> None:
        self.classifier._set_gradient_checkpointing(enable, *args, **kwargs)


def _wrapped(
    module: nn.Module, num_labels: int | None, id2label: dict[int, str] | None, new_head: bool | None
) -> tuple[PreTrainedModel, bool]:
    """Return a network of timm as a classifier of transformers, and whether its head is a new one."""
    whose, count = f"The {type(module).__name__}", num_labels or (None if id2label is None else len(id2label))
    lacks_head = not module.num_classes
    if lacks_head:
        is_head_wanted(None, count, id2label, new_head, whose)
        reset_timm_head(module, count or 0, whose)
    wrapped = wrap_timm(module)
    return wrapped, fit_head(wrapped, num_labels, id2label, False if lacks_head else new_head) or lacks_head


def _settings_of_preset(name: str) -> dict[str, Any]:
    # No import at the top: this file is published beside weights, without the rest of the package.
    return importlib.import_module("exrep_hf.arguments.preset").read_preset(name).settings


def _build_distiller(config: ExRepConfig) -> LightDistiller | PaperDistiller | None:
    if config.distiller is None:
        return None
    if config.distiller == "light":
        return LightDistiller(config.num_channels, config.distiller_channels)
    return PaperDistiller(config.num_channels, config.image_size)
