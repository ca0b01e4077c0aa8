"""Terms of the user's own: trained, logged, kept, resumed and named like ours."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from exrep_hf import DistillationArguments, OnlineTeacher, Term
from exrep_hf.losses import DISTLoss, DKDLoss
from exrep_hf.training.own_terms import make_terms, term_settings

from .own_loss import Regression, TwoParts, Wrong

MakeTrainer = Callable[..., Any]
Logged = Callable[[Any, str], list[float]]
ALONE = {"ce_weight": 0.0, "kd_weight": 0.0, "crd_weight": 0.0, "adversarial_weight": 0.0, "feature_weight": 0.0}
OWN = "tests.training.own_loss"


def regression(seed: int = 5) -> Regression:
    torch.manual_seed(seed)
    return Regression()


def test_value_and_total(make_trainer: MakeTrainer, logged: Logged) -> None:
    """Logged as it is, counted with its weight, beside terms of ours."""
    trainer = make_trainer(**ALONE | {"kd_weight": 2.0}, terms={"dist": Term(DISTLoss(), 3.0)}, max_steps=1)
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(4)])
    objective = trainer.distillation_objective.train()
    loss, output = trainer.compute_loss(objective, batch, return_outputs=True)
    answer = trainer.teacher(batch, temperature=4.0)
    expected = DISTLoss()(output.logits, answer.logits)
    torch.testing.assert_close(output.losses["loss_dist"], expected.detach())
    torch.testing.assert_close(loss, 2 * output.losses["loss_kd"] + 3 * expected)
    assert output.features.shape == (4, 8)
    trainer.train()
    assert len(logged(trainer, "loss_dist")) == 1
    metrics = trainer.evaluate(trainer.train_dataset)
    assert metrics["eval_loss"] == pytest.approx(2 * metrics["eval_loss_kd"] + 3 * metrics["eval_loss_dist"])


def test_parts_of_one_term(make_trainer: MakeTrainer, logged: Logged) -> None:
    """Each part under its own name, with its own weight; a teacher is not asked for it."""
    weights = {"bright": 0.0, "sharp": 2.0}
    trainer = make_trainer(**ALONE, teacher=None, terms={"parts": Term(TwoParts(), weights)}, max_steps=2)
    trainer.train()
    assert len(logged(trainer, "loss_bright")) == 2
    for total, part in zip(logged(trainer, "loss"), logged(trainer, "loss_sharp"), strict=True):
        assert total == pytest.approx(2 * part, rel=1e-3)


def test_its_parameters_are_trained(make_trainer: MakeTrainer) -> None:
    """With the student, without weight decay; what was passed is what is trained."""
    module = regression()
    before = module.layer.weight.detach().clone()
    trainer = make_trainer(terms={"own": Term(module, 0.5)}, weight_decay=0.1)
    trainer.train()
    assert (module.layer.weight - before).abs().max() > 1e-3 and module.steps == 4
    decayed = [group for group in trainer.optimizer.param_groups if group["weight_decay"] > 0]
    assert not any(module.layer.weight is each for group in decayed for each in group["params"])
    trainer.save_model()
    names = load_file(Path(trainer.args.output_dir) / "model.safetensors").keys()
    assert names and not any("terms" in name for name in names)


def test_resumed_to_the_bit(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Its weights and its counts are in the checkpoint, also where it was made anew with others."""

    def run(folder: str, resume: str | None = None, seed: int = 5) -> dict[str, Tensor]:
        trainer = make_trainer(
            terms={"own": Term(regression(seed), 0.5)}, output_dir=str(tmp_path / folder),
            save_strategy="steps", save_steps=2,
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=resume)
        return trainer.distillation_objective.state_dict()

    whole = run("whole")
    resumed = run("resumed", str(tmp_path / "whole" / "checkpoint-2"), seed=6)
    assert whole["terms.own.steps"] == 4
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    with pytest.raises(ValueError, match="of another run.*terms"):
        make_trainer(terms={"own": Term(regression(), 0.4)}).train(str(tmp_path / "whole" / "checkpoint-2"))
    with pytest.raises(ValueError, match="of another run.*terms"):
        make_trainer().train(str(tmp_path / "whole" / "checkpoint-2"))


def test_labels_of_mixed_images(make_trainer: MakeTrainer, make_images: Any, logged: Logged) -> None:
    """Labels that only an own term looks at are mixed with the images, as shares."""
    seen: list[Tensor] = []

    class Watching(DKDLoss):
        def forward(self, student: Any, teacher: Any, batch: Any) -> Tensor:
            seen.append(batch["labels"])
            return super().forward(student, teacher, batch)

    settings = ALONE | {"mixup": 1.0, "cutmix": 1.0, "freeze_batch_norm": False}
    trainer = make_trainer(**settings, train_dataset=make_images(8), terms={"dkd": Term(Watching())})
    trainer.train()
    assert len(logged(trainer, "loss_dkd")) == 4
    assert all(labels.shape == (4, 4) and labels.is_floating_point() for labels in seen)
    torch.testing.assert_close(seen[0].sum(1), torch.ones(4))


def test_features_follow_where_logits_are_compared(make_trainer: MakeTrainer) -> None:
    """Another term in the place of ours on logits changes that one alone."""
    mixed = {"mixup": 1.0, "cutmix": 1.0, "crd_weight": 0.0, "adversarial_weight": 0.0, "ce_weight": 0.0}
    ours = make_trainer(**mixed).args
    own = make_trainer(**mixed, kd_weight=0.0, terms={"dist": Term(DISTLoss())}).args
    assert ours.feature_weight == own.feature_weight == 10.0


def test_what_it_needs(make_trainer: MakeTrainer, make_network: Any, make_rows: Any) -> None:
    """Refused before the first step where teacher or items lack it; in an evaluation it is left out."""
    with pytest.raises(ValueError, match="No teacher was given, but one of `terms` is above 0"):
        make_trainer(**ALONE, teacher=None, terms={"dist": Term(DISTLoss())})
    with pytest.raises(ValueError, match="teacher_head` is 'none' and one of `terms` compares logits"):
        make_trainer(**ALONE, teacher_head="none", terms={"dist": Term(DISTLoss())})
    with pytest.raises(ValueError, match="labels"):
        make_trainer(**ALONE, train_dataset=make_rows(8, without=("labels",)), terms={"dkd": Term(DKDLoss())})
    trainer = make_trainer(**ALONE | {"kd_weight": 1.0}, terms={"dkd": Term(DKDLoss())})
    assert "eval_loss_dkd" not in trainer.evaluate(make_rows(8, without=("labels",)))
    # One that looks at features alone needs no head.
    trainer = make_trainer(**ALONE, teacher_head="none", terms={"own": Term(regression(), 1.0)})
    trainer.train()
    with pytest.raises(ValueError, match="there are no `terms`: there is nothing to train"):
        make_trainer(**ALONE)


def test_wrong_values(make_trainer: MakeTrainer) -> None:
    """A value an image, or a part without a weight, is named at the first step."""
    with pytest.raises(ValueError, match=r"The term `wrong` gives {'wrong': \(4,\)}; expected a scalar tensor"):
        make_trainer(terms={"wrong": Term(Wrong())}).train()
    with pytest.raises(ValueError, match=r"The term `parts` gives .*one for each of \['bright'\]"):
        make_trainer(terms={"parts": Term(TwoParts(), {"bright": 1.0})}).train()


def test_classes_that_are_shared_in_part(make_trainer: MakeTrainer, make_network: Any) -> None:
    """Logits are of the classes that both know; labels of all can't be compared with them."""
    partial = OnlineTeacher(make_network(seed=1, width=12, num_labels=3))
    shapes: list[Any] = []

    class Watching(DISTLoss):
        def forward(self, student: Any, teacher: Any, batch: Any = None) -> Tensor:
            shapes.append((student.logits.shape, teacher.logits.shape))
            return super().forward(student, teacher, batch)

    with_labels = ALONE | {"ce_weight": 1.0}
    make_trainer(**with_labels, teacher=partial, terms={"dist": Term(Watching())}, max_steps=1).train()
    assert shapes and set(shapes) == {((4, 3), (4, 3))}
    with pytest.raises(ValueError, match=r"The terms \['dkd'\] need labels and the teacher's logits"):
        make_trainer(**with_labels, teacher=partial, terms={"dkd": Term(DKDLoss())})


def test_terms_of_settings(make_args: Callable[..., DistillationArguments], make_trainer: MakeTrainer) -> None:
    """Ours are made of their names; the first weights depend on the seed alone, and no generator moves."""
    trainer = make_trainer(terms_of_settings={"dist": {"class": "DISTLoss", "arguments": {"beta": 2.0}}})
    assert trainer.distillation_objective.terms["dist"].beta == 2.0
    described = {"class": "exrep_hf.losses.dist:DISTLoss", "weight": 1.0, "needs": ["teacher_logits"]}
    assert trainer.args.terms == {"dist": described | {"arguments": {"beta": 2.0}}}
    # A study makes the term itself, of the same settings.
    again = make_trainer(terms_of_settings=trainer.args.terms, terms={"dist": Term(DISTLoss(beta=2.0))})
    assert again.args.terms == trainer.args.terms
    settings = {"own": {"class": f"{OWN}:Regression", "weight": 1.0, "arguments": {"teacher_dim": 3}}}
    before = torch.get_rng_state()
    made: list[Any] = [make_terms(settings, seed, allow_code=True)["own"].loss for seed in (1, 1, 2)]
    first, second, other = made
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.layer.weight, second.layer.weight) and first.layer.weight.shape == (3, 8)
    assert not torch.equal(first.layer.weight, other.layer.weight)
    assert term_settings(settings, allow_code=True)["own"]["needs"] == ["teacher_features"]


@pytest.mark.parametrize(
    ("path", "allowed", "message"),
    [
        ("os:system", False, "code that is not of exrep_hf.*`--allow_code`"),
        ("exrep_hf.training.trainer:DistillationTrainer", False, "code that is not of exrep_hf"),
        ("DISTLos", False, "there is no such class .*or one of .*DISTLoss, DKDLoss"),
        ("no_such_module:Loss", True, "there is no such class .*no_such_module"),
        (f"{OWN}:NO_CLASS", True, "expected a subclass of `torch.nn.Module`"),
        ("CRDLoss", False, "The class of `terms.own`, CRDLoss, can't be made: .*student_dim"),
    ],
)
def test_classes_that_are_not_taken(path: str, allowed: bool, message: str, make_trainer: MakeTrainer) -> None:
    """A setting that was published by somebody else runs none of their code."""
    with pytest.raises(ValueError, match=message):
        make_terms({"own": {"class": path, "weight": 1.0}}, 0, allowed)
    if not allowed:
        with pytest.raises(ValueError, match=message):
            make_trainer(terms_of_settings={"own": {"class": path}})


def test_card(make_trainer: MakeTrainer, make_images: Any) -> None:
    """The card names class and weight, among the terms and in the settings."""
    trainer = make_trainer(train_dataset=make_images(8), terms={"own": Term(regression(), 0.25)})
    trainer.train()
    trainer.create_model_card()
    card = (Path(trainer.args.output_dir) / "README.md").read_text()
    assert f"`own` ({OWN}:Regression): weight 0.25" in card
    assert json.dumps(f"{OWN}:Regression") in card
