"""What a user may call a teacher."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
from torch import nn
from transformers import ResNetForImageClassification

from exrep_hf.teacher import OnlineTeacher, TeacherSource, as_teacher, check_apart


def test_kinds(network: ResNetForImageClassification, tmp_path: Path) -> None:
    """Each kind that is promised must be taken, a source as it is."""
    network.save_pretrained(tmp_path)
    source = OnlineTeacher(network)
    assert as_teacher(None) is None
    assert as_teacher(source) is source
    for given in (network, timm.create_model("test_resnet", num_classes=3), str(tmp_path), tmp_path):
        teacher = as_teacher(given)
        assert isinstance(teacher, OnlineTeacher) and teacher.num_labels == 3


def test_sources_are_recognised(network: ResNetForImageClassification) -> None:
    """A model with a few of the same attributes is no source, and would be asked in the wrong way."""
    assert isinstance(OnlineTeacher(network), TeacherSource)
    assert not isinstance(network, TeacherSource)


def test_source_that_is_a_module(network: ResNetForImageClassification) -> None:
    """Whoever writes a source as a module must not have it taken for a classifier."""

    class Ensemble(nn.Module):
        num_labels, id2label, feature_dim = 3, None, 6
        preprocessing, views, fingerprint = (None,), None, None

        def networks(self) -> list[nn.Module]:
            return [self]

        def check_images(self, dataset: Any) -> None:
            pass

        def check_temperature(self, temperature: float) -> None:
            pass

    source = Ensemble()
    assert as_teacher(source) is source


def test_something_else() -> None:
    """A class in the place of its object is a common slip."""
    with pytest.raises(ValueError, match="`teacher` is a type; expected a network"):
        as_teacher(ResNetForImageClassification)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`teacher` is a type; expected a network"):
        as_teacher(OnlineTeacher)  # type: ignore[arg-type]
    half = SimpleNamespace(num_labels=3, id2label=None, feature_dim=6, preprocessing=(), views=None, fingerprint=None)
    with pytest.raises(ValueError, match="it lacks networks, check_images, check_temperature, __call__"):
        as_teacher(half)


def test_shared_weights(network: ResNetForImageClassification) -> None:
    """One network in both roles is frozen, and its distance from itself is 0: a perfect loss."""
    with pytest.raises(ValueError, match="same network, or share weights"):
        check_apart(network, OnlineTeacher(network))
    check_apart(timm.create_model("test_resnet"), OnlineTeacher(network))
