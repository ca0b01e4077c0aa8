"""Damage is found before anything is loaded, whatever file has it."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from exrep_hf.training.checkpoints import MANIFEST_NAME, last_whole_checkpoint, read_manifest, write_manifest
from tests.settings import BEST_OF_EACH_STEP

MakeTrainer = Callable[..., Any]
SAVING = {"save_strategy": "steps", "save_steps": 2}
READ_ON_RESUMING = {
    "model.safetensors",
    "distillation_state.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "logging_window_0.json",
}


def flip(path: Path, place: float, bit: int) -> None:
    """Flip one bit, at a share of a file's length."""
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1 << bit
    path.write_bytes(content)


def test_one_bit_of_each_file(make_trainer: MakeTrainer, tmp_path: Path, caplog: Any) -> None:
    """In a weight it resumes silently, elsewhere it ends in somebody else's traceback."""
    make_trainer(**SAVING).train()
    out = tmp_path / "out"
    newest, kept = out / "checkpoint-4", tmp_path / "kept"
    shutil.copytree(newest, kept)
    names = sorted(path.name for path in kept.iterdir())
    assert set(names) > READ_ON_RESUMING
    for name in names:
        for place, bit in ((0.0, 2), (0.5, 0), (0.9, 7)):
            flip(newest / name, place, bit)
            with pytest.raises(ValueError, match=f"checkpoint-4' is not whole: .*'{name}'.*Resume from an earlier"):
                make_trainer(**SAVING).train(resume_from_checkpoint=str(newest))
            caplog.clear()
            with caplog.at_level(logging.WARNING, "exrep_hf"):
                assert last_whole_checkpoint(out) == str(out / "checkpoint-2")
            assert "Passed over: " in caplog.text and name in caplog.text
            shutil.copyfile(kept / name, newest / name)
    assert last_whole_checkpoint(out) == str(newest)


def test_the_run_goes_on_from_an_earlier_one(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """And ends as it had ended, with a whole checkpoint in the place of the damaged one."""
    whole = make_trainer(**SAVING)
    whole.train()
    newest = tmp_path / "out" / "checkpoint-4"
    flip(newest / "model.safetensors", 0.9, 6)
    resumed = make_trainer(**SAVING)
    resumed.train(resume_from_checkpoint=True)
    read_manifest(newest)
    assert all(map(torch.equal, whole.student.parameters(), resumed.student.parameters()))


@pytest.mark.parametrize("name", sorted(READ_ON_RESUMING))
def test_manifests_without_checksums(name: str, make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Those of older releases: a file that was cut is found, and one that isn't readable is one sentence."""
    make_trainer(max_steps=2, **SAVING).train()
    checkpoint = tmp_path / "out" / "checkpoint-2"
    manifest = json.loads((checkpoint / MANIFEST_NAME).read_text())
    del manifest["sha256"]
    (checkpoint / MANIFEST_NAME).write_text(json.dumps(manifest))
    read_manifest(checkpoint)
    content = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=rf"is not whole: '{name}' has \d+ bytes instead of \d+"):
        make_trainer(max_steps=2, **SAVING).train(resume_from_checkpoint=str(checkpoint))
    if name.endswith((".safetensors", ".pt")):
        (checkpoint / name).write_bytes(bytes(len(content)))
        with pytest.raises(ValueError, match="(is damaged|can't be read) .*from (an earlier|another) checkpoint"):
            make_trainer(max_steps=4, **SAVING).train(resume_from_checkpoint=str(checkpoint))


def test_files_in_folders_count(tmp_path: Path) -> None:
    """DeepSpeed and FSDP write folders, into which each process writes files of its own."""
    part = tmp_path / "global_step2" / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
    part.parent.mkdir()
    part.write_bytes(b"moments")
    write_manifest(tmp_path, {})
    assert read_manifest(tmp_path) == {}
    flip(part, 0.5, 3)
    with pytest.raises(ValueError, match=f"'global_step2/{part.name}' is damaged: its SHA-256 is another one"):
        read_manifest(tmp_path)


def test_the_best_student_is_looked_at(make_trainer: MakeTrainer, make_rows: Any, tmp_path: Path) -> None:
    """It is loaded hours after it was written, evaluated, and published."""
    trainer = make_trainer(eval_dataset=make_rows(10), **BEST_OF_EACH_STEP)
    trainer.train()
    best = Path(trainer.state.best_model_checkpoint)
    flip(best / "model.safetensors", 0.9, 6)
    with pytest.raises(ValueError, match="is not whole: 'model.safetensors' is damaged"):
        trainer._load_best_model()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=8), parts, max_size=3),
    max_leaves=8,
)
ENTRIES = st.dictionaries(st.sampled_from(["run", "files", "sha256", "other"]), JSON)
NAMES = st.sampled_from(["weights", ".", "/etc/passwd", "../x", "", "\0", MANIFEST_NAME])
PARTS = {"run": st.dictionaries(st.text(max_size=4), JSON, max_size=2), "files": st.dictionaries(NAMES, JSON)}
FILES = st.fixed_dictionaries(PARTS, optional={"sha256": st.dictionaries(NAMES, JSON)})


@settings(max_examples=200)
@given(st.binary(max_size=60) | (JSON | ENTRIES | FILES).map(lambda value: json.dumps(value).encode()))
def test_any_manifest(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whole, or one sentence of ours: never somebody else's traceback."""
    folder = tmp_path_factory.getbasetemp() / "checkpoint-of-anybody"
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_bytes(b"12")
    (folder / MANIFEST_NAME).write_bytes(content)
    try:
        run = read_manifest(folder)
    except ValueError as error:
        assert str(error).startswith("The checkpoint ") and str(error).endswith("Resume from an earlier checkpoint.")
    else:
        assert run == json.loads(content)["run"]
        assert set(json.loads(content)["files"]) <= {"weights"}


@settings(max_examples=200)
@given(st.integers(0, 10**6), st.integers(0, 7))
def test_any_bit_of_a_manifest(tmp_path_factory: pytest.TempPathFactory, place: int, bit: int) -> None:
    """No entry of it, nor a file that it names, is taken for another."""
    folder = tmp_path_factory.getbasetemp() / "checkpoint-with-a-flipped-bit"
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_bytes(b"12")
    run = {"seed": 42, "teacher": "0123456789abcdef"}
    write_manifest(folder, run)
    content = bytearray((folder / MANIFEST_NAME).read_bytes())
    content[place % len(content)] ^= 1 << bit
    (folder / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(ValueError, match="is not whole: .*('weights'|checkpoint_manifest.json).* Resume from an"):
        read_manifest(folder)
