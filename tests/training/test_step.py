"""One step: what it computes, and what it must not wait for."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import ViTConfig, ViTForImageClassification

from exrep_hf import DistillationArguments

MakeTrainer = Callable[..., Any]
Logged = Callable[[Any, str], list[float]]
Parameters = Callable[[Any], dict[str, Tensor]]

MakeRows = Callable[..., Any]

LOGITS_ONLY = {"crd_weight": 0.0, "adversarial_weight": 0.0}
KD = {"ce_weight": 0.0, "temperature": 1.0}
COMPONENTS = ("loss_ce", "loss_kd", "loss_crd", "loss_adversarial", "loss_critic")
HEADS = ("student.classifier.classifier.1.weight", "student.input_distiller.to_residual.weight")


class NoSynchronisation(TorchDispatchMode):
    """Fails on every operator that makes the host wait for a device, or whose result's shape depends on values."""

    forbidden = ("_local_scalar_dense", "nonzero", "is_nonzero", "unique", "masked_select", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").split(".")[0]
        on_device = any(isinstance(each, Tensor) and each.device.type == "meta" for each in args)
        self.seen += on_device
        if on_device and (name in self.forbidden or name.startswith(("unique", "_unique"))):
            raise AssertionError(f"{name} makes the host wait")
        return func(*args, **(kwargs or {}))


def test_whole_step_never_waits_for_the_device(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One `.item()` or data-dependent shape a step leaves an accelerator idle, and nothing else shows it."""
    trainer = make_trainer(critic_learning_rate=1e-3, max_steps=1)
    trainer.create_optimizer_and_scheduler(num_training_steps=1)
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(4)])
    # Tensors without values: reading one raises, as does every operator whose shape depends on values.
    objective = trainer.distillation_objective.to("meta")
    optimizer = type(trainer.optimizer)(objective.parameters(), lr=1e-3)
    monkeypatch.setattr(trainer, "_prepare_inputs", lambda inputs: inputs)
    # Autocast knows no such device.
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext())
    batch = {name: tensor.to("meta") for name, tensor in batch.items()}
    for _ in range(2):
        with NoSynchronisation() as watch:
            loss = trainer.training_step(objective, batch)
            optimizer.step()
            optimizer.zero_grad()
        assert loss.device.type == "meta" and watch.seen > 100


@pytest.mark.parametrize("counted", ["by the trainer", "by an argument"])
def test_accumulated_batches_train_like_one_batch(
    counted: str, make_trainer: MakeTrainer, make_rows: MakeRows, parameters: Parameters, logged: Logged
) -> None:
    """A loss that is not divided trains with a learning rate eight times as high, and looks eight times as bad."""
    results = []
    for batch_size, accumulated in ((8, 1), (1, 8)):
        trainer = make_trainer(
            train_dataset=make_rows(16),
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulated,
            average_tokens_across_devices=counted == "by an argument",
            optim="sgd",
            learning_rate=0.02,
            max_steps=3,
            **LOGITS_ONLY,
        )
        before = parameters(trainer)
        trainer.train()
        results.append((parameters(trainer), [logged(trainer, name) for name in ("loss", "loss_ce", "loss_kd")]))
    (together, together_log), (apart, apart_log) = results
    assert all((together[name] - before[name]).abs().max() > 1e-4 for name in HEADS)
    for name, value in together.items():
        torch.testing.assert_close(apart[name], value, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.tensor(apart_log), torch.tensor(together_log), rtol=1e-5, atol=1e-5)


def test_number_of_items_does_not_scale_the_loss(make_trainer: MakeTrainer) -> None:
    """The Trainer passes `num_items_in_batch` to every `compute_loss`; a mean must not be divided by it."""
    trainer = make_trainer(**LOGITS_ONLY)
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(4)])
    objective = trainer.distillation_objective.train()
    plain = trainer.compute_loss(objective, batch)
    assert torch.equal(trainer.compute_loss(objective, batch, num_items_in_batch=torch.tensor(32)), plain)
    assert not trainer.model_accepts_loss_kwargs


def test_bfloat16_autocast(make_trainer: MakeTrainer, logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 a divergence of logits comes out negative, and a teacher outside autocast runs in float32."""
    trainer = make_trainer(bf16=True, max_steps=6)
    seen: list[tuple[torch.dtype, ...]] = []
    layers = (trainer.teacher.model.classifier[-1], trainer.student.classifier.classifier[-1])
    for layer in layers:
        layer.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].dtype, output.dtype)))
    answers: list[Any] = []
    ask = trainer.ask_teacher

    def note(batch: dict[str, Tensor], training: bool) -> Any:
        answers.append(ask(batch, training))
        return answers[-1]

    monkeypatch.setattr(trainer, "ask_teacher", note)
    trainer.train()
    assert {output for _, output in seen} == {torch.bfloat16}
    assert {answer.logits.dtype for answer in answers} == {torch.float32}
    assert {answer.features.dtype for answer in answers} == {torch.float32}
    for name in ("loss", *COMPONENTS):
        values = logged(trainer, name)
        assert len(values) == 6 and all(0 <= value < 1e3 for value in values)


def test_kd_of_equal_networks_is_not_negative_in_bfloat16(
    make_trainer: MakeTrainer, make_network: Any, logged: Logged
) -> None:
    """Near the teacher, rounding in half precision would turn the divergence negative."""
    trainer = make_trainer(
        model=make_network(seed=1), teacher=make_network(seed=1), bf16=True, learning_rate=1e-6, **LOGITS_ONLY | KD
    )
    trainer.train()
    assert len(logged(trainer, "loss_kd")) == 4
    assert all(0 <= loss < 1e-3 for loss in logged(trainer, "loss_kd"))


@pytest.mark.parametrize("frozen", [True, False])
def test_batch_norm(frozen: bool, make_trainer: MakeTrainer) -> None:
    """Statistics that move unnoticed ruin a pre-trained student; frozen affine parameters keep it from learning."""
    trainer = make_trainer(freeze_batch_norm=frozen, **LOGITS_ONLY)
    norms: list[Any] = [module for module in trainer.student.modules() if isinstance(module, _BatchNorm)]
    before = [{name: value.clone() for name, value in norm.state_dict().items()} for norm in norms]
    trainer.train()
    assert norms
    for norm, old in zip(norms, before, strict=True):
        assert torch.equal(norm.running_mean, old["running_mean"]) == frozen
        assert torch.equal(norm.running_var, old["running_var"]) == frozen
        assert torch.equal(norm.num_batches_tracked, old["num_batches_tracked"]) == frozen
        assert not torch.equal(norm.weight, old["weight"])
        assert not torch.equal(norm.bias, old["bias"])


def test_modes_during_training(
    make_trainer: MakeTrainer, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an evaluation in between, training must go on in training mode, with BatchNorm as before."""
    trainer = make_trainer(eval_dataset=make_rows(4), eval_strategy="steps", eval_steps=2)
    student = trainer.student
    seen = []

    def look(batch: dict[str, Tensor], training: bool) -> Any:
        norms = {module.training for module in student.modules() if isinstance(module, _BatchNorm)}
        others = {student.training, student.classifier.training}
        seen.append((training, others, norms, trainer.distillation_objective.crd.training))
        return ask(batch, training)

    ask = trainer.ask_teacher
    monkeypatch.setattr(trainer, "ask_teacher", look)
    trainer.train()
    step, evaluation = (True, {True}, {False}, True), (False, {False}, {False}, False)
    assert seen == [step, step, evaluation, step, step, evaluation]


def test_accuracy_before_the_first_step_is_the_students_own(
    make_trainer: MakeTrainer, make_network: Any, make_rows: MakeRows
) -> None:
    """A distiller that starts at random costs accuracy before anything is learned."""
    rows = make_rows(12)
    trainer = make_trainer(eval_dataset=rows)
    plain = make_network(seed=3)(rows.images).logits
    assert torch.equal(torch.as_tensor(trainer.predict(rows).predictions).argmax(-1), plain.argmax(-1))
    expected = (plain.argmax(-1) == torch.arange(12) % 4).float().mean().item()
    assert trainer.evaluate()["eval_accuracy"] == pytest.approx(expected)


def test_plain_classifier_as_model(make_trainer: MakeTrainer, make_network: Any) -> None:
    """Who passes a classifier must get it trained, not a copy of it."""
    model = make_network(seed=3)
    before = model.classifier[-1].weight.detach().clone()
    trainer = make_trainer(model=model)
    trainer.train()
    assert trainer.student.input_distiller is None
    assert trainer.student.classifier is model
    assert not torch.equal(model.classifier[-1].weight, before)


def test_second_call_of_train_goes_on(make_trainer: MakeTrainer, parameters: Parameters) -> None:
    """A second call must start from what the first one left: weights, bank and Z, critic and optimizer."""
    trainer = make_trainer(max_steps=3)
    trainer.train()
    first = parameters(trainer)
    seen: list[dict[str, Tensor]] = []
    step = trainer.training_step
    optimizer = trainer.optimizer

    def look(*args: Any, **kwargs: Any) -> Tensor:
        seen.append(parameters(trainer))
        return step(*args, **kwargs)

    trainer.training_step = look
    trainer.train()
    assert all(torch.equal(seen[0][name], value) for name, value in first.items())
    last = parameters(trainer)
    kept = {name for name in first if torch.equal(first[name], last[name])}
    moved = {"crd_bank.bank.student", "crd_bank.bank.teacher", "terms.adversarial.loss.critic.layers.0.weight", *HEADS}
    assert not kept & moved
    assert {"crd_bank.log_normalizer.student", "crd_bank.log_normalizer.teacher"} <= kept
    states = optimizer.state_dict()["state"].values()
    assert {int(state["step"]) for state in states} == {6}


def test_activation_checkpointing_changes_nothing(make_trainer: MakeTrainer) -> None:
    """The Trainer asks the trained module to recompute activations, and that module is not the student."""
    known = {field.name for field in dataclasses.fields(DistillationArguments)}
    name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    losses, recomputed = [], []
    for active in (False, True):
        torch.manual_seed(0)
        config = ViTConfig(
            image_size=16, patch_size=8, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
        )
        config.num_labels = 4
        trainer = make_trainer(model=ViTForImageClassification(config), **{name: active}, **LOGITS_ONLY)
        losses.append(trainer.train().training_loss)
        recomputed.append(getattr(trainer.student, f"is_{name}"))
    assert recomputed == [False, True]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
