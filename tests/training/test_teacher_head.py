"""Which head a teacher gets: its own, a probe fitted on labelled training images, or none."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import torch.nn.functional as F

from exrep_hf import CachedTeacher, DistillationTrainer, OnlineTeacher
from exrep_hf.data import Augmentation, Mixing, ViewPolicy
from exrep_hf.teacher import FeaturesOnly, ProbedTeacher, fit_linear_probe
from exrep_hf.teacher.head_file import HEAD_NAME, load_head
from tests.processes import Processes, finish
from tests.teacher.forwarding import Forwarding

MakeTrainer = Callable[..., DistillationTrainer]
ALONE: dict[str, Any] = {"ce_weight": 0.0, "crd_weight": 0.0, "adversarial_weight": 0.0, "mixup": 1.0, "cutmix": 1.0}


class Headless(Forwarding):
    """Hides a classifier's logits."""

    num_labels = None
    id2label = None

    def __call__(self, batch: Any, *, temperature: float = 1.0) -> Any:
        answer = super().__call__(batch, temperature=temperature)
        answer.logits = None
        return answer


@pytest.fixture
def headless(teacher: OnlineTeacher) -> Headless:
    return Headless(teacher)


def items_of(trainer: Any, rows: int) -> list[Any]:
    return [trainer.train_dataset[row] for row in range(rows)]


def head_of(trainer: DistillationTrainer) -> Any:
    assert isinstance(trainer.teacher, ProbedTeacher) and trainer.teacher.head is not None
    return trainer.teacher.head


def test_a_probe_is_fitted_on_the_teachers_features(
    make_trainer: MakeTrainer, headless: Headless, make_images: Any, tmp_path: Path, capsys: Any
) -> None:
    """The features are those of the images as they are, asked one by one; what is trained on are its logits."""
    images = make_images(40)
    trainer = make_trainer(teacher=headless, train_dataset=images, **ALONE)
    state = torch.get_rng_state()
    trainer.prepare_teacher(None)
    assert torch.equal(torch.get_rng_state(), state)
    batch = trainer.batch_of(items_of(trainer, 40))
    features = headless(batch).features
    expected = fit_linear_probe(features[:, None], batch["labels"], 4)
    found = head_of(trainer)
    assert (found.images, found.views, found.classes) == (40, 1, 4)
    torch.testing.assert_close(found.weight, expected.weight, atol=1e-4, rtol=1e-3)
    logits = trainer.ask_teacher(batch, training=True).logits
    torch.testing.assert_close(logits, F.linear(features, expected.weight, expected.bias), atol=1e-3, rtol=1e-3)
    trainer.train()
    told = capsys.readouterr().out
    assert "the teacher's head was fitted on 40 images of 4 classes: cross-validated top-1" in told
    assert told.count("was fitted on") == 1
    stored = load_head(tmp_path / "out" / HEAD_NAME, 4, 12)
    assert torch.equal(stored.weight, found.weight) and stored.accuracy == found.accuracy


def test_which_head(make_trainer: MakeTrainer, headless: Headless, teacher: OnlineTeacher, make_images: Any) -> None:
    images = make_images(12)
    given: dict[str, Any] = {"train_dataset": images, **ALONE}
    features_alone = given | {"kd_weight": 0.0, "feature_weight": 1.0}
    own = make_trainer(teacher=teacher, **given)
    assert own.teacher is teacher and make_trainer(teacher=teacher, teacher_head="own", **given).teacher is teacher
    probed = make_trainer(teacher=teacher, teacher_head="probe", **given)
    assert isinstance(probed.teacher, ProbedTeacher) and probed.teacher.source is teacher
    assert isinstance(make_trainer(teacher=headless, **given).teacher, ProbedTeacher)
    none = make_trainer(teacher=teacher, teacher_head="none", **features_alone)
    assert isinstance(none.teacher, FeaturesOnly) and none.probed is None
    asked = make_trainer(teacher=headless, **given | {"kd_weight": 0.0, "ce_weight": 1.0, "feature_weight": None})
    assert asked.distillation_objective.weights == {"ce": 1.0, "feature": 1.0}
    # Nothing needs logits: nothing is fitted.
    assert make_trainer(teacher=headless, **features_alone).teacher is headless
    # One that was fitted elsewhere is a teacher with a head of its own.
    probed.fit_head()
    assert probed.teacher.head is not None
    assert make_trainer(teacher=probed.teacher, **given).teacher is probed.teacher
    assert make_trainer(teacher=probed.teacher, teacher_head="probe", **given).teacher is probed.teacher
    again = make_trainer(teacher=ProbedTeacher(headless, probed.student.config), **given)
    assert again.probed is again.teacher and again.probed is not None and again.probed.source is headless


def test_heads_that_can_not_be_had(
    make_trainer: MakeTrainer, headless: Headless, make_images: Any, make_rows: Any, cached: Any
) -> None:
    images, without = make_images(12), "`teacher_head='none'` with `kd_weight=0, feature_weight=1`"
    for given, message in (
        (
            {"teacher_head": "linear"},
            r"is 'linear'; expected one of \('own', 'probe', 'text', 'none'\)",
        ),
        (
            {"teacher_head": "own"},
            f"`teacher_head` is 'own', .* a Headless, has no classifier.*{without}",
        ),
        ({"teacher_head": "none"}, f"`teacher_head` is 'none' and `kd_weight` is 1.0.*{without}"),
        ({"train_dataset": images.remove_columns("label")}, f"`train_dataset` has no rows with labels.*{without}"),
        ({"train_dataset": make_rows(8, without=("labels",))}, "`train_dataset` has no rows with labels"),
        ({"train_dataset": None}, f"there is no `train_dataset`.*{without}"),
        ({"train_dataset": images.select([0, 4, 8])}, r"are of the classes \[0\]; expected at least two"),
        ({"teacher": None, "teacher_head": "probe", "kd_weight": 0.0, "ce_weight": 1.0}, "there is no teacher"),
        (
            {"teacher": cached(Mixing(1.0, 1.0)), "teacher_head": "probe", "views": None},
            "stored for mixed images.*recipes/cache_teacher.py --teacher_head probe",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            make_trainer(**{"teacher": headless, "train_dataset": images, **ALONE} | given)


@pytest.fixture
def cached(teacher: OnlineTeacher, make_images: Any, tmp_path: Path) -> Callable[..., CachedTeacher]:
    def write(mixing: Mixing, views: int = 3) -> CachedTeacher:
        policy = ViewPolicy(views, 7, Augmentation(scale=(0.5, 1.0)), mixing)
        return CachedTeacher.write(teacher, make_images(12), tmp_path / f"answers{bool(mixing)}", policy)

    return write


def test_stored_features_are_fitted_on(
    make_trainer: MakeTrainer, make_images: Any, cached: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All stored views count, and no image is decoded for them; a wrapper round the probe keeps views and checks."""
    answers, images = cached(Mixing()), make_images(12)
    given: dict[str, Any] = {"train_dataset": images, "augmentation": answers.views.augmentation}
    given |= ALONE | {"mixup": 0.0, "cutmix": 0.0}
    trainer = make_trainer(teacher=answers, teacher_head="probe", **given)
    trainer.train()
    rows = torch.arange(12).repeat_interleave(3)
    features = answers({"sample_index": rows, "view": torch.arange(3).repeat(12)}).features
    expected = fit_linear_probe(features.view(12, 3, 12), torch.arange(12) % 4, 4)
    found = head_of(trainer)
    assert found.views == 3
    torch.testing.assert_close(found.weight, expected.weight, atol=1e-5, rtol=1e-4)
    assert "eval_teacher_agreement" not in trainer.evaluate(eval_dataset=images)
    assert trainer.teacher is not None
    wrapped = Forwarding(trainer.teacher)
    assert wrapped.views == answers.views
    again: Any = make_trainer(teacher=wrapped, **given)
    assert again.train_dataset.policy == answers.views
    with pytest.raises(ValueError, match="another data set"):
        make_trainer(teacher=wrapped, **given | {"train_dataset": make_images(11)})


def test_some_rows_have_labels(make_trainer: MakeTrainer, headless: Headless, make_images: Any) -> None:
    """Images without one are trained on, and those with one are fitted on."""
    images = make_images(40)
    partly = [label if row < 24 else -1 for row, label in enumerate(images["label"])]
    images = images.remove_columns("label").add_column("label", partly).cast(images.features)
    trainer = make_trainer(teacher=headless, train_dataset=images, **ALONE)
    trainer.train()
    assert head_of(trainer).images == 24


def test_labels_are_numbered_as_the_student_does(
    make_trainer: MakeTrainer, headless: Headless, make_images: Any
) -> None:
    names = ["3", "1", "0", "2"]
    features = make_images(1).features | {"label": datasets.ClassLabel(names=names)}
    images = make_images(40).cast(datasets.Features(features))
    trainer = make_trainer(teacher=headless, train_dataset=images, **ALONE)
    trainer.fit_head()
    batch = trainer.batch_of(items_of(trainer, 40))
    assert batch["labels"][:4].tolist() == [3, 1, 0, 2]
    expected = fit_linear_probe(headless(batch).features[:, None], batch["labels"], 4)
    torch.testing.assert_close(head_of(trainer).weight, expected.weight, atol=1e-4, rtol=1e-3)


def test_items_of_the_users_own(make_trainer: MakeTrainer, headless: Headless, make_rows: Any) -> None:
    """Their labels are those in the items; an evaluation fits the head as training does."""
    trainer = make_trainer(teacher=headless, train_dataset=make_rows(20), eval_dataset=make_rows(8), **ALONE)
    assert "eval_teacher_agreement" in trainer.evaluate()
    head = head_of(trainer)
    assert (head.images, head.views, head.classes) == (20, 1, 4)
    trainer.train()
    assert head_of(trainer) is head


def test_augmented_images_are_asked_about_whole(
    make_trainer: MakeTrainer, headless: Headless, make_images: Any
) -> None:
    """A head that is fitted on crops knows images and their mixtures less well."""
    given: dict[str, Any] = {"train_dataset": make_images(12), "augmentation": Augmentation(scale=(0.3, 1.0))}
    trainer: Any = make_trainer(teacher=headless, **given, **ALONE)
    trainer.fit_head()
    whole: Any = make_trainer(
        teacher=headless, train_dataset=make_images(12), augmentation=None, **ALONE
    ).train_dataset
    features = headless(trainer.batch_of([whole[row] for row in range(12)])).features
    assert features is not None
    expected = fit_linear_probe(features[:, None], torch.arange(12) % 4, 4)
    assert head_of(trainer).views == 1
    torch.testing.assert_close(head_of(trainer).weight, expected.weight, atol=1e-4, rtol=1e-3)


def test_a_probe_no_better_than_the_student_is_said_to_be_so(
    make_trainer: MakeTrainer, headless: Headless, make_images: Any, caplog: Any, capsys: Any
) -> None:
    """Labels of random images can't be learnt; a student that was given them by heart can't be taught."""
    images = make_images(24)
    given: dict[str, Any] = {"train_dataset": images, "eval_dataset": images.select(range(12)), **ALONE}
    trainer: Any = make_trainer(teacher=headless, **given)
    answer = trainer.student.forward
    batch = trainer.batch_of(items_of(trainer, 12))

    def knows(pixel_values: torch.Tensor, **rest: Any) -> Any:
        output = answer(pixel_values=pixel_values, **rest)
        rows = [(batch["pixel_values"] - each).abs().amax((1, 2, 3)).argmin() for each in pixel_values]
        output.logits = F.one_hot(batch["labels"][torch.stack(rows)], 4).float()
        return output

    trainer.student.forward = knows
    with caplog.at_level(logging.WARNING):
        trainer.fit_head()
    assert "right about 100.0% of evaluation images" in capsys.readouterr().out
    head = head_of(trainer)
    right = (F.linear(headless(batch).features, head.weight, head.bias).argmax(-1) == batch["labels"]).float().mean()
    assert f"the teacher with this head about {right.item():.1%}" in caplog.text
    assert "a probe pays only where it is well above the student" in caplog.text


def test_the_card_tells_of_the_head(make_trainer: MakeTrainer, headless: Headless, make_images: Any) -> None:
    trainer = make_trainer(teacher=headless, train_dataset=make_images(40), **ALONE)
    trainer.train()
    trainer.create_model_card()
    card = (Path(str(trainer.args.output_dir)) / "README.md").read_text()
    accuracy = 100 * head_of(trainer).accuracy
    assert f"fitted on 40 labelled images (cross-validated top-1 {accuracy:.1f} %)" in card


RESUMED: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}


def test_resuming_takes_the_head_of_the_checkpoint(
    make_trainer: MakeTrainer, headless: Headless, make_images: Any, parameters: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"teacher": headless, "train_dataset": make_images(20), **ALONE, **RESUMED}
    whole = make_trainer(**given)
    whole.train()
    checkpoint = tmp_path / "out" / "checkpoint-2"
    manifest = json.loads((checkpoint / "checkpoint_manifest.json").read_text())
    assert HEAD_NAME in manifest["files"] and manifest["run"]["teacher_head"] == "probe"
    resumed = make_trainer(**given)

    def refuse(*args: Any) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr("exrep_hf.training.probe_images.fit_linear_probe", refuse)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert torch.equal(head_of(resumed).weight, head_of(whole).weight)
    assert torch.equal(head_of(resumed).bias, head_of(whole).bias)
    for name, value in parameters(whole).items():
        assert torch.equal(value, parameters(resumed)[name]), name
    with pytest.raises(ValueError, match="teacher head: probe in the checkpoint, None now"):
        make_trainer(**given | {"teacher": headless._source}).train(resume_from_checkpoint=str(checkpoint))


def test_what_is_published_is_without_the_head(
    make_trainer: MakeTrainer, headless: Headless, make_images: Any, tmp_path: Path
) -> None:
    trainer = make_trainer(teacher=headless, train_dataset=make_images(20), **ALONE)
    trainer.train()
    trainer.save_model(str(tmp_path / "published"))
    assert not (tmp_path / "published" / HEAD_NAME).exists() and (tmp_path / "out" / HEAD_NAME).is_file()


@pytest.mark.slow
def test_two_processes_share_the_images_and_hold_one_head(processes: Processes, tmp_path: Path) -> None:
    """It is the head of one process but for rounding, whose last bits depend on the batches that are asked about."""
    for count in (1, 2):
        (tmp_path / str(count)).mkdir()
        finish(processes.start("tests.training.probe_run", count, str(tmp_path / str(count))))
    files = (tmp_path / "1" / "found-0.pt", tmp_path / "2" / "found-0.pt", tmp_path / "2" / "found-1.pt")
    alone, first, second = (torch.load(path) for path in files)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1]) and one[2] == other[2]
    for whole, resumed in (alone, first):
        assert torch.equal(whole[0], resumed[0])
        assert all(torch.equal(value, resumed[3][name]) for name, value in whole[3].items())
    torch.testing.assert_close(first[0][0], alone[0][0], atol=1e-4, rtol=1e-3)
    assert first[0][2] == pytest.approx(alone[0][2], abs=0.01)
