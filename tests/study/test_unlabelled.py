"""Studies and stored answers of images without labels."""

from pathlib import Path
from typing import Any

import pytest

from exrep_hf.cli import parse_caching_settings
from exrep_hf.data import load_digits
from exrep_hf.data.partition import load_partition
from exrep_hf.models import ExRepForImageClassification
from exrep_hf.publishing.claimed_images import own_images
from exrep_hf.study.caching import cache_teacher
from exrep_hf.study.stages import load_teacher, save_network
from tests.studies import DIGITS, run_study

COMMON = ["--config", str(DIGITS), "--use_cpu", "true", "--disable_tqdm", "true", "--private_fraction", "0"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained network for the digits, in a folder."""
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    settings = parse_caching_settings([*COMMON, "--output_dir", "-"])
    network = load_teacher(settings.model, load_partition(settings.data), None)
    assert network is not None
    save_network(network, folder)
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training images that lie in one folder, and test images in class folders."""
    root = tmp_path_factory.mktemp("images")
    splits = load_digits()
    (root / "train").mkdir()
    for row, image in enumerate(splits["train"].select(range(24))["image"]):
        image.save(root / "train" / f"{row:02}.png")
    for row, each in enumerate(splits["test"].select(range(30))):
        (root / "test" / str(each["label"])).mkdir(parents=True, exist_ok=True)
        each["image"].save(root / "test" / str(each["label"]) / f"{row}.png")
    return root


def test_a_study_without_training_labels(folder: Path, teacher: str, tmp_path: Path, capsys: Any) -> None:
    """The method runs and is judged by the test images; what needs labels is left out by name, or refused."""
    settings: dict[str, Any] = {"dataset": str(folder), "private_fraction": 0.0, "num_seeds": 1, "controls": None}
    settings |= {"per_device_train_batch_size": 8, "dataloader_drop_last": False}
    settings |= {"teacher": teacher, "teacher_steps": 0, "teacher_from_scratch": False, "student_steps": 0}
    with pytest.raises(ValueError, match="`student_steps` is 2, and none of the 24 training images .* has a label"):
        run_study(tmp_path / "steps", **settings | {"student_steps": 2})
    with pytest.raises(ValueError, match="`student_from_scratch` is set but `student_steps` is 0"):
        run_study(tmp_path / "labelled", **settings | {"dataset": "digits"})
    with pytest.raises(ValueError, match="The arm `exrep` can't be run .*24 of 24 labels .*`ce_weight=0`"):
        run_study(tmp_path / "ce", **settings | {"ce_weight": 1.0, "controls": {}})
    capsys.readouterr()
    results = run_study(tmp_path / "out", **settings)
    told = capsys.readouterr().out
    assert "24 training images (24 without a label), 30 test images" in told
    for name in ("ce", "kd"):
        assert f"the control {name} is left out: 24 of 24 labels in the column 'label'" in told
    assert list(results["arms"]) == ["exrep"] and results["controls_left_out"].keys() == {"ce", "kd"}
    assert results["dataset"]["num_public"] == 24 and results["dataset"]["num_labels"] == 10
    assert 0 <= results["published"]["accuracy"] <= 1 and results["teacher"]["accuracy"] is not None
    card = (tmp_path / "out" / "README.md").read_text()
    assert "24" in card and str(tmp_path) not in card


def test_answers_about_images_that_nothing_is_known_of(folder: Path, teacher: str, tmp_path: Path) -> None:
    """They are stored without a label anywhere, and a study with labelled test images trains on them."""
    of_teacher = ["--teacher", teacher, "--teacher_steps", "0", "--teacher_from_scratch", "false"]
    flags = [*COMMON, *of_teacher, "--views", "2", "--dataset", str(folder / "train")]
    cached = cache_teacher(parse_caching_settings([*flags, "--output_dir", str(tmp_path / "answers")]))
    summary = cached.manifest.summary
    assert (cached.num_samples, summary["labelled"], summary["top1"], summary["evaluation"]) == (24, 0, None, None)
    settings: dict[str, Any] = {"dataset": str(folder), "private_fraction": 0.0, "num_seeds": 1, "controls": {}}
    settings |= {"per_device_train_batch_size": 8, "dataloader_drop_last": False}
    settings |= {"teacher": None, "teacher_steps": 0, "teacher_from_scratch": False, "student_steps": 0}
    results = run_study(tmp_path / "out", teacher_cache=str(tmp_path / "answers"), **settings)
    assert results["teacher"]["accuracy"] is None
    assert results["arms"]["exrep"]["runs"][0]["gap_recovered"] is None


def test_extra_images(folder: Path, teacher: str, tmp_path: Path, capsys: Any) -> None:
    """The method trains on them and a control does not; they are counted, and no path of them is published."""
    settings: dict[str, Any] = {"private_fraction": 0.97, "num_seeds": 1, "student_steps": 1, "max_steps": 2}
    settings |= {"teacher": teacher, "teacher_steps": 0, "teacher_from_scratch": False, "crd_weight": 0.0}
    settings |= {"controls": {"without": {"extra_share": 0.0}}, "extra_images": str(folder / "train")}
    with pytest.raises(ValueError, match="`extra_share` is 1.0; expected a share"):
        run_study(tmp_path / "all", **settings | {"extra_share": 1.0})
    with pytest.raises(ValueError, match="No data set found at '/nowhere'"):
        run_study(tmp_path / "none", **settings | {"extra_images": "/nowhere"})
    capsys.readouterr()
    results = run_study(tmp_path / "out", **settings, per_device_train_batch_size=8)
    assert results["dataset"]["num_extra"] == 24 and results["dataset"]["num_public"] == 40
    assert "40 public training images and 24 of none of the classes" in (tmp_path / "out" / "README.md").read_text()
    assert "private training images, 24 images of none of the classes, 1 seed" in capsys.readouterr().out
    assert list(results["arms"]) == ["without", "exrep"]
    losses = [results["arms"][name]["runs"][0]["history"][0]["loss_kd"] for name in results["arms"]]
    assert losses[0] != losses[1]
    written = (tmp_path / "out" / "results.json").read_text() + (tmp_path / "out" / "README.md").read_text()
    assert str(folder.parent) not in written
    flags = [*COMMON, "--teacher", teacher, "--teacher_steps", "0", "--teacher_from_scratch", "false"]
    flags += ["--extra_images", str(folder / "train"), "--output_dir", str(tmp_path / "answers")]
    with pytest.raises(ValueError, match="`extra_images` is .*; answers are stored for the training images alone"):
        cache_teacher(parse_caching_settings(flags))


def test_two_data_sets(folder: Path, teacher: str, tmp_path: Path) -> None:
    """Images of a second one, here without labels, are trained on; results and card name it, without its place."""
    settings: dict[str, Any] = {"private_fraction": 0.0, "num_public": 1371, "num_seeds": 1, "student_steps": 1}
    settings |= {"teacher": teacher, "teacher_steps": 0, "teacher_from_scratch": False, "crd_weight": 0.0}
    dataset = ["digits", str(folder / "train")]
    results = run_study(tmp_path / "out", **settings, dataset=dataset, max_steps=2, controls={})
    assert (results["dataset"]["num_public"], results["dataset"]["other_names"]) == (1347 + 24, ["train"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert "digits, trained on images of train too, 1371 training images" in card and str(folder) not in card
    network = ExRepForImageClassification.from_pretrained(tmp_path / "out").classifier
    judged = own_images(results, network, None, None)
    assert len(judged) == results["dataset"]["num_evaluated"]
