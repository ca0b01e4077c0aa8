"""What a teacher's features are, where they are not simply the input of one final layer."""

from collections.abc import Mapping
from typing import Any

import timm
import torch

from exrep_hf.models import feature_definition
from exrep_hf.teacher.head import source_of
from exrep_hf.teacher.identity import network_fingerprint
from exrep_hf.teacher.online import OnlineTeacher
from exrep_hf.teacher.source import TeacherSource

OWN = "own"
"""Of teachers that read their features by themselves, and go by the name of a network that is read otherwise."""


def features_of(teacher: TeacherSource) -> str | None:
    """Return "pre_logits" for a teacher whose networks pool their features by themselves; None for any other.

    A source of one network that is not known by its weights alone is taken to read features of its own.
    """
    teacher = source_of(teacher)
    networks = list(teacher.networks())
    if len(networks) == 1 and teacher.fingerprint != network_fingerprint(networks[0]):
        return None
    return next(filter(None, map(feature_definition, networks)), None)


def stored_definition(teacher: TeacherSource, name: str | None, num_labels: int) -> dict[str, str]:
    """Return what a plan says about the features of a teacher of this name: entries, or nothing."""
    definition = features_of(teacher) or (OWN if _definition_of_name(name, num_labels) is not None else None)
    entries = {} if definition is None else {"features": definition}
    source = source_of(teacher)
    if isinstance(source, OnlineTeacher) and source.features != "own":
        entries["pooling"] = source.features
    return entries


def check_stored_features(stored: Mapping[str, Any], where: str) -> None:
    """Make sure that stored features are what this release reads.

    Args:
        stored: the entry `teacher` of a plan.
        where: the folder or name of the stored answers, for the message.

    Raises:
        ValueError: if they are of a network whose features are the input of one of its layers no more.
    """
    num_labels = stored.get("num_labels") or 0
    if stored.get("features") is None and _definition_of_name(stored["name"], num_labels) is not None:
        raise ValueError(other_features(where, stored["name"]))


def other_features(where: str, name: str | None) -> str:
    """Return why stored features of a network cannot be used together with those that are read."""
    return (
        f"The features that {where!r} holds of {name or 'its teacher'} are the input of a single layer of a head; for "
        "this family features are what the network itself pools (timm: `forward_head(..., pre_logits=True)`). Store "
        "the answers again in another folder."
    )


def _definition_of_name(name: str | None, num_labels: int) -> str | None:
    architecture = (name or "").removeprefix("timm/").split(".")[0]
    if not (name or "").startswith("timm/") or not timm.is_model(architecture):
        return None
    # Without weights: only the structure is looked at.
    with torch.device("meta"):
        return feature_definition(timm.create_model(architecture, num_classes=num_labels))
