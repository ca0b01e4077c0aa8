"""Numbers of evaluate() and predict(), against a plain loop."""

from collections.abc import Callable
from typing import Any

import datasets
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from exrep_hf import OnlineTeacher

MakeTrainer = Callable[..., Any]
MakeRows = Callable[..., Any]

PARTS = ("accuracy", "top5_accuracy", "loss", "teacher_agreement", "loss_ce", "loss_kd")


def plain_loop(trainer: Any, teacher: OnlineTeacher, images: Tensor) -> dict[str, float]:
    """All images in one batch: means over images, whatever the batches were."""
    labels = torch.arange(len(images)) % 4
    with torch.no_grad():
        student = trainer.student.eval()(images).logits
        answers = teacher.model(images).logits
    ranks = (student > student.gather(1, labels[:, None])).sum(1)
    ce = F.cross_entropy(student, labels, label_smoothing=0.1).item()
    kd = 16 * F.kl_div((student / 4).log_softmax(1), (answers / 4).softmax(1), reduction="sum").item() / len(images)
    return {
        "accuracy": (ranks < 1).float().mean().item(),
        "top5_accuracy": (ranks < 5).float().mean().item(),
        "teacher_agreement": (student.argmax(1) == answers.argmax(1)).float().mean().item(),
        "loss": ce + kd,
        "loss_ce": ce,
        "loss_kd": kd,
    }


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("count", [8, 10, 3])
def test_evaluation_equals_a_plain_loop(
    count: int, trained: bool, make_trainer: MakeTrainer, make_rows: MakeRows, teacher: OnlineTeacher
) -> None:
    """A mean of batch means counts the images of a small last batch several times."""
    rows = make_rows(count)
    trainer = make_trainer(eval_dataset=rows, crd_weight=0.0, adversarial_weight=0.0)
    if trained:
        trainer.train()
    metrics = trainer.evaluate()
    expected = plain_loop(trainer, teacher, rows.images)
    assert {name: metrics[f"eval_{name}"] for name in PARTS} == pytest.approx(expected, abs=1e-5)
    assert all(isinstance(metrics[f"eval_{name}"], float) for name in PARTS)


def test_repeated_evaluation_starts_anew(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    """Means that go on over evaluations show a student that hardly changes."""
    trainer = make_trainer(eval_dataset=make_rows(10), crd_weight=0.0, adversarial_weight=0.0)
    first = trainer.evaluate()
    trainer.train()
    second = trainer.evaluate(make_rows(3))
    again = trainer.evaluate(make_rows(3))
    for name in PARTS:
        assert second[f"eval_{name}"] == again[f"eval_{name}"]
    assert first["eval_loss_kd"] != second["eval_loss_kd"]


def test_several_evaluation_sets(make_trainer: MakeTrainer, make_rows: MakeRows, teacher: OnlineTeacher) -> None:
    """Each set has its own numbers under its own name, none from the other."""
    sets = {"short": make_rows(3), "long": make_rows(10)}
    trainer = make_trainer(eval_dataset=sets, crd_weight=0.0, adversarial_weight=0.0)
    metrics = trainer.evaluate()
    for name, rows in sets.items():
        expected = plain_loop(trainer, teacher, rows.images)
        assert {part: metrics[f"eval_{name}_{part}"] for part in PARTS} == pytest.approx(expected, abs=1e-5)


def test_images_without_labels(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    """Agreement with the teacher needs no labels; accuracy is not to be made up."""
    trainer = make_trainer(eval_dataset=make_rows(10, without=("labels",)), crd_weight=0.0, adversarial_weight=0.0)
    metrics = trainer.evaluate()
    assert {"eval_teacher_agreement", "eval_loss_kd", "eval_loss"} <= metrics.keys()
    assert metrics["eval_loss"] == pytest.approx(metrics["eval_loss_kd"])
    assert not {"eval_accuracy", "eval_top5_accuracy", "eval_loss_ce"} & metrics.keys()


def test_every_term_in_evaluation(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    """Images that nobody trained on have no row in the memory bank, and must not change it."""
    trainer = make_trainer(eval_dataset=make_rows(30))
    trainer.train()
    before = {name: value.clone() for name, value in trainer.distillation_objective.auxiliary_state().items()}
    metrics = trainer.evaluate()
    for name in ("loss_ce", "loss_kd", "loss_crd", "loss_adversarial", "loss_critic"):
        assert 0 <= metrics[f"eval_{name}"] < 1e3
    after = trainer.distillation_objective.auxiliary_state()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_agreement_without_any_term_of_the_teacher(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    """The label-only control is compared with the teacher as well."""
    trainer = make_trainer(eval_dataset=make_rows(10), kd_weight=0.0, crd_weight=0.0, adversarial_weight=0.0)
    metrics = trainer.evaluate()
    assert 0 <= metrics["eval_teacher_agreement"] <= 1
    assert metrics["eval_loss"] == pytest.approx(metrics["eval_loss_ce"])


def test_predictions_are_logits_in_order(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    """Every output of the model but the loss would be taken for predictions."""
    rows = make_rows(10)
    trainer = make_trainer()
    output = trainer.predict(rows)
    with torch.no_grad():
        expected = trainer.student.eval()(rows.images).logits
    assert output.predictions.shape == (10, 4)
    torch.testing.assert_close(torch.as_tensor(output.predictions), expected)
    assert output.label_ids.tolist() == [row % 4 for row in range(10)]
    assert output.metrics["test_teacher_agreement"] >= 0


def test_loss_alone(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    """`prediction_loss_only` is for sets whose logits don't fit in memory; components go on."""
    trainer = make_trainer(prediction_loss_only=True, eval_dataset=make_rows(10))
    metrics = trainer.evaluate()
    assert "eval_accuracy" not in metrics and {"eval_loss", "eval_loss_kd"} <= metrics.keys()


def test_images_given_to_evaluate_and_predict(
    make_trainer: MakeTrainer, make_images: Callable[[int], datasets.Dataset]
) -> None:
    """An HF data set given late gets the same transform and checks as one given early."""
    images = make_images(6)
    trainer = make_trainer(eval_dataset=images, crd_weight=0.0, adversarial_weight=0.0)
    early, late = trainer.evaluate(), trainer.evaluate(images)
    assert {name: late[f"eval_{name}"] for name in PARTS} == {name: early[f"eval_{name}"] for name in PARTS}
    assert trainer.predict(images).predictions.shape == (6, 4)
    wrong = images.cast_column("label", datasets.Value("int64")).map(lambda row: {"label": row["label"] + 2})
    with pytest.raises(ValueError, match="The label in row 2, column 'label', is 4; expected an integer from 0 to 3"):
        trainer.evaluate(wrong)


def test_an_evaluation_keeps_no_logits(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    """50 000 images of 21 843 classes are 4 GB of them; `predict` is asked for logits and keeps them."""
    rows = make_rows(10)
    trainer = make_trainer(crd_weight=0.0, adversarial_weight=0.0)
    loader = trainer.get_eval_dataloader(rows)
    judged = trainer.evaluation_loop(loader, "Evaluation")
    assert judged.predictions is None and judged.label_ids is None and judged.num_samples == 10
    predicted = trainer.predict(rows)
    assert predicted.predictions.shape == (10, 4)
    for name in PARTS:
        assert judged.metrics[f"eval_{name}"] == pytest.approx(predicted.metrics[f"test_{name}"], abs=1e-6)


def test_metrics_of_the_users_own_get_logits(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    """They may be set on a trainer that is there already, as people do with the Trainer."""
    trainer = make_trainer(eval_dataset=make_rows(10), crd_weight=0.0, adversarial_weight=0.0)
    trainer.compute_metrics = lambda prediction: {"classes": prediction.predictions.shape[1]}
    metrics = trainer.evaluate()
    assert metrics["eval_classes"] == 4 and "eval_accuracy" not in metrics


def test_logits_are_prepared_before_they_are_judged(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    trainer = make_trainer(eval_dataset=make_rows(12), crd_weight=0.0, adversarial_weight=0.0)
    trainer.preprocess_logits_for_metrics = lambda logits, labels: F.one_hot(labels, 4).float()
    assert trainer.evaluate()["eval_accuracy"] == 1
    trainer.preprocess_logits_for_metrics = lambda logits, labels: F.one_hot((labels + 1) % 4, 4).float()
    assert trainer.evaluate()["eval_accuracy"] == 0


def test_logits_that_are_not_finite(make_trainer: MakeTrainer, make_rows: MakeRows, caplog: Any) -> None:
    """The largest of NaN is some class, and would be right by chance."""
    trainer = make_trainer(eval_dataset=make_rows(12), crd_weight=0.0, adversarial_weight=0.0)
    trainer.preprocess_logits_for_metrics = lambda logits, labels: logits.index_fill(0, torch.tensor([1]), torch.nan)
    metrics = trainer.evaluate()
    assert metrics["eval_accuracy"] != metrics["eval_accuracy"]
    batches = -(-12 // trainer.args.eval_batch_size)
    assert f"The logits of {batches} of 12 images are NaN or infinite" in caplog.text


def test_a_single_step_after_an_evaluation(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    """It returns logits, whatever the evaluation before it left of its own."""
    trainer = make_trainer(eval_dataset=make_rows(4))
    trainer.evaluate()
    loss, logits, labels = trainer.prediction_step(trainer.model, next(iter(trainer.get_eval_dataloader())), False)
    assert loss.ndim == 0 and logits.shape == (4, 4) and labels.tolist() == [0, 1, 2, 3]


def test_workers_that_stay_evaluate_what_is_given(make_trainer: MakeTrainer, make_images: Any) -> None:
    """The Trainer keeps the loader of the first data set, and would evaluate that again."""
    first, second = make_images(8), make_images(16).select(range(8, 16))
    # Negatives would be drawn after a loader's seed, which one that is kept does not draw again.
    own = {"eval_dataset": {"first": first, "second": second}, "crd_weight": 0.0}
    plain = make_trainer(**own)
    stays = make_trainer(**own, dataloader_num_workers=1, dataloader_persistent_workers=True)
    loaders = []
    for asked in (first, second, "first", "second", "first"):
        expected, found = plain.evaluate(asked)["eval_loss"], stays.evaluate(asked)["eval_loss"]
        assert found == expected
        loaders.append(stays._eval_dataloaders[asked if isinstance(asked, str) else "eval"])
    assert loaders[2] is loaders[4]
    stays.eval_dataset = stays.eval_dataset["second"]
    assert stays.evaluate()["eval_loss"] == plain.evaluate(second)["eval_loss"]
