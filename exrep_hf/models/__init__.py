"""Student models: any timm or Hugging Face image classifier, with an Input Distiller before it."""

from transformers import AutoConfig, AutoModelForImageClassification

from .backbone import load_classifier, set_input_size, set_labels
from .classifier_heads import feature_definition
from .configuration_exrep import ExRepConfig
from .feature_reader import FeatureReader
from .input_distiller import LightDistiller, PaperDistiller
from .model_files import check_no_revision, check_processor_files
from .modeling_exrep import ExRepForImageClassification, StudentOutput
from .pooled_features import Features, PooledReader
from .precision import to_float32
from .text_tower import TextWeights, TwoTowers
from .timm_module import timm_names
from .vision_backbone import has_classifier, load_teacher_network, vision_tower
from .whole_parameters import whole_parameters
from .whole_weights import load_whole

AutoConfig.register(ExRepConfig.model_type, ExRepConfig, exist_ok=True)
AutoModelForImageClassification.register(ExRepConfig, ExRepForImageClassification, exist_ok=True)

__all__ = [
    "ExRepConfig",
    "ExRepForImageClassification",
    "FeatureReader",
    "Features",
    "LightDistiller",
    "PaperDistiller",
    "PooledReader",
    "StudentOutput",
    "TextWeights",
    "TwoTowers",
    "check_no_revision",
    "check_processor_files",
    "feature_definition",
    "has_classifier",
    "load_classifier",
    "load_teacher_network",
    "load_whole",
    "set_input_size",
    "set_labels",
    "timm_names",
    "to_float32",
    "vision_tower",
    "whole_parameters",
]
