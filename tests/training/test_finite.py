"""Nothing that isn't finite is trained on to the end, saved, or taken up again."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TrainerCallback

from exrep_hf import OnlineTeacher
from exrep_hf.finite import NonFiniteError
from exrep_hf.training.checkpoints import last_whole_checkpoint, read_manifest, write_manifest
from tests.processes import Processes
from tests.settings import BEST_OF_EACH_STEP

MakeTrainer = Callable[..., Any]
MakeRows = Callable[..., Any]
EACH_STEP = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 1}
# Each of them would be a difference in the message, or a step that is named too late.
SELDOM = {"logging_steps": 4, "max_steps": 4}


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("checkpoint-*"))


def all_finite(folder: Path) -> bool:
    tensors = [tensor for path in folder.glob("*.safetensors") for tensor in load_file(path).values()]
    assert len(tensors) > 40
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def test_a_learning_rate_too_high(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """The run would go on to its end, and the ruined checkpoints take the place of the last one of use."""
    trainer = make_trainer(learning_rate=1e30, crd_weight=0.0, adversarial_weight=0.0, **EACH_STEP)
    told = (
        "ends at step 2: not finite since step 2: `loss_ce`, .*; nor were the student's logits. Lower `learning_rate`"
    )
    with pytest.raises(NonFiniteError, match=told):
        trainer.train()
    assert checkpoints(tmp_path / "out") == ["checkpoint-1"] and all_finite(tmp_path / "out" / "checkpoint-1")
    assert math.isnan(trainer.state.log_history[-1]["loss"]), "the log has to show what was there"


def test_one_image(make_trainer: MakeTrainer, make_rows: MakeRows, tmp_path: Path) -> None:
    rows = make_rows(40)
    rows.images[13, 1, 2, 3] = math.nan
    trainer = make_trainer(
        train_dataset=rows, max_steps=10, per_device_train_batch_size=2, gradient_accumulation_steps=2,
        train_sampling_strategy="sequential", freeze_batch_norm=False, **EACH_STEP,
    )  # fmt: skip
    told = r"since step 4: .*; nor were `pixel_values`, .*Look at the images of that step, `sample_index` 13, and"
    with pytest.raises(NonFiniteError, match=told):
        trainer.train()
    assert checkpoints(tmp_path / "out") == ["checkpoint-3"] and all_finite(tmp_path / "out" / "checkpoint-3")


@pytest.mark.parametrize("where", ["logits", "features"])
def test_a_teacher(where: str, make_trainer: MakeTrainer, make_network: Any, tmp_path: Path) -> None:
    """Half precision that is too narrow for a teacher is no fault of the learning rate."""
    network = make_network(seed=1, width=12)
    if where == "logits":
        network.classifier[-1].bias.data[2] = math.inf
        told = "since step 1: `loss_kd`, `loss`.*; nor were the teacher's logits. Look at the teacher"
    else:
        network.resnet.encoder.stages[-1].layers[-1].layer[-1].normalization.running_var.fill_(math.nan)
        told = (
            "since step 1: .*`loss_crd`.*; nor were the teacher's logits, the teacher's features. Look at the teacher"
        )
    trainer = make_trainer(teacher=OnlineTeacher(network), **EACH_STEP)
    with pytest.raises(NonFiniteError, match=told):
        trainer.train()
    assert checkpoints(tmp_path / "out") == []


def test_classes_that_a_teacher_rules_out(make_trainer: MakeTrainer, make_network: Any) -> None:
    """What isn't finite and harms nothing must not end a run: here no term looks at the teacher's logits."""
    network = make_network(seed=1, width=12)
    network.classifier[-1].bias.data[2] = -math.inf
    make_trainer(teacher=OnlineTeacher(network), kd_weight=0.0, max_steps=2).train()


def spoil(trainer: Any, loss: str, place: int | None) -> None:
    """Make a term infinite from the third batch of training on."""
    calls: list[int] = []

    def hook(module: Any, inputs: Any, output: Any) -> Any:
        calls.extend([0] * module.training)
        if len(calls) < 3:
            return output
        if place is None:
            return output + math.inf
        parts = enumerate(output.items())
        return {name: value + math.inf if number == place else value for number, (name, value) in parts}

    trainer.distillation_objective.terms[loss].register_forward_hook(hook)


@pytest.mark.parametrize(
    ("loss", "place", "term"),
    [("kd", None, "loss_kd"), ("crd", None, "loss_crd"), ("adversarial", 0, "loss_adversarial"),
     ("adversarial", 1, "loss_critic")],
)  # fmt: skip
def test_each_component(loss: str, place: int | None, term: str, make_trainer: MakeTrainer) -> None:
    """Of a mean over four steps nobody can tell in which of them it began, nor with what."""
    trainer = make_trainer(**SELDOM)
    spoil(trainer, loss, place)
    with pytest.raises(NonFiniteError, match=rf"ends at step 4: not finite since step 3: `{term}`, `loss`\."):
        trainer.train()


def test_labels(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    """The term with the labels alone, whose cause is neither image nor teacher nor student."""
    trainer = make_trainer(ce_weight=1e38, kd_weight=0.0, crd_weight=0.0, adversarial_weight=0.0, max_steps=3)
    trainer.distillation_objective.args.ce_weight = 1e39
    with pytest.raises(NonFiniteError, match="since step 1: `loss`.*the weight of that term"):
        trainer.train()


def test_gradients(make_trainer: MakeTrainer) -> None:
    """A loss can be finite while its gradient is not, as a root's is at 0."""
    trainer = make_trainer(**SELDOM)
    steps: list[int] = []

    def hook(gradient: Tensor) -> Tensor:
        steps.append(0)
        return gradient * (math.inf if len(steps) == 4 else 1)

    trainer.student.classifier.classifier[-1].weight.register_hook(hook)
    with pytest.raises(NonFiniteError, match=r"since step 4: the norm of the gradients\."):
        trainer.train()


class Overwrite(TrainerCallback):
    """Puts an infinite value into a tensor, as an update does that is too large, after a step."""

    def __init__(self, tensor: Callable[[], Tensor], step: int) -> None:
        self.tensor, self.step = tensor, step

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step - 1:
            with torch.no_grad():
                self.tensor().view(-1)[0] = math.inf


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("student.classifier.classifier.1.weight", "the weights are not finite"),
        ("terms.adversarial.loss.critic.layers.0.bias", "the weights are not finite"),
        ("student.classifier.resnet.embedder.embedder.normalization.running_var", "the weights are not finite"),
        ("crd_bank.bank.teacher", "beside the student is not finite"),
    ],
)
def test_what_is_saved(named: str, told: str, make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """The last update may ruin what no loss has seen: no step comes after it."""
    trainer = make_trainer(max_steps=3, logging_steps=10, **EACH_STEP)
    objective = trainer.distillation_objective
    trainer.add_callback(Overwrite(lambda: (objective.state_dict() | objective.auxiliary_state())[named], 3))
    with pytest.raises(NonFiniteError, match=rf"ends at step 3: .*{told} \({named}\)"):
        trainer.train()
    assert checkpoints(tmp_path / "out") == ["checkpoint-2"] and all_finite(tmp_path / "out" / "checkpoint-2")


def test_the_last_step_of_a_run_that_saves_nothing(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """`train` must not return as if there were a student, nor `save_model` write it over one."""
    earlier = make_trainer(max_steps=1)
    earlier.save_model()
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    trainer = make_trainer(max_steps=2, logging_steps=10)
    weight = trainer.student.classifier.classifier[-1].weight
    trainer.add_callback(Overwrite(lambda: weight, 2))
    with pytest.raises(NonFiniteError, match="ends at step 2: the weights are not finite"):
        trainer.train()
    with pytest.raises(NonFiniteError, match="not finite to be saved .*classifier.1.weight"):
        trainer.save_model()
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before


def test_a_scaler_leaves_steps_out(make_trainer: MakeTrainer) -> None:
    """Under float16 infinite gradients are how the scaler finds its scale."""
    trainer = make_trainer(max_steps=8, optim="sgd", crd_weight=0.0, adversarial_weight=0.0)
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    trainer.train()
    norms = [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]
    assert not all(map(math.isfinite, norms)) and len(norms) == 8


def test_the_best_is_never_a_ruined_one(make_trainer: MakeTrainer, make_rows: MakeRows, tmp_path: Path) -> None:
    """Of NaN logits the first class is the likeliest, which is right for a share of the images."""
    settings = BEST_OF_EACH_STEP | {"metric_for_best_model": "accuracy", "logging_steps": 10, "max_steps": 4}
    trainer = make_trainer(eval_dataset=make_rows(10), **settings)
    spoil(trainer, "kd", None)
    with pytest.raises(NonFiniteError, match="ends at step 3: not finite since step 3"):
        trainer.train()
    evaluated = [entry["step"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert evaluated == [1, 2] and checkpoints(tmp_path / "out") == ["checkpoint-1", "checkpoint-2"]


def test_an_evaluation_without_figures(make_trainer: MakeTrainer, make_rows: MakeRows, caplog: Any) -> None:
    """Images that a student can't answer in evaluation are no fault of its training; but by them none is the best."""
    rows = make_rows(10)
    rows.images[7] = math.nan
    settings = BEST_OF_EACH_STEP | {"metric_for_best_model": "accuracy", "max_steps": 2}
    trainer = make_trainer(eval_dataset=rows, **settings)
    trainer.train()
    assert trainer.state.best_global_step is None
    assert "Not finite: eval_loss, eval_accuracy, eval_top5_accuracy" in caplog.text
    assert "logits of 1 of 10 images are NaN or infinite, row 7 first" in caplog.text


def poison(path: Path, named: str) -> None:
    run = read_manifest(path.parent)
    tensors = load_file(path)
    tensors[named].view(-1)[1] = math.nan
    save_file(tensors, path, {"format": "pt"})
    # As whole as before: the manifest says how it lies there.
    write_manifest(path.parent, run)


@pytest.mark.parametrize(
    ("file", "named"),
    [("model", "classifier.classifier.1.weight"), ("distillation_state", "crd_bank.bank.student")],
)
def test_resuming(file: str, named: str, make_trainer: MakeTrainer, tmp_path: Path, caplog: Any) -> None:
    """Each step from there on would be NaN."""
    out = tmp_path / "out"
    make_trainer(max_steps=2, save_strategy="steps", save_steps=1).train()
    poison(out / "checkpoint-2" / f"{file}.safetensors", named)
    resumed = make_trainer(max_steps=3)
    with pytest.raises(NonFiniteError, match=rf"checkpoint-2/{file}.safetensors' holds NaN .* 1 of \d+ .*{named}"):
        resumed.train(resume_from_checkpoint=str(out / "checkpoint-2"))
    assert last_whole_checkpoint(out) == str(out / "checkpoint-1")
    assert f"Passed over: '{out}/checkpoint-2/{file}.safetensors' holds NaN" in caplog.text
    resumed.train(resume_from_checkpoint=True)
    assert [entry["step"] for entry in resumed.state.log_history if "loss" in entry] == [1, 2, 3]
    shutil.rmtree(out / "checkpoint-1")
    with pytest.raises(ValueError, match="holds no whole checkpoint"):
        make_trainer(max_steps=3).train(resume_from_checkpoint=True)


def test_a_student_that_is_ruined_already(make_trainer: MakeTrainer, make_network: Any) -> None:
    network = make_network(seed=3)
    network.classifier[-1].bias.data[0] = math.nan
    trainer = make_trainer(model=network)
    with pytest.raises(
        NonFiniteError, match=r"not finite before the first step \(student.classifier.classifier.1.bias"
    ):
        trainer.train()
    assert trainer.state.global_step == 0


class Waits(TorchDispatchMode):
    """Counts how often a value is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.name() in ("aten::_local_scalar_dense", "aten::equal", "aten::nonzero")
        return func(*args, **(kwargs or {}))


class CountWaits(TrainerCallback):
    """Notes the count after each step."""

    def __init__(self, waits: Waits) -> None:
        self.waits, self.counts = waits, [0]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.counts.append(self.waits.count)


def test_steps_between_logs_wait_for_nothing(
    make_trainer: MakeTrainer, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One value that is asked for in each step leaves an accelerator idle."""

    def waits() -> list[int]:
        counted = Waits()
        counts = CountWaits(counted)
        trainer = make_trainer(
            train_dataset=make_rows(40), callbacks=[counts], logging_steps=6, max_steps=6, optim="sgd"
        )
        with counted:
            trainer.train()
        return [after - before for before, after in zip(counts.counts, counts.counts[1:], strict=False)][1:5]

    found = waits()
    for name in ("note_images", "note_terms"):
        monkeypatch.setattr(f"exrep_hf.training.finite.FiniteTrainer.{name}", lambda *args: None)
    monkeypatch.setattr("exrep_hf.training.finite.FiniteWatch.note", lambda *args: None)
    assert found == waits(), "what is looked at here is not what the Trainer itself waits for"


@pytest.mark.parametrize("ruined", ["image", "loss"])
def test_two_processes_end_together(ruined: str, processes: Processes, tmp_path: Path) -> None:
    """A process that ends alone leaves the others waiting for half an hour, with nothing said."""
    started = processes.start("tests.training.nonfinite_run", 2, str(tmp_path), ruined)
    for process in started:
        process.join(180)
    assert [process.exitcode for process in started] == [1, 1]
    first, second = ((tmp_path / f"told-{rank}").read_text() for rank in range(2))
    assert first == second
    ends, since = (4, 3) if ruined == "image" else (2, 2)
    assert f"ends at step {ends}: not finite since step {since} (process 1 of 2): " in first
    assert ("`sample_index` 21, and" in first) == (ruined == "image")
    assert checkpoints(tmp_path / "out") == ["checkpoint-2"][: 1 if ruined == "image" else 0]
