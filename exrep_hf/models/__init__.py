"""Student models: any timm or Hugging Face image classifier, with an Input Distiller before it."""

from typing import TYPE_CHECKING

from transformers import AutoConfig

from .configuration_exrep import ExRepConfig, first_use
from .names_on_demand import names_on_demand
from .whole_parameters import whole_parameters

if TYPE_CHECKING:
    from .backbone import load_classifier, set_input_size, set_labels
    from .classifier_heads import feature_definition
    from .feature_reader import FeatureReader
    from .input_distiller import LightDistiller, PaperDistiller
    from .model_files import check_no_revision, check_processor_files
    from .modeling_exrep import ExRepForImageClassification, StudentOutput
    from .pooled_features import Features, PooledReader
    from .precision import to_float32
    from .text_tower import TextWeights, TwoTowers
    from .timm_module import timm_names
    from .vision_backbone import has_classifier, load_teacher_network, vision_tower
    from .whole_weights import load_whole


def _register_networks() -> None:
    from transformers import AutoModelForImageClassification

    from .modeling_exrep import ExRepForImageClassification

    AutoModelForImageClassification.register(ExRepConfig, ExRepForImageClassification, exist_ok=True)


AutoConfig.register(ExRepConfig.model_type, ExRepConfig, exist_ok=True)
# timm takes seconds to import: not before somebody has a configuration to make a network of.
first_use.append(_register_networks)

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

# A module and its function of one name (`whole_parameters`) are no names to put off.
__getattr__ = names_on_demand(
    __name__,
    {
        "backbone": ["load_classifier", "set_input_size", "set_labels"],
        "classifier_heads": ["feature_definition"],
        "feature_reader": ["FeatureReader"],
        "input_distiller": ["LightDistiller", "PaperDistiller"],
        "model_files": ["check_no_revision", "check_processor_files"],
        "modeling_exrep": ["ExRepForImageClassification", "StudentOutput"],
        "pooled_features": ["Features", "PooledReader"],
        "precision": ["to_float32"],
        "text_tower": ["TextWeights", "TwoTowers"],
        "timm_module": ["timm_names"],
        "vision_backbone": ["has_classifier", "load_teacher_network", "vision_tower"],
        "whole_weights": ["load_whole"],
    },
)
