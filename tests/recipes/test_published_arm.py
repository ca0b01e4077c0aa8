"""The arm `exrep-paper` of the study beside the preset of its name."""

from pathlib import Path

from exrep_hf import DistillationArguments
from exrep_hf.arguments import DataArguments
from exrep_hf.arguments.preset import read_preset
from exrep_hf.cli import parse_settings
from exrep_hf.study.arms import make_arms

RECIPE = Path(__file__).parents[2] / "recipes" / "fashion_mnist.yaml"
# Shared by all arms, without effect there, or named in the recipe as what a CPU does not allow.
OF_THE_STUDY = {
    *("per_device_train_batch_size", "num_train_epochs", "warmup_steps", "image_size", "bf16", "tf32"),
    *("channels_last", "distiller"),
}


def test_the_arm_is_the_preset_but_for_what_is_said(tmp_path: Path) -> None:
    """What is compared under the paper's name has to be the paper's, as far as a study of few steps can be."""
    read = parse_settings(["--config", str(RECIPE), "--output_dir", str(tmp_path)], RECIPE)
    arms = make_arms(read.model, read.data, read.study, read.training)
    (arm,) = (arm for arm in arms if arm.name == "exrep-paper")
    preset = read_preset("exrep-paper")
    published = DistillationArguments.from_preset("exrep-paper", output_dir=str(tmp_path))
    wanted = preset.settings_of(DistillationArguments).keys() - OF_THE_STUDY
    given = {name: getattr(arm.args, name) for name in wanted}
    # The same share of the run, whatever its length.
    assert published.decay_epochs and published.num_train_epochs
    assert given.pop("decay_epochs") == published.decay_epochs / published.num_train_epochs == 0.012
    assert given == {name: getattr(published, name) for name in given}
    images = preset.settings_of(DataArguments)
    assert {name: getattr(arm.data_args, name) for name in images} == images
