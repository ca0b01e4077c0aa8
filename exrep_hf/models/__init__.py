"""Student models: any timm or Hugging Face image classifier, with an Input Distiller before it."""

from transformers import AutoConfig, AutoModelForImageClassification

from .backbone import load_classifier, set_input_size, set_labels
from .classifier_heads import feature_definition
from .configuration_exrep import ExRepConfig
from .feature_reader import FeatureReader
from .input_distiller import LightDistiller, PaperDistiller
from .modeling_exrep import ExRepForImageClassification, StudentOutput
from .whole_parameters import whole_parameters

AutoConfig.register(ExRepConfig.model_type, ExRepConfig, exist_ok=True)
AutoModelForImageClassification.register(ExRepConfig, ExRepForImageClassification, exist_ok=True)

__all__ = [
    "ExRepConfig",
    "ExRepForImageClassification",
    "FeatureReader",
    "LightDistiller",
    "PaperDistiller",
    "StudentOutput",
    "feature_definition",
    "load_classifier",
    "set_input_size",
    "set_labels",
    "whole_parameters",
]
