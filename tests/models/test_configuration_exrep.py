import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, ResNetConfig, TimmWrapperConfig

from exrep_hf.models import ExRepConfig

NAMES = {0: "cat", 1: "dog", 2: "cow"}


def resnet(**kwargs: Any) -> ResNetConfig:
    return ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], **kwargs)


def timm_config(num_classes: int = 3) -> TimmWrapperConfig:
    cfg = {"input_size": (3, 160, 160), "mean": (0.5, 0.5, 0.5)}
    config = {"architecture": "test_resnet", "pretrained_cfg": cfg, "num_classes": num_classes}
    return TimmWrapperConfig.from_dict(config)


CONFIGS = [
    ExRepConfig(),
    ExRepConfig(resnet(id2label=NAMES), "paper", image_size=240, num_channels=1),
    ExRepConfig(resnet(num_labels=2), None),
    ExRepConfig(timm_config(), "light", distiller_channels=8, id2label=NAMES),
    ExRepConfig(timm_config(1000), "light"),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_round_trips_are_exact(config: ExRepConfig, tmp_path: Path) -> None:
    """A field lost on the way through json would change the model or its labels on another machine."""
    expected = config.to_dict()
    assert ExRepConfig.from_dict(config.to_dict()).to_dict() == expected
    config.save_pretrained(tmp_path)
    for loaded in (ExRepConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is ExRepConfig
        loaded.name_or_path = ""
        assert loaded.to_dict() == expected


def test_labels_are_the_backbones() -> None:
    """A pipeline would answer LABEL_2 where the classifier said cow."""
    config = ExRepConfig(resnet(id2label=NAMES))
    assert config.num_labels == 3
    assert config.id2label == NAMES
    assert config.label2id == {"cat": 0, "dog": 1, "cow": 2}
    assert ExRepConfig(timm_config(1000)).to_dict()["id2label"][0] == "tench, Tinca tinca"


def test_given_labels_rename_and_reach_the_backbone() -> None:
    """The plain classifier that is taken out of the model must bear the same names."""
    for backbone_config in (resnet(num_labels=3), timm_config(), resnet(num_labels=3).to_dict()):
        config = ExRepConfig(backbone_config, id2label=NAMES)
        backbone = config.build_backbone_config()
        assert config.id2label == backbone.id2label == NAMES
        assert backbone.label2id == {"cat": 0, "dog": 1, "cow": 2}


def test_a_name_that_stands_for_two_classes() -> None:
    """ImageNet has two cranes: a label2id with one of them would map half of their images to the other."""
    config = ExRepConfig(resnet(num_labels=3), id2label={0: "crane", 1: "dog", 2: "crane"})
    assert config.num_labels == 3
    assert config.label2id is None


def test_backbone_is_rebuilt_as_its_own_class() -> None:
    """Fields of the architecture must survive, and those of the run that wrote the file must not be kept."""
    given = timm_config()
    given.name_or_path = "somewhere/private"
    config = ExRepConfig(given)
    assert config.backbone_config is not None
    assert not {"_name_or_path", "dtype", "label_names", "num_classes"} & config.backbone_config.keys()
    backbone = config.build_backbone_config()
    assert type(backbone) is TimmWrapperConfig
    assert backbone.architecture == "test_resnet"
    assert backbone.pretrained_cfg == {"input_size": [3, 160, 160], "mean": [0.5, 0.5, 0.5]}
    assert backbone.num_labels == 3


def test_the_given_backbone_config_is_not_changed() -> None:
    """Wrapping a classifier must not take the labels out of its own configuration."""
    given = resnet(id2label=NAMES).to_dict()
    before = dict(given)
    ExRepConfig(given).build_backbone_config()
    assert given == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"distiller": "heavy"}, "`distiller` is 'heavy'; expected one of 'light', 'paper' or None"),
        ({"distiller_channels": 0}, "`distiller_channels` is 0; expected at least 1"),
        ({"num_channels": 0}, "`num_channels` is 0; expected at least 1"),
        ({"image_size": 7}, "`image_size` is 7; expected 8 to .* with distiller='light'"),
        ({"image_size": 15, "distiller": "paper"}, "`image_size` is 15; expected 16 to 16384"),
        ({"backbone_config": {"depths": [1]}}, "model_type None, which the installed transformers doesn't know"),
        ({"backbone_config": {"model_type": "none-such"}}, "model_type 'none-such'"),
        ({"backbone_config": resnet(num_labels=3), "num_labels": 4}, "'num_labels': 4, 'backbone': 3"),
        ({"backbone_config": resnet(num_labels=3), "id2label": {0: "a"}}, "'backbone': 3, 'id2label': 1"),
    ],
)
def test_bad_input(fields: dict[str, Any], message: str) -> None:
    """Each of these would fail much later, or give a model that isn't the one that was asked for."""
    with pytest.raises(ValueError, match=message):
        ExRepConfig(**fields)


def test_without_backbone_nothing_is_built() -> None:
    """An empty configuration must say what is missing."""
    with pytest.raises(ValueError, match="no `backbone_config`.*from_backbone"):
        ExRepConfig().build_backbone_config()


def test_one_of_another_process_makes_its_network_known() -> None:
    """Unpickling makes no configuration anew, and transformers would not know which network it is for."""
    config = ExRepConfig(ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic"))
    code = f"""
import pickle
config = pickle.loads({pickle.dumps(config)!r})
from transformers import AutoModelForImageClassification
print(type(AutoModelForImageClassification.from_config(config)).__name__)
"""
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert made.stdout == "ExRepForImageClassification\n", made.stderr
