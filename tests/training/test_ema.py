"""The average of the student's weights: what it is, who gets it, and that training does not notice it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForImageClassification, TrainerCallback

from exrep_hf import DistillationTrainer
from tests.settings import BEST_OF_EACH_STEP

MakeTrainer = Callable[..., DistillationTrainer]
State = dict[str, Tensor]
SAVING = {"save_strategy": "steps", "save_steps": 1}
# The warm-up reaches it at the fourth step.
EMA: dict[str, Any] = {"ema_decay": 0.6, "freeze_batch_norm": False, "max_steps": 6}


class Watch(TrainerCallback):
    """Keeps the student as it is trained, after each step, and the average that a plain loop makes of it."""

    def __init__(self, decay: float = 0.6) -> None:
        self.decay, self.trained, self.averages, self.starts = decay, list[State](), list[State](), list[State]()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.starts.append(copied(kwargs["model"].student))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.note(copied(kwargs["model"].student))

    def note(self, now: State) -> None:
        self.trained.append(now)
        step = len(self.trained)
        if step == 1:
            self.averages.append(now)
            return
        decay = min(self.decay, 1 - step ** (-2 / 3))
        last = self.averages[-1]
        self.averages.append(
            {
                name: decay * last[name] + (1 - decay) * value if value.is_floating_point() else value
                for name, value in now.items()
            }
        )


def copied(student: torch.nn.Module) -> State:
    return {name: value.clone() for name, value in student.state_dict().items()}


def assert_close(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6, msg=name)


def equal(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def history(trainer: DistillationTrainer) -> list[dict[str, float]]:
    timed = ("runtime", "per_second", "total_flos", "preparation_time")
    return [
        {name: entry[name] for name in entry if not name.endswith(timed)}
        for entry in trainer.state.log_history
        if "train_runtime" not in entry
    ]


def test_it_is_the_average_of_its_definition(make_trainer: MakeTrainer, make_rows: Any, capsys: Any) -> None:
    """Timm's rule, BatchNorm statistics too; and the steps are those of a run without it, to the bit."""
    watch, plain_watch = Watch(), Watch()
    data = {"train_dataset": make_rows(24), "gradient_accumulation_steps": 2}
    given = {"eval_dataset": make_rows(8), "eval_strategy": "steps", "eval_steps": 2}
    torch.manual_seed(11)
    trainer = make_trainer(**EMA | data | given, callbacks=[watch])
    trainer.train()
    drawn = torch.rand(3)
    torch.manual_seed(11)
    plain = make_trainer(**EMA | data | given | {"ema_decay": None}, callbacks=[plain_watch])
    plain.train()
    assert torch.equal(drawn, torch.rand(3))
    assert len(watch.trained) == 6
    assert all(map(equal, watch.trained, plain_watch.trained))
    assert_close(copied(trainer.student), watch.averages[-1])
    assert not equal(copied(trainer.student), watch.trained[-1])
    statistics = [name for name in watch.averages[-1] if name.endswith(("running_mean", "running_var"))]
    assert statistics and not any(
        torch.equal(watch.averages[-1][name], watch.trained[-1][name]) for name in statistics
    )
    assert "its decay reaches 0.6 in 6 steps (`ema_decay` 0.6 is the most)" in capsys.readouterr().out
    losses = [[entry for entry in history(each) if "loss" in entry] for each in (trainer, plain)]
    assert losses[0] == losses[1] and len(losses[0]) == 6


def test_what_is_told_of_a_run_that_is_shorter_than_its_decay(make_trainer: MakeTrainer, capsys: Any) -> None:
    make_trainer(max_steps=1, ema_decay=0.9998).train()
    assert "its decay reaches 0 in 1 steps" in capsys.readouterr().out
    watch = Watch(0.9998)
    trainer = make_trainer(max_steps=5, ema_decay=0.9998, callbacks=[watch])
    trainer.train()
    # Without a warm-up it would be the student of the first step still.
    assert f"its decay reaches {1 - 5 ** (-2 / 3):.4g} in 5 steps" in capsys.readouterr().out
    assert_close(copied(trainer.student), watch.averages[-1])


def test_it_is_evaluated_chosen_and_saved(make_trainer: MakeTrainer, make_rows: Any, tmp_path: Path) -> None:
    """Figures of one student under the weights of another can't be measured again."""
    watch = Watch()
    settings = BEST_OF_EACH_STEP | EMA | {"eval_dataset": make_rows(10), "metric_for_best_model": "loss_ce"}
    trainer = make_trainer(**settings, callbacks=[watch])
    trainer.train()
    measured = [entry["eval_loss_ce"] for entry in history(trainer) if "eval_loss_ce" in entry]
    other = make_trainer(**EMA | {"eval_dataset": make_rows(10), "crd_weight": 0.0})
    for step, (trained, average) in enumerate(zip(watch.trained, watch.averages, strict=True), 1):
        checkpoint = tmp_path / "out" / f"checkpoint-{step}"
        assert_close(load_file(checkpoint / "model.safetensors"), average)
        assert equal(load_file(checkpoint / "trained_weights.safetensors"), trained)
        assert json.loads((checkpoint / "weight_average.json").read_text()) == {"steps": step}
        other.student.load_state_dict(load_file(checkpoint / "model.safetensors"))
        assert other.evaluate()["eval_loss_ce"] == pytest.approx(measured[step - 1], rel=1e-6)
    # safetensors writes files that nobody else may read, as no other library does.
    assert len({path.stat().st_mode for path in checkpoint.iterdir() if path.is_file()}) == 1
    best = max(range(6), key=measured.__getitem__)
    assert trainer.state.best_global_step == best + 1 < 6
    chosen = load_file(tmp_path / "out" / f"checkpoint-{best + 1}" / "model.safetensors")
    assert equal(copied(trainer.student), chosen)
    trainer.save_model(str(tmp_path / "saved"))
    trainer.student.save_pretrained(tmp_path / "pretrained")
    for folder in ("saved", "pretrained"):
        assert equal(load_file(tmp_path / folder / "model.safetensors"), chosen)
    assert trainer.evaluate()["eval_loss_ce"] == pytest.approx(measured[best], rel=1e-6)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_what_is_saved_within_training_is_the_average(
    share: float, make_trainer: MakeTrainer, make_rows: Any, tmp_path: Path
) -> None:
    """By callbacks that come before the Trainer's own evaluation; and what is trained stays as it is."""
    watch, kept = Watch(), []

    class Saving(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            trainer.save_model(str(tmp_path / "saved"))
            kept.append((trainer.evaluate()["eval_loss_ce"], copied(trainer.student)))

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            kept.append((0.0, copied(kwargs["model"].student)))

    changes = EMA | {"max_steps": 3, "distiller_share": share, "eval_dataset": make_rows(8)}
    trainer = make_trainer(**changes, callbacks=[watch, Saving()])
    trainer.train()
    assert all(equal(each, trained) for (_, each), trained in zip(kept[:3], watch.trained, strict=True))
    assert_close(kept[3][1], watch.averages[-1])
    assert trainer.evaluate()["eval_loss_ce"] == kept[2][0]
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    if share == 1:
        assert_close(saved, watch.averages[-1])
    else:
        assert not any("distiller" in name for name in saved)
        plain: Any = AutoModelForImageClassification.from_pretrained(tmp_path / "saved")
        images = torch.stack([make_rows(8)[row]["pixel_values"] for row in range(8)])
        with torch.no_grad():
            expected = trainer.student.without_distiller().eval()(images).logits
            torch.testing.assert_close(plain.eval()(images).logits, expected)


def test_a_resumed_run_goes_on_to_the_bit(make_trainer: MakeTrainer, make_rows: Any, tmp_path: Path) -> None:
    settings = EMA | SAVING | {"eval_dataset": make_rows(8), "eval_strategy": "steps", "eval_steps": 1}
    whole = make_trainer(**settings)
    whole.train()
    files, checkpoints = ("model.safetensors", "trained_weights.safetensors"), tmp_path / "out"
    last = [load_file(checkpoints / "checkpoint-6" / name) for name in files]
    # The first is one whose average is no average yet, the last one at which nothing is left to do.
    for step in (1, 3, 6):
        resumed = make_trainer(**settings)
        resumed.train(resume_from_checkpoint=str(checkpoints / f"checkpoint-{step}"))
        assert history(resumed) == history(whole)
        assert equal(copied(resumed.student), copied(whole.student))
        for name, state in zip(files, last, strict=True):
            assert equal(load_file(checkpoints / "checkpoint-6" / name), state)


@pytest.mark.parametrize(
    ("begun", "resumed", "said"),
    [
        (0.6, 0.9, "`ema_decay`: 0.6 in the checkpoint, 0.9 now"),
        (0.6, None, "`ema_decay`: 0.6 in the checkpoint, None now"),
        (None, 0.6, "`ema_decay`: None in the checkpoint, 0.6 now"),
    ],
)
def test_a_run_keeps_its_decay(
    begun: float | None, resumed: float | None, said: str, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    make_trainer(max_steps=1, ema_decay=begun, **SAVING).train()
    with pytest.raises(ValueError, match=said):
        make_trainer(max_steps=2, ema_decay=resumed).train(resume_from_checkpoint=True)


def test_checkpoints_that_hold_no_trained_weights_are_refused(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(max_steps=1, ema_decay=0.6, save_only_model=True, **SAVING).train()
    files = {path.name for path in (tmp_path / "out" / "checkpoint-1").iterdir()}
    assert "model.safetensors" in files and "trained_weights.safetensors" not in files
    with pytest.raises(ValueError, match="has no 'trained_weights.safetensors'; expected"):
        make_trainer(max_steps=2, ema_decay=0.6).train(resume_from_checkpoint=True)


@pytest.mark.parametrize("optimizer", ["adamw_torch", "adamw_torch_fused"])
def test_a_step_that_a_scaler_leaves_out_is_none(optimizer: str, make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """The weights are what they were; a step that counted would let them weigh twice."""
    watch, seen = Watch(), list[Tensor]()

    class Noting(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            weights = torch.cat([each.detach().flatten() for each in trainer.student.parameters()])
            # The first step is left out.
            moved = bool(seen) and not torch.equal(seen[-1], weights)
            seen.append(weights)
            if moved:
                watch.note(copied(trainer.student))

    trainer = make_trainer(**EMA | SAVING, optim=optimizer, callbacks=[Noting()])
    # As of float16 on a GPU: gradients overflow in the first two steps, and again after two that did not.
    trainer.accelerator.scaler = torch.amp.GradScaler(
        "cpu", init_scale=2.0**127, backoff_factor=2.0**-60, growth_factor=2.0**60, growth_interval=2
    )
    trainer.train()
    assert len(seen) == 6 and len(watch.trained) == 3
    assert_close(copied(trainer.student), watch.averages[-1])
    assert json.loads((tmp_path / "out" / "checkpoint-6" / "weight_average.json").read_text()) == {"steps": 3}


@pytest.mark.slow
def test_compiled(make_trainer: MakeTrainer, make_rows: Any) -> None:
    """Code that was compiled keeps the tensors that it was compiled for."""
    watch, figures = Watch(), []
    for changes in ({}, {"torch_compile": True, "torch_compile_backend": "aot_eager", "callbacks": [watch]}):
        given = {"eval_dataset": make_rows(4), "eval_strategy": "steps", "eval_steps": 2}
        trainer = make_trainer(**EMA | given | {"crd_weight": 0.0, "max_steps": 4}, **changes)
        trainer.train()
        figures.append([entry["eval_loss"] for entry in history(trainer) if "eval_loss" in entry])
    assert_close(copied(trainer.student), watch.averages[-1])
    assert figures[1] == pytest.approx(figures[0], rel=1e-4) and len(figures[0]) == 2


def test_before_training_and_training_again(make_trainer: MakeTrainer, make_rows: Any) -> None:
    """Before there is an average the student is what it is; a second training begins at what the first one gave."""
    watch = Watch()
    trainer = make_trainer(**EMA | {"eval_dataset": make_rows(8)}, callbacks=[watch])
    start, first = copied(trainer.student), trainer.evaluate()
    assert equal(copied(trainer.student), start)
    plain = make_trainer(**EMA | {"eval_dataset": make_rows(8), "ema_decay": None})
    assert plain.evaluate()["eval_loss"] == first["eval_loss"]
    trainer.train()
    given = copied(trainer.student)
    steps = Watch()
    trainer.add_callback(steps)
    trainer.train()
    assert equal(watch.starts[0], start) and equal(watch.starts[1], given)
    assert_close(copied(trainer.student), steps.averages[-1])


def test_an_interrupted_training_leaves_the_average(make_trainer: MakeTrainer) -> None:
    """Somebody who stops a notebook's cell saves what is best so far."""
    watch = Watch()

    class Stopping(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 4:
                raise KeyboardInterrupt

    trainer = make_trainer(**EMA, callbacks=[watch, Stopping()])
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert_close(copied(trainer.student), watch.averages[3])


def test_a_save_that_fails_gives_the_trained_weights_back(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(**EMA | {"max_steps": 2})

    class Failing(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            before = copied(trainer.student)
            with trainer.averaged():
                assert equal(copied(trainer.student), before) == (state.global_step == 1)
                with trainer.averaged():
                    pass
                assert equal(copied(trainer.student), before) == (state.global_step == 1)
            with pytest.raises(ZeroDivisionError), trainer.averaged():
                raise ZeroDivisionError
            assert equal(copied(trainer.student), before)

    trainer.add_callback(Failing())
    trainer.train()


def test_a_batch_that_is_found_begins_a_new_average(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of the attempt that failed are no part of it."""
    original = DistillationTrainer.training_step

    def training_step(self: Any, model: Any, inputs: Any, *args: Any) -> Any:
        loss = original(self, model, inputs, *args)
        if len(inputs["pixel_values"]) > 4 and self.state.global_step >= 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return loss

    plain = make_trainer(**EMA)
    plain.train()
    monkeypatch.setattr(DistillationTrainer, "training_step", training_step)
    found = make_trainer(**EMA, per_device_train_batch_size=8, auto_find_batch_size=True)
    found.train()
    assert equal(copied(found.student), copied(plain.student))


def test_the_card_says_so(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(max_steps=1, ema_decay=0.999)
    trainer.train()
    trainer.create_model_card()
    text = (tmp_path / "out" / "README.md").read_text()
    assert "; these weights are an exponential moving average, of a decay of at most 0.999.\n" in text
    assert '"ema_decay": 0.999' in text
