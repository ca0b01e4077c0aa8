"""Neither weights nor figures that aren't finite are published."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import save_file

from exrep_hf.finite import NonFiniteError
from exrep_hf.publishing import make_model_card
from exrep_hf.publishing.card_figures import model_index, write_eval_results
from exrep_hf.publishing.student import check_student, push_student, write_card
from tests.hub_server import Hub
from tests.processes import Processes
from tests.publishing.test_claims import FIGURES

NAN = {"accuracy": 0.9, "expected_calibration_error": math.nan}


@pytest.fixture
def folder(tmp_path: Path, results: dict[str, Any]) -> Path:
    """A student as a run leaves it."""
    student = tmp_path / "student"
    student.mkdir()
    (student / "results.json").write_text(json.dumps(results))
    make_model_card(results, "me/student").save(student / "README.md")
    for name in ("config.json", "preprocessor_config.json"):
        (student / name).write_text("{}")
    write_eval_results(student, "me/images", "test", FIGURES, 450)
    for path in (student, student / "with_distiller"):
        path.mkdir(exist_ok=True)
        save_file({"a": torch.ones(3), "b": torch.zeros(2, 2)}, path / "model.safetensors")
    return student


def spoil_weights(folder: Path) -> None:
    save_file({"a": torch.ones(3), "b": torch.tensor([1.0, math.nan])}, folder / "model.safetensors")


def spoil_distiller(folder: Path) -> None:
    save_file({"a": torch.tensor([math.inf])}, folder / "with_distiller" / "model.safetensors")


def spoil_results(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    results["published"]["accuracy"] = math.nan
    (folder / "results.json").write_text(json.dumps(results))


def spoil_card(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert "value: 0." in card
    (folder / "README.md").write_text(card.replace("value: 0.", "value: .nan #", 1))


def spoil_eval_results(folder: Path) -> None:
    path = folder / ".eval_results" / "images.yaml"
    path.write_text(path.read_text().replace("value: 0.9", "value: .inf", 1))


SPOILT: list[tuple[Callable[[Path], None], str]] = [
    (spoil_weights, r"student/model.safetensors' holds NaN .* 1 of 2 tensors \(b\)"),
    (spoil_distiller, r"with_distiller/model.safetensors' holds NaN"),
    (spoil_results, r"`results.json` holds .*`published.accuracy` = nan"),
    (spoil_card, r"The card holds .*`model-index\[0\].results\[0\].metrics\[0\].value` = nan"),
    (spoil_eval_results, r"`.eval_results/images.yaml` holds .*`\[0\].value` = inf"),
]


@pytest.mark.parametrize(("spoil", "told"), SPOILT)
def test_pushing(spoil: Callable[[Path], None], told: str, folder: Path, hub: Hub) -> None:
    """Neither is a repository made for it."""
    check_student(folder)
    spoil(folder)
    begun = len(hub.log)
    with pytest.raises(NonFiniteError, match=told):
        push_student(folder, "me/not-finite")
    assert len(hub.log) == begun


def test_the_command_line(folder: Path, hub: Hub, processes: Processes) -> None:
    """With `--write_card` a card would be written first."""
    spoil_weights(folder)
    card = (folder / "README.md").read_bytes()
    done = processes.call("recipes/publish.py", str(folder), "--repo_id", "me/not-finite-either", "--write_card")
    assert done.returncode != 0 and "holds NaN or infinite values in 1 of 2 tensors (b)" in done.stderr
    assert (folder / "README.md").read_bytes() == card
    assert not HfApi().repo_exists("me/not-finite-either")


def test_cards(folder: Path, results: dict[str, Any]) -> None:
    """`value: .nan` in a card's metadata compares with nothing."""
    with pytest.raises(NonFiniteError, match="The card holds .*`expected_calibration_error` = nan"):
        model_index("me/images", "test", NAN, 450, None)
    written = (folder / ".eval_results" / "images.yaml").read_bytes()
    with pytest.raises(NonFiniteError, match="`.eval_results` holds .*`expected_calibration_error` = nan"):
        write_eval_results(folder, "me/images", "test", NAN, 450)
    assert (folder / ".eval_results" / "images.yaml").read_bytes() == written
    arm = next(iter(results["arms"].values()))
    arm["accuracy"]["mean"] = math.nan
    with pytest.raises(NonFiniteError, match=r"The card holds .*accuracy.mean` = nan"):
        make_model_card(results, "me/student")
    card = (folder / "README.md").read_bytes()
    (folder / "results.json").write_text(json.dumps(results))
    with pytest.raises(NonFiniteError, match=r"The card holds .*accuracy.mean` = nan"):
        write_card(folder, "me/student")
    assert (folder / "README.md").read_bytes() == card
