"""What is passed as a data set and is none, and rows without labels."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from exrep_hf.data import Augmentation, ViewPolicy
from exrep_hf.teacher import CachedTeacher

MakeTrainer = Callable[..., Any]
MakeImages = Callable[[int], datasets.Dataset]

NO_LABELS = {"ce_weight": 0.0, "adversarial_weight": 0.0}


def with_labels(images: datasets.Dataset, labels: list[Any], kind: str = "int64") -> datasets.Dataset:
    given = datasets.Dataset.from_dict({"label": labels}, features=datasets.Features(label=datasets.Value(kind)))
    return datasets.concatenate_datasets([images.remove_columns("label"), given], axis=1)


@pytest.mark.parametrize("name", ["train_dataset", "eval_dataset"])
def test_paths_are_no_data_sets(name: str, make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Prevents a traceback about items that are letters."""
    for path in (tmp_path, str(tmp_path)):
        with pytest.raises(
            ValueError, match=rf"`{name}` is '{tmp_path}', a name or path; .*load_images\('{tmp_path}'"
        ):
            make_trainer(**{name: path})


def test_one_split_is_trained_on(make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """What `load_dataset` returns holds all splits; as evaluation sets they are all taken."""
    splits = datasets.DatasetDict(train=make_images(8), test=make_images(4))
    with pytest.raises(
        ValueError, match=r"is a DatasetDict of \['test', 'train'\]; .*`train_dataset=splits\['train'\]`"
    ):
        make_trainer(train_dataset=splits)
    with pytest.raises(ValueError, match="`train_dataset` is a IterableDatasetDict of"):
        make_trainer(train_dataset=datasets.IterableDatasetDict(train=make_images(8).to_iterable_dataset()))
    trainer = make_trainer(train_dataset=splits["train"], eval_dataset=splits)
    assert {"eval_train_accuracy", "eval_test_accuracy"} <= trainer.evaluate().keys()


@pytest.mark.parametrize("name", ["train_dataset", "eval_dataset"])
def test_streams_that_are_refused_at_the_start(name: str, make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """Prevents an evaluation that fails after the first epoch, and a training on what nobody knows."""
    stream = make_images(4).to_iterable_dataset()
    unknown = stream.map(lambda row: {"label": row["label"]})
    assert unknown.column_names is None
    told = rf"`{name}` is a stream with the columns \['image', 'label'\]"
    with pytest.raises(ValueError, match=f"{told}, of which it is not known what they hold; expected .*map"):
        make_trainer(**{name: unknown})
    with pytest.raises(ValueError, match=f"`{name}` is a stream without rows"):
        make_trainer(**{name: unknown.filter(lambda row: False)})
    if name == "eval_dataset":
        with pytest.raises(ValueError, match=f"{told}; expected `pixel_values`, as an evaluation counts rows"):
            make_trainer(**{name: stream})


def test_streams_of_tensors_are_evaluated(make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """A stream whose images are made to tensors gives the numbers of the rows that it is of."""
    images = make_images(6)
    trainer = make_trainer(train_dataset=images, eval_dataset=images)
    batch = trainer.batch_of([trainer.eval_dataset[row] for row in range(6)])
    rows = [{name: batch[name][row] for name in ("pixel_values", "labels")} for row in range(6)]
    stream = datasets.Dataset.from_list(
        [{"pixel_values": row["pixel_values"].tolist(), "labels": int(row["labels"])} for row in rows]
    )
    streamed = make_trainer(train_dataset=images, eval_dataset=stream.to_iterable_dataset().with_format("torch"))
    expected, found = trainer.evaluate(), streamed.evaluate()
    assert found["eval_accuracy"] == expected["eval_accuracy"]
    assert found["eval_loss_ce"] == pytest.approx(expected["eval_loss_ce"], rel=1e-4)


@pytest.mark.parametrize("missing", [None, -1])
def test_rows_without_label(
    missing: int | None, make_trainer: MakeTrainer, make_images: MakeImages, caplog: pytest.LogCaptureFixture
) -> None:
    """Unlabelled images may be distilled on; CRD then takes all other images for negatives."""
    images = make_images(8)
    partly, none = (with_labels(images, labels) for labels in ([0, 1, missing, 3, 0, 1, 2, missing], [missing] * 8))
    with pytest.raises(ValueError, match=r"8 of 8 labels in the column 'label' of `train_dataset` .*`ce_weight=0`"):
        make_trainer(train_dataset=none)
    with caplog.at_level(logging.WARNING, "exrep_hf"):
        trainer = make_trainer(train_dataset=partly)
    assert "2 of 8 rows of `train_dataset` have no label: what needs" in caplog.text
    assert trainer.train_dataset[2]["labels"] == trainer.train_dataset[7]["labels"] == -1
    assert trainer.distillation_objective.crd.negatives.labels.tolist() == [0, 1, -1, 3, 0, 1, 2, -1]
    trainer = make_trainer(train_dataset=none, **NO_LABELS)
    assert "labels" not in trainer.train_dataset[0]
    other = make_trainer(train_dataset=images.remove_columns("label"), **NO_LABELS)
    for each in (trainer, other):
        each.train()
    for ours, theirs in zip(trainer.student.parameters(), other.student.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(ValueError, match="2 of 8 labels .* of `eval_dataset` are missing .*accuracy needs them"):
        make_trainer(train_dataset=images, eval_dataset=partly)


def test_labels_that_are_stored_otherwise(make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """Decimals are class numbers; lists and texts are refused with what to do."""
    images = make_images(8)
    trainer = make_trainer(train_dataset=with_labels(images, [float(row % 4) for row in range(8)], "float64"))
    assert trainer.train_dataset[5]["labels"] == 1
    with pytest.raises(ValueError, match="label in row 1, column 'label', of `train_dataset` is 0.5"):
        make_trainer(train_dataset=with_labels(images, [0, 0.5] * 4, "float64"))
    with pytest.raises(ValueError, match=r"is 'bee'; .*class_encode_column\('label'\)"):
        make_trainer(train_dataset=with_labels(images, ["bee", "ant"] * 4, "string"))
    lists = images.remove_columns("label").add_column("label", [[0], [1]] * 4)
    with pytest.raises(ValueError, match="of `train_dataset` holds a List in each row; expected one class a row"):
        make_trainer(train_dataset=lists)


def test_answers_about_rows_without_label(
    teacher: Any, make_trainer: MakeTrainer, make_images: MakeImages, tmp_path: Path
) -> None:
    """A teacher that answers about images needs no labels of them either."""
    partly = with_labels(make_images(8), [0, None, 2, -1] * 2)
    CachedTeacher.write(teacher, partly, tmp_path / "answers", views=ViewPolicy(1, augmentation=Augmentation()))
    settings = NO_LABELS | {"crd_weight": 0.0, "augmentation": Augmentation()}
    trainer = make_trainer(train_dataset=partly, teacher=CachedTeacher(tmp_path / "answers"), **settings)
    trainer.train()
    assert trainer.state.global_step == trainer.args.max_steps


def test_the_best_by_a_metric_that_needs_labels(make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """Prevents a KeyError after the first epoch; agreement with the teacher needs none."""
    images = make_images(8)
    given: dict[str, Any] = {"train_dataset": images, "eval_dataset": images.remove_columns("label"), "save_steps": 1}
    given |= {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "load_best_model_at_end": True}
    for name in ("accuracy", "eval_top5_accuracy"):
        with pytest.raises(ValueError, match=f"`metric_for_best_model` is '{name}', and `eval_dataset` has no labels"):
            make_trainer(**given, metric_for_best_model=name)
    make_trainer(**given | {"eval_dataset": images}, metric_for_best_model="accuracy")
    trainer = make_trainer(**given, metric_for_best_model="teacher_agreement", greater_is_better=True, max_steps=1)
    trainer.train()
    assert 0 <= trainer.state.best_metric <= 1
