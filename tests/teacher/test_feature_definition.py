"""Stored features of families whose features are what the network itself pools."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher import CachedTeacher, OnlineTeacher
from exrep_hf.teacher.cache import Provenance
from exrep_hf.teacher.identity import network_fingerprint, network_sha256
from tests.teacher.forwarding import Forwarding

DISTILLED = "timm/deit_tiny_distilled_patch16_224.fb_in1k"


class Rows(torch.utils.data.Dataset):
    """Four images of noise."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        return {"pixel_values": torch.randn(3, 64, 64, generator=generator), "sample_index": index, "labels": 0}


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5, img_size=64, depth=1)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(teacher: Any, name: str) -> Path:
        CachedTeacher.write(teacher, Rows(), tmp_path / "answers", provenance=Provenance(name))
        return tmp_path / "answers" / "manifest.json"

    return write


@pytest.mark.parametrize("name", [DISTILLED, "my_teacher"])
def test_features_of_one_head_of_two_are_refused(
    name: str, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features of one head of DeiT, stored by a release that knew a single final layer, are another space."""
    teacher = Forwarding(OnlineTeacher(network("deit_tiny_distilled_patch16_224")))
    with monkeypatch.context() as older:
        older.setattr("exrep_hf.teacher.cached.stored_definition", lambda *_: {})
        older.setattr("exrep_hf.teacher.cached.check_stored_features", lambda *_: None)
        path = write(teacher, name)
    why = "are the input of a single layer of a head; for this family features are what the network itself pools"
    with pytest.raises(ValueError, match=f"answers' holds of {name} {why}.*Store the answers again in another folder"):
        write(teacher, name)
    if name == DISTILLED:
        with pytest.raises(ValueError, match=f"answers' holds of {name} {why}"):
            CachedTeacher(path.parent)


def test_features_that_are_pooled_are_stored_as_such(write: Callable[..., Path]) -> None:
    """The entry beside the hash of the weights alone, by which a folder is gone on with and read."""
    teacher = Forwarding(OnlineTeacher(network("deit_tiny_distilled_patch16_224")))
    stored = json.loads(write(teacher, DISTILLED).read_text())["teacher"]
    assert stored["features"] == "pre_logits"
    assert stored["weights_sha256"] == network_sha256(next(iter(teacher.networks())))
    write(teacher, DISTILLED)


def test_other_networks_keep_their_caches(write: Callable[..., Path]) -> None:
    """An entry for everybody would refuse the caches of everybody."""
    model = network("deit_tiny_patch16_224")
    path = write(OnlineTeacher(model), "timm/deit_tiny_patch16_224.fb_in1k")
    assert "features" not in json.loads(path.read_text())["teacher"]
    assert CachedTeacher(path.parent).feature_dim == 192


def test_fingerprints_change_for_these_families_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint whose memory bank holds other features must not be gone on with; all others must."""
    models = {name: network(name) for name in ("deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224")}
    known = {name: network_fingerprint(model) for name, model in models.items()}
    monkeypatch.setattr("exrep_hf.teacher.identity.feature_definition", lambda model: None)
    changed = {name for name, model in models.items() if network_fingerprint(model) != known[name]}
    assert changed == {"deit_tiny_distilled_patch16_224"}


class OwnTeacher(Forwarding):
    """A source that reads features by itself."""

    fingerprint = None

    def __call__(self, batch: Any, *, temperature: float = 1.0) -> TeacherOutput:
        answer = super().__call__(batch, temperature=temperature)
        return TeacherOutput(logits=answer["logits"], features=answer["features"] * 2)


def test_features_of_their_own_are_not_refused(write: Callable[..., Path]) -> None:
    """Whoever wraps such a network and reads it in another way knows what they store."""
    path = write(OwnTeacher(OnlineTeacher(network("deit_tiny_distilled_patch16_224"))), DISTILLED)
    assert json.loads(path.read_text())["teacher"]["features"] == "own"
    assert CachedTeacher(path.parent).feature_dim == 192
