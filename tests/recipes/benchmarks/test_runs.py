"""What a run of a study's table is, whatever machine computes it."""

import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[3] / "recipes" / "benchmarks"


def test_arms_from_different_students_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a column that two machines have computed would look like one; an image that rounding decides is none."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "runs", raising=False)
    from runs import check_starts

    def run(seed: int, top1: float) -> dict[str, Any]:
        return {"seed": seed, "before": {"accuracy": top1}}

    check_starts(Path("small"), {"kd": [run(42, 0.6821), run(43, 0.7)], "exrep": [run(42, 0.6822), run(44, 0.6)]})
    with pytest.raises(
        ValueError, match=r"seed 43 in 'small' began .*: kd from one of 70\.00 % top-1, exrep from .*69"
    ):
        check_starts(Path("small"), {"kd": [run(42, 0.6821), run(43, 0.7)], "exrep": [run(43, 0.6951)]})


@pytest.mark.parametrize("machine", ["--torch_compile", "--images_on_device true", "--dataloader_num_workers 1"])
def test_what_the_machine_is_told_is_no_part_of_a_run(
    machine: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table is gone on with on any machine; what changes the run itself is told apart."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "runs", raising=False)
    from runs import Part, identity

    def of_the_method(*flags: str) -> dict[str, dict[str, Any]]:
        recipe = BENCHMARKS.parent / "fashion_mnist.yaml"
        part = Part(recipe, str(recipe.with_suffix("") / "small"), 40, 2, ("--data_dir", str(images), *flags))
        return identity(part.arms(part.settings(tmp_path))[-1])

    assert of_the_method(*machine.split()) == of_the_method()
    assert of_the_method("--learning_rate", "0.5") != of_the_method()
