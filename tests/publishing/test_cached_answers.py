"""Stored answers on the Hub: pushed with a card, downloaded view by view."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import DatasetCard, HfApi, constants

from exrep_hf.data import Augmentation, Mixing, ViewPolicy
from exrep_hf.publishing.cached_answers import make_cache_card, push_answers
from exrep_hf.teacher import CachedTeacher
from exrep_hf.teacher.cache import Provenance, Storage
from tests.hub_server import Fault, Hub
from tests.teacher.cache.conftest import ROWS, store


def pushed(folder: Path, name: str, **changes: Any) -> CachedTeacher:
    cache = store(folder, **changes)
    HfApi().create_repo(name, repo_type="dataset", exist_ok=True)
    push_answers(cache, folder, name, None)
    return cache


def downloads(hub: Hub, start: int) -> set[str]:
    return {
        each["path"].split("/resolve/")[1].split("/", 1)[1]
        for each in hub.log[start:]
        if "/resolve/" in each["path"] and each["method"] == "GET"
    }


def test_a_view_is_downloaded_when_it_is_first_needed(tmp_path: Path, hub: Hub, transfer: str) -> None:
    """What a short run does not train on is not fetched; what is fetched is fetched once."""
    name = f"me/answers-{transfer}"
    local = pushed(tmp_path / "answers", name)
    files = HfApi().list_repo_files(name, repo_type="dataset")
    assert len(files) == 11 and {"README.md", "manifest.json", "view-0001/shard-00003.safetensors"} <= set(files)
    start = len(hub.log)
    there = CachedTeacher(name)
    assert not [path for path in downloads(hub, start) if path.startswith("view")]
    assert (there.num_samples, there.views, there.fingerprint) == (ROWS, local.views, local.fingerprint)
    index = torch.arange(ROWS)
    for view in (1, 1, 0):
        batch = {"sample_index": index, "view": torch.full_like(index, view)}
        assert torch.equal(there(batch)["logits"], local(batch)["logits"])
        snapshots = Path(constants.HF_HUB_CACHE) / f"datasets--{name.replace('/', '--')}" / "snapshots"
        present = {path.parent.name for path in snapshots.rglob("*.safetensors")}
        assert present == ({"view-0001"} if view else {"view-0000", "view-0001"})


def test_the_card(tmp_path: Path) -> None:
    """Made from the manifest alone; the flags it names give the views that are stored."""
    views = ViewPolicy(2, 1, None, Mixing(mixup=0.5))
    card = make_cache_card(store(tmp_path / "a", views=views), "me/answers")
    assert card.data.get("license") == "other" and card.data.get("task_categories") == ["image-classification"]
    text = card.content
    for part in (
        "--teacher_cache me/answers --dataset … --student … --no_aug --mixup 0.5 --cutmix 0.0",
        'CachedTeacher("me/answers")',
        "[`me/teacher`](https://huggingface.co/me/teacher), revision `v1`; 5 classes, 3 features",
        "2 of each image: the evaluation view, mixed by mixup",
        "Licence of the teacher:** not known",
        "safetensors of 6 rows each, float16",
    ):
        assert part in text, part
    licensed = Provenance("me/teacher", None, "mit", "me/images", "cc0-1.0")
    views = ViewPolicy(3, 1, Augmentation((0.2, 1.0), hflip=0.0, auto_augment="rand-m5-n1"))
    changes: dict[str, Any] = {"views": views, "provenance": licensed, "storage": Storage(top_k=2)}
    card = make_cache_card(store(tmp_path / "b", **changes), "me/answers")
    # Two licences: neither holds for the whole.
    assert card.data.get("license") == "other"
    assert "Licence of the teacher:** mit" in card.content and "Licence of the images:** cc0-1.0" in card.content
    assert "--scale 0.2 1.0 --ratio 0.75 1.3333333 --hflip 0.0 --auto_augment rand-m5-n1" in card.content
    assert "the 2 largest logits" in card.content
    one = make_cache_card(store(tmp_path / "c", provenance=Provenance("t", None, "mit")), "me/answers")
    # Nobody knows what holds for the images.
    assert one.data.get("license") == "other"
    assert "What a local model called “t” says about" in one.content and "of a data set without a name" in one.content
    assert "[`me/images`](https://huggingface.co/datasets/me/images)" in card.content


def test_nothing_of_the_machine_is_pushed(tmp_path: Path, hub: Hub) -> None:
    name = "me/discreet"
    pushed(tmp_path / "answers", name)
    folder = HfApi().snapshot_download(name, repo_type="dataset")
    secrets = [str(tmp_path), str(Path.home()), os.environ["HF_TOKEN"], ".venv"]
    for path in Path(folder).rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], path
    assert DatasetCard.load(name).data.get("license") == "other"


def test_what_is_not_there(tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(ValueError, match="'me/nothing' holds no stored answers of a teacher: it is no folder here"):
        CachedTeacher("me/nothing")
    pushed(tmp_path / "answers", "me/revised")
    with pytest.raises(ValueError, match="on the Hub, revision 'v9', it is not available"):
        CachedTeacher("me/revised", revision="v9")
    HfApi().create_repo("me/other-things", repo_type="dataset")
    with pytest.raises(ValueError, match="'me/other-things' holds no stored answers"):
        CachedTeacher("me/other-things")


def test_a_revision_stays_one(tmp_path: Path, hub: Hub) -> None:
    """Answers that are pushed again while a run goes on must not be mixed with those it began with."""
    name = "me/moving"
    first = pushed(tmp_path / "a", name)
    reader = CachedTeacher(name)
    changes: dict[str, Any] = {"provenance": Provenance("me/other", "v1")}
    second = pushed(tmp_path / "b", name, **changes)
    batch = {"sample_index": torch.arange(ROWS), "view": torch.zeros(ROWS, dtype=torch.int64)}
    assert reader.fingerprint == first.fingerprint != second.fingerprint
    assert torch.equal(reader(batch)["logits"], first(batch)["logits"])
    assert CachedTeacher(name).fingerprint == second.fingerprint


def test_download_that_fails_and_goes_on(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    name = "me/failing"
    local = pushed(tmp_path / "answers", name)
    reader = CachedTeacher(name)
    batch = {"sample_index": torch.arange(ROWS), "view": torch.zeros(ROWS, dtype=torch.int64)}
    hub.faults.append(Fault(r"storage GET /lfs", 99, status=403))
    with pytest.raises(ValueError, match=r"(?s)answers view-0000/\* of 'me/failing' can't be downloaded .* Try again"):
        reader(batch)
    hub.faults.clear()
    assert torch.equal(reader(batch)["logits"], local(batch)["logits"])


def test_damage_in_the_local_cache(tmp_path: Path, hub: Hub, transfer: str) -> None:
    """Downloaded files are checked whole before they teach, and damaged ones are fetched again."""
    name = f"me/damaged-{transfer}"
    views = ViewPolicy(1, len(transfer), None, Mixing(mixup=1.0))
    local = pushed(tmp_path / "answers", name, views=views)
    folder = Path(HfApi().snapshot_download(name, repo_type="dataset"))
    path = folder / "view-0000" / "shard-00001.safetensors"
    whole = path.read_bytes()
    path.resolve().write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    batch = {"sample_index": torch.tensor([8]), "view": torch.tensor([0])}
    assert torch.equal(CachedTeacher(name)(batch)["features"], local(batch)["features"])
    assert path.read_bytes() == whole


def test_damage_on_the_hub(tmp_path: Path, hub: Hub) -> None:
    """What is damaged there stays damaged however often it is fetched."""
    name = "me/spoilt"
    pushed(tmp_path / "answers", name)
    wrong = (tmp_path / "answers" / "view-0000" / "shard-00001.safetensors").read_bytes()
    file = "view-0000/shard-00002.safetensors"
    HfApi().upload_file(path_or_fileobj=wrong, path_in_repo=file, repo_id=name, repo_type="dataset")
    batch = {"sample_index": torch.tensor([8]), "view": torch.tensor([0])}
    with pytest.raises(
        ValueError, match=f"1 of 4 files of stored answers in 'me/spoilt' are damaged: {file}: it is of"
    ):
        CachedTeacher(name)(batch)
