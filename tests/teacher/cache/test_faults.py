"""Damage is found, named, and mended file by file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from exrep_hf.data import Mixing, ViewPolicy
from exrep_hf.teacher import CachedTeacher
from exrep_hf.teacher.cache import Provenance, Storage

Write = Callable[..., CachedTeacher]
SHARD = "view-0001/shard-00002.safetensors"


def truncate(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def cut_to_nothing(path: Path, other: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path, other: Path) -> None:
    path.unlink()


def flip_a_bit(path: Path, other: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(bytes(data))


def put_in_a_foreign_one(path: Path, other: Path) -> None:
    path.write_bytes((other / SHARD).read_bytes())


def put_in_its_neighbour(path: Path, other: Path) -> None:
    path.write_bytes((path.parent / "shard-00001.safetensors").read_bytes())


DAMAGE: list[tuple[Callable[[Path, Path], None], str]] = [
    (truncate, r"it has \d+ bytes instead of \d+"),
    (cut_to_nothing, r"it has 0 bytes instead of \d+"),
    (remove, "it is missing"),
    (put_in_a_foreign_one, "it is of other answers"),
    (put_in_its_neighbour, "it is of other answers"),
    (flip_a_bit, "its checksum is not the manifest's"),
]


@pytest.mark.parametrize(("damage", "named"), DAMAGE)
def test_damage_is_named_and_only_it_is_rebuilt(
    damage: Callable[[Path, Path], None],
    named: str,
    write: Write,
    make_teacher: Any,
    content_of: Any,
    tmp_path: Path,
) -> None:
    """A wrong answer teaches for epochs without an error; a rebuild of everything costs the teacher again."""
    folder, other = tmp_path / "answers", tmp_path / "other"
    write(folder)
    write(other, provenance=Provenance("me/other", "v1"))
    whole = content_of(folder)
    # Shard 2 of 4 is among the sampled ones; of its bits only the checksum tells.
    damage(folder / SHARD, other)
    message = rf"1 of 8 files of stored answers in '.*answers' are damaged: {SHARD}: {named}.*--rebuild"
    with pytest.raises(ValueError, match=message):
        CachedTeacher(folder, verify="full")
    with pytest.raises(ValueError, match=message):
        CachedTeacher(folder)
    with pytest.raises(ValueError, match=rf"finished, but 1 of its files are damaged: {SHARD}: {named}.*--rebuild"):
        write(folder)
    teacher = make_teacher()
    write(folder, teacher, rebuild=True)
    assert teacher.asked == 6
    assert content_of(folder) == whole


def test_a_sample_of_checksums_and_all_of_them(write: Write, tmp_path: Path) -> None:
    """Two of four files of a view are read by default; the others' bits need `full`."""
    folder = tmp_path / "answers"
    write(folder)
    flip_a_bit(folder / "view-0001/shard-00001.safetensors", folder)
    CachedTeacher(folder)
    with pytest.raises(ValueError, match="view-0001/shard-00001.safetensors: its checksum"):
        CachedTeacher(folder, verify="full")


def test_a_finished_folder_costs_nothing(write: Write, make_teacher: Any, tmp_path: Path) -> None:
    write(tmp_path / "answers")
    teacher = make_teacher()
    write(tmp_path / "answers", teacher, rebuild=True)
    assert teacher.asked == 0


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"provenance": Provenance("me/other", "v1")}, "teacher.name: 'me/teacher' stored, 'me/other' now"),
        ({"provenance": Provenance("me/teacher", "v2")}, "teacher.revision: 'v1' stored, 'v2' now"),
        ({"views": ViewPolicy(3, 1, None, Mixing(mixup=1.0))}, "views.views: 2 stored, 3 now"),
        ({"views": ViewPolicy(2, 2, None, Mixing(mixup=1.0))}, "views.seed: 1 stored, 2 now"),
        ({"views": ViewPolicy(2, 1)}, "views.mixing.mixup: 1.0 stored, 0.0 now"),
        ({"storage": Storage("float32", None, 6, 4)}, "storage.dtype: 'float16' stored, 'float32' now"),
        ({"storage": Storage("float16", 2, 6, 4)}, "storage.top_k: None stored, 2 now"),
    ],
)
def test_other_answers_are_refused(
    finished: bool, changes: dict[str, Any], named: str, write: Write, tmp_path: Path
) -> None:
    """A folder holds answers of one kind, finished or not."""
    folder = tmp_path / "answers"
    write(folder)
    if not finished:
        plan = json.loads((folder / "manifest.json").read_text())
        (folder / "plan.json").write_text(json.dumps(plan))
        (folder / "manifest.json").unlink()
    with pytest.raises(ValueError, match=named):
        write(folder, **changes)


def test_another_teacher_with_the_same_name(write: Write, make_teacher: Any, tmp_path: Path) -> None:
    """Weights count, not names alone; so do the preprocessing, the number of classes and the images."""
    write(tmp_path / "answers")
    teacher = make_teacher()
    teacher.fingerprint = "abc"
    with pytest.raises(ValueError, match="teacher.weights_sha256: None stored, 'abc' now"):
        write(tmp_path / "answers", teacher)
    teacher = make_teacher()
    teacher.num_labels = 6
    with pytest.raises(ValueError, match="teacher.num_labels: 5 stored, 6 now"):
        write(tmp_path / "answers", teacher)


def test_other_images_are_refused_by_the_writer(
    write: Write, make_teacher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "answers")
    monkeypatch.setattr("exrep_hf.teacher.cached.fingerprint", lambda dataset: "others")
    with pytest.raises(ValueError, match="dataset.fingerprint: '[0-9a-f]+' stored, 'others' now"):
        write(tmp_path / "answers")


def test_somebody_elses_folder(write: Write, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds files that are not stored answers \(thesis.tex\). Give a new folder"):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["thesis.tex"]


def test_other_formats_are_refused(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    write(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for changed, message in (
        ({"format_version": 1}, "have format version 1; expected 2"),
        ({"shards": {}}, "contradicts itself about the files"),
        ({"shards": None}, "is no manifest of stored answers"),
    ):
        (folder / "manifest.json").write_text(json.dumps(manifest | changed))
        with pytest.raises(ValueError, match=message):
            CachedTeacher(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="holds no stored answers"):
        CachedTeacher(folder)


def test_files_are_plain_safetensors(write: Write, tmp_path: Path) -> None:
    """Whoever does not have this package reads them with the library of that name."""
    cached = write(tmp_path / "answers")
    with safe_open(tmp_path / "answers" / SHARD, "pt") as file:
        assert set(file.keys()) == {"logits", "features"}
        logits = file.get_tensor("logits")
        facts = json.loads(file.metadata()["answers"])
    assert (facts["view"], facts["first"], facts["rows"]) == (1, 12, 6)
    answer = cached({"sample_index": torch.arange(12, 18), "view": torch.ones(6, dtype=torch.int64)})
    assert torch.equal(answer["logits"], logits.float())
