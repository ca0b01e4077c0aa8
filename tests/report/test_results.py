"""What goes into results.json, and what stays on the machine."""

import json
from pathlib import Path
from typing import Any

import pytest

from exrep_hf.arguments import DataArguments, DistillationArguments, ModelArguments
from exrep_hf.report import public_name, public_settings, software_versions


def test_only_what_differs(tmp_path: Path) -> None:
    """A card full of defaults hides the settings that matter."""
    args = DistillationArguments(output_dir=str(tmp_path), kd_weight=2.0, max_steps=7, lr_scheduler_type="linear")
    assert public_settings(args) == {"kd_weight": 2.0, "max_steps": 7, "lr_scheduler_type": "linear"}
    assert public_settings(DataArguments(dataset="digits", scale=[0.5, 1.0])) == {
        "dataset": "digits",
        "scale": [0.5, 1.0],
    }


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"gradient_checkpointing": True, "activation_checkpointing": True},
        {"accelerator_config": {"even_batches": False}},
        {"debug": "underflow_overflow"},
        {"eval_strategy": "steps", "eval_steps": 5},
        {"load_best_model_at_end": True, "eval_strategy": "steps", "save_strategy": "steps", "use_cpu": True},
    ],
)
def test_defaults_are_those_of_arguments_that_are_made(given: dict[str, Any], tmp_path: Path) -> None:
    """The Trainer fills in some of what is left out: that was not given, in whatever release."""
    args, usual = DistillationArguments(str(tmp_path), **given), DistillationArguments("-").to_dict()
    changed = {name for name, value in args.to_dict().items() if value != usual[name]}
    assert public_settings(args).keys() == changed - {"output_dir"}


def test_no_paths_and_no_tokens(tmp_path: Path) -> None:
    """Settings are pushed to the Hub: a path there names the user, a token opens the account."""
    folder = tmp_path / "private_name" / "teacher"
    folder.mkdir(parents=True)
    args = DistillationArguments(
        output_dir=str(tmp_path / "out"),
        hub_token="hf_secret",
        run_name=str(tmp_path),
        resume_from_checkpoint=str(tmp_path),
        max_steps=3,
    )
    public = json.dumps([public_settings(args), public_settings(ModelArguments(teacher=str(folder)))])
    assert str(tmp_path) not in public
    assert "private_name" not in public
    assert "hf_secret" not in public
    assert public_settings(ModelArguments(teacher=str(folder))) == {"teacher": "teacher"}
    assert public_name("timm/resnet18.a1_in1k") == "timm/resnet18.a1_in1k"


@pytest.mark.parametrize("folder", ["/home/private_name/", "~/", "../private_name/", ""])
def test_no_folder_of_shards(folder: str) -> None:
    """A pattern is no file, but a place: the card named the folder, and was said to contradict its settings."""
    name = f"{folder}{{train,val}}-*.tar"
    assert public_name(name) == "{train,val}-*.tar"
    assert public_settings(DataArguments(dataset=name)) == {"dataset": "{train,val}-*.tar"}


def test_versions() -> None:
    """A result without versions can't be repeated."""
    versions = software_versions()
    assert {"python", "torch", "transformers", "timm", "accelerate", "datasets", "exrep_hf"} <= versions.keys()
