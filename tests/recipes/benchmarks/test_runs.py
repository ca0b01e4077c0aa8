"""What a run of a study's table is, whatever machine computes it."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "recipes" / "benchmarks"


@pytest.mark.parametrize("machine", ["--torch_compile", "--images_on_device true", "--dataloader_num_workers 1"])
def test_what_the_machine_is_told_is_no_part_of_a_run(
    machine: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table is gone on with on any machine; what changes the run itself is told apart."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "runs", raising=False)
    from runs import Part, identity

    def of_the_method(*flags: str) -> dict[str, dict[str, object]]:
        recipe = BENCHMARKS.parent / "fashion_mnist.yaml"
        part = Part(recipe, str(recipe.with_suffix("") / "small"), 40, 2, ("--data_dir", str(images), *flags))
        return identity(part.arms(part.settings(tmp_path))[-1])

    assert of_the_method(*machine.split()) == of_the_method()
    assert of_the_method("--learning_rate", "0.5") != of_the_method()
