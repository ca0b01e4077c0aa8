"""A whole study on real digits, in miniature."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

from exrep_hf.data import DistillationDataset, Preprocessing, ViewTransform, collate_distillation, load_images
from tests.studies import run_study


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A study that every test here only reads."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("study") / "digits"
    return folder, run_study(folder)


def test_what_is_written(finished: tuple[Path, dict[str, Any]]) -> None:
    """The files that people and programs look for are there, and results.json is what was returned."""
    folder, results = finished
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "README.md", "results.json"} <= names
    assert {"loss.png", "residual.png", "report.html"} <= names
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(results))
    assert str(folder.parent) not in (folder / "results.json").read_text() + (folder / "README.md").read_text()


def test_results(finished: tuple[Path, dict[str, Any]]) -> None:
    """Every arm ran under every seed, with the same steps and the same start."""
    _, results = finished
    assert list(results["arms"]) == ["ce", "kd", "exrep"]
    for arm in results["arms"].values():
        assert [run["seed"] for run in arm["runs"]] == results["seeds"] == [42, 43]
        assert {run["steps"] for run in arm["runs"]} == {4}
    before = [[run["before"]["accuracy"] for run in arm["runs"]] for arm in results["arms"].values()]
    assert before[0] == before[1] == before[2]
    history = results["arms"]["exrep"]["runs"][0]["history"]
    assert {"loss_kd", "loss_crd", "loss_adversarial", "loss_critic"} <= history[0].keys()
    assert results["student"]["cost"]["macs"] < results["arms"]["exrep"]["cost"]["macs"]
    assert results["arms"]["kd"]["cost"]["macs"] == results["student"]["cost"]["macs"]
    assert results["arms"]["kd"]["without_distiller"] is None
    assert results["wall_time_seconds"] > 0


def test_gap_follows_from_the_accuracies(finished: tuple[Path, dict[str, Any]]) -> None:
    """The headline number is recomputed from the accuracies beside it."""
    _, results = finished
    for arm in results["arms"].values():
        for run in arm["runs"]:
            before, after, teacher = (run[part]["accuracy"] for part in ("before", "after", "teacher"))
            expected = 100 * (after - before) / (teacher - before) if teacher > before else None
            assert run["gap_recovered"] == pytest.approx(expected)


def test_the_published_student_scores_what_is_claimed(finished: tuple[Path, dict[str, Any]]) -> None:
    """Weights of another arm or seed in the folder would make the card a lie."""
    folder, results = finished
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    preprocessing = Preprocessing.from_image_processor(AutoImageProcessor.from_pretrained(folder))
    test = load_images("digits")["test"].shuffle(seed=0).select(range(40))
    items = DistillationDataset(test, ViewTransform(preprocessing), "image", "label")
    batch = collate_distillation([items[row] for row in range(40)])
    with torch.no_grad():
        answers = model(batch["pixel_values"]).logits.argmax(-1)
    accuracy = (answers == batch["labels"]).float().mean().item()
    assert accuracy == pytest.approx(results["published"]["accuracy"])
    assert accuracy == pytest.approx(results["arms"]["exrep"]["runs"][0]["after"]["accuracy"])
    said = pipeline("image-classification", model=str(folder), top_k=1)(test[0]["image"].convert("RGB"))
    assert said[0]["label"] == str(answers[0].item())


def test_another_run_is_not_overwritten(finished: tuple[Path, dict[str, Any]]) -> None:
    """A second run into the same folder must not destroy hours of the first."""
    folder, _ = finished
    weights = (folder / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="holds another run .*results.json.*--overwrite_output_dir"):
        run_study(folder)
    assert (folder / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": "timm/no_such_net"}, "could not be loaded from 'timm/no_such_net'"),
        ({"private_fraction": 0.9999}, "cannot split"),
        ({"per_device_train_batch_size": 500}, "fewer than one batch"),
        ({"variant": "plain"}, "the distiller of `exrep` can't be taken away"),
    ],
)
def test_bad_input_costs_nothing(finished: tuple[Path, dict[str, Any]], changes: dict[str, Any], message: str) -> None:
    """A typo must not first train the teacher for an hour, nor delete the run that was to be replaced."""
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(ValueError, match=message):
        run_study(folder, overwrite_output_dir=True, **changes)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_resume_takes_finished_runs_and_repeats_the_rest(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """An interrupted study ends with the numbers of one that was never interrupted."""
    folder, results = finished
    copied = tmp_path / "digits"
    shutil.copytree(folder, copied)
    shutil.rmtree(copied / "arms" / "kd-seed43")
    (copied / "results.json").unlink()
    kept = copied / "arms" / "ce-seed42" / "run.json"
    written = kept.stat().st_mtime_ns
    again = run_study(copied, resume_from_checkpoint="true")
    assert kept.stat().st_mtime_ns == written
    for name, arm in results["arms"].items():
        assert again["arms"][name]["accuracy"] == arm["accuracy"]
    assert again["wall_time_seconds"] is None, "of this start alone it would be called the whole run's"
    page = (copied / "report.html").read_text()
    assert "batches of 32 on" in page and "The whole run took" not in page
    assert "The whole run took" in (folder / "report.html").read_text()


def test_finished_runs_of_other_settings_are_refused(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Runs of another length in one table would be no comparison, and nothing in it would say so."""
    copied = tmp_path / "digits"
    shutil.copytree(finished[0], copied)
    before = (copied / "results.json").read_bytes()
    with pytest.raises(ValueError, match="had other settings: `max_steps` 4 then, 5 now"):
        run_study(copied, resume_from_checkpoint="true", max_steps=5)
    assert (copied / "results.json").read_bytes() == before


def test_starting_students_are_kept(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Trained anew after an interruption, they may differ by rounding, and the arms would have different starts."""
    copied = tmp_path / "digits"
    shutil.copytree(finished[0], copied)
    kept = copied / "students" / "seed42" / "model.safetensors"
    written = kept.stat().st_mtime_ns
    shutil.rmtree(copied / "arms" / "kd-seed42")
    before = json.loads((copied / "arms" / "ce-seed42" / "run.json").read_text())["before"]
    run_study(copied, resume_from_checkpoint="true")
    assert kept.stat().st_mtime_ns == written
    assert json.loads((copied / "arms" / "kd-seed42" / "run.json").read_text())["before"] == before


def test_a_seed_is_one_whichever_comes_first(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """The second seed's student saw its images in the order of the first, so that seeds differed too little."""
    run_study(tmp_path / "digits", seed=43, num_seeds=1, controls={}, max_steps=1)
    first, second = (
        folder / "students" / "seed43" / "model.safetensors" for folder in (tmp_path / "digits", finished[0])
    )
    assert first.read_bytes() == second.read_bytes()


def test_an_unfinished_study_of_other_settings_is_refused(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Its teacher would be of one study and its runs of another."""
    copied = tmp_path / "digits"
    shutil.copytree(finished[0], copied)
    shutil.rmtree(copied / "arms")
    with pytest.raises(ValueError, match="The study in .* had other settings: `teacher_steps` 6 then, 7 now"):
        run_study(copied, resume_from_checkpoint="true", teacher_steps=7)


def test_a_student_without_distiller_is_published_plain(tmp_path: Path) -> None:
    """Nobody should need this package to load an ordinary classifier; and one run needs no folders of runs."""
    folder = tmp_path / "plain"
    run_study(folder, distiller="none", controls={}, num_seeds=1, save_strategy="steps", save_steps=2)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "timm_wrapper"
    assert not (folder / "arms").exists()
    assert {path.name for path in folder.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4"}
    AutoModelForImageClassification.from_pretrained(folder)


def test_an_oracle_and_a_removable_distiller(tmp_path: Path) -> None:
    """The oracle sees every training image, no other arm does; the data gap is measured against it, seed by seed."""
    folder = tmp_path / "oracle"
    oracle = {"train_on": "all", "kd_weight": 0, "ce_weight": 1, "crd_weight": 0, "adversarial_weight": 0}
    results = run_study(folder, controls={"oracle": oracle}, distiller_share=0.5, num_public=80, private_fraction=0)
    assert (results["dataset"]["num_public"], results["dataset"]["num_private"]) == (80, 1347 - 80)
    for place in range(2):
        run, best = (results["arms"][name]["runs"][place] for name in ("exrep", "oracle"))
        before, most = run["before"]["accuracy"], best["after"]["accuracy"]
        for outcome in (run, run["without_distiller"]):
            after = outcome["after"]["accuracy"]
            expected = 100 * (after - before) / (most - before) if most > before else None
            assert outcome["data_gap_recovered"] == pytest.approx(expected)
        # 1347 images make 22 batches an epoch, 80 make two.
        assert best["history"][-1]["epoch"] < 1 < run["history"][-1]["epoch"]
    plain = AutoModelForImageClassification.from_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "timm_wrapper"
    assert AutoModelForImageClassification.from_pretrained(folder / "with_distiller").input_distiller is not None
    first = results["arms"]["exrep"]["runs"][0]
    assert results["arms"]["exrep"]["plain"] is True
    assert results["published"]["accuracy"] == first["without_distiller"]["after"]["accuracy"]
    preprocessing = Preprocessing.from_image_processor(AutoImageProcessor.from_pretrained(folder))
    test = load_images("digits")["test"].shuffle(seed=0).select(range(40))
    batch = collate_distillation(
        DistillationDataset(test, ViewTransform(preprocessing), "image", "label").__getitems__(range(40))
    )
    with torch.no_grad():
        answers = plain.eval()(batch["pixel_values"]).logits.argmax(-1)
    assert (answers == batch["labels"]).float().mean().item() == pytest.approx(results["published"]["accuracy"])
    card = (folder / "README.md").read_text()
    assert "import exrep_hf" not in card and "the oracle is the same student" in card


def test_interrupted_in_its_first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study that always asks to resume must find its own folder again, however early it was stopped."""
    folder = tmp_path / "first"

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("exrep_hf.study.study.distil", stop)
        with pytest.raises(KeyboardInterrupt):
            run_study(folder, resume_from_checkpoint="true", controls={}, num_seeds=2)
    teacher = (folder / "teacher" / "model.safetensors").stat().st_mtime_ns
    results = run_study(folder, resume_from_checkpoint="true", controls={}, num_seeds=2)
    assert len(results["arms"]["exrep"]["runs"]) == 2
    assert (folder / "teacher" / "model.safetensors").stat().st_mtime_ns == teacher
