"""Figures that a run reports of itself: of all processes, after resuming, and of evaluations."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.processes import Processes, finish
from tests.settings import BEST_OF_EACH_STEP

MakeTrainer = Callable[..., Any]


def test_two_processes_report_what_one_does(processes: Processes, tmp_path: Path) -> None:
    """Components of one process alone, or sums of all, would be shown for those of the run."""
    for count in (1, 2):
        finish(processes.start("tests.training.reporting_run", count, str(tmp_path), count))
    single, first, second = (
        json.loads((tmp_path / f"reported-{name}.json").read_text()) for name in ("1-0", "2-0", "2-1")
    )
    assert [len(entries) for entries in (single, first, second)] == [4, 4, 4]
    terms = ["loss_ce", "loss_kd"]
    names = [["loss", *terms], ["loss", *terms], [f"eval_{name}" for name in (*terms, "loss", "accuracy")]]
    names[2] += ["eval_teacher_agreement"]
    # Of a batch that is filled up, the Trainer takes the mean loss with all that is in it.
    names += [["odd_accuracy", "odd_top5_accuracy", "odd_teacher_agreement"]]
    assert 0 < single[3]["odd_teacher_agreement"] < 1 and single[3]["odd_accuracy"] < 1
    for place, compared in enumerate(names):
        for reported in (first, second):
            for name in compared:
                assert reported[place][name] == pytest.approx(single[place][name], rel=1e-4), name


@pytest.mark.parametrize("logging_steps", [1, 3])
def test_training_loss_is_of_the_steps_since_resuming(
    logging_steps: int, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    """Steps before the checkpoint, counted among the others, would make a resumed run look worse than it was."""
    settings: dict[str, Any] = {"max_steps": 5, "save_strategy": "steps", "save_steps": 2}
    whole = make_trainer(logging_steps=1, **settings)
    outcome = whole.train()
    losses = [entry["loss"] for entry in whole.state.log_history if "loss" in entry]
    assert len(losses) == 5 and len(set(losses)) == 5
    assert outcome.training_loss == pytest.approx(sum(losses) / 5)
    # With a log every third step, the checkpoint of the second holds two losses that no log has had.
    make_trainer(logging_steps=logging_steps, **settings).train()
    window = json.loads((tmp_path / "out" / "checkpoint-2" / "logging_window_0.json").read_text())
    assert window["loss"] == pytest.approx(sum(losses[:2]) if logging_steps == 3 else 0)
    resumed = make_trainer(logging_steps=logging_steps, **settings)
    outcome = resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert outcome.training_loss == pytest.approx(sum(losses[2:]) / 3)


def test_what_other_processes_had_gathered_is_left_out(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """A checkpoint of two processes holds the mean over half of the images: it must not enter one process's log."""
    settings: dict[str, Any] = {"max_steps": 3, "save_strategy": "steps", "save_steps": 2}
    whole = make_trainer(logging_steps=1, **settings)
    whole.train()
    losses = [entry["loss"] for entry in whole.state.log_history if "loss" in entry]
    path = tmp_path / "out" / "checkpoint-2" / "logging_window_0.json"
    window = json.loads(path.read_text())
    # As many bytes as before: the checkpoint has to count as whole.
    for content, expected in ((window | {"loss": 7.0}, (7 + losses[2]) / 3), (window | {"processes": 2}, losses[2])):
        text = json.dumps(content | {"last_logged": 0, "components": {}})
        path.write_text(text)
        manifest = path.with_name("checkpoint_manifest.json")
        facts = json.loads(manifest.read_text())
        facts["files"][path.name] = len(text)
        facts.pop("sha256", None)
        manifest.write_text(json.dumps(facts))
        resumed = make_trainer(logging_steps=3, max_steps=3)
        resumed.train(resume_from_checkpoint=str(path.parent))
        (logged,) = (entry["loss"] for entry in resumed.state.log_history[2:] if "loss" in entry)
        assert logged == pytest.approx(expected)


def test_the_best_checkpoint_outlives_the_limit(make_trainer: MakeTrainer, make_rows: Any, tmp_path: Path) -> None:
    """With `save_total_limit=1` the best student would be gone when it is to be loaded at the end."""
    trainer = make_trainer(
        eval_dataset=make_rows(10),
        save_total_limit=1,
        **BEST_OF_EACH_STEP,
    )
    trainer.train()
    best = trainer.state.best_global_step
    assert best < 4, "the best must not be the last, or nothing has to be kept"
    # The last one is removed by the Trainer itself, when the best has been loaded.
    assert {path.name for path in (tmp_path / "out").glob("checkpoint-*")} == {f"checkpoint-{best}"}
    assert trainer.evaluate()["eval_loss_kd"] == pytest.approx(trainer.state.best_metric)


def test_negatives_of_an_evaluation_follow_from_the_seed(make_trainer: MakeTrainer, make_rows: Any) -> None:
    """Drawn from wherever the generator stands, they would rank two checkpoints by chance."""
    trainer = make_trainer(eval_dataset=make_rows(7), max_steps=1)
    trainer.train()
    first = trainer.evaluate()["eval_loss_crd"]
    torch.rand(5)
    assert trainer.evaluate()["eval_loss_crd"] == first
