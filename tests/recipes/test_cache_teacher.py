"""A teacher's answers, stored and used by the README's command lines."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from exrep_hf.cli import parse_caching_settings
from exrep_hf.data.partition import load_partition
from exrep_hf.study.caching import cache_teacher
from exrep_hf.study.stages import load_teacher, save_network
from tests.hub_server import Hub
from tests.processes import Processes
from tests.studies import run_study

ROOT = Path(__file__).parents[2]
DIGITS = ["--config", "recipes/digits.yaml", "--use_cpu", "true", "--max_eval_samples", "40", "--disable_tqdm", "true"]
STORED = [*DIGITS, "--teacher_steps", "0", "--teacher_from_scratch", "false"]


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An untrained network for the digits, in a folder."""
    monkeypatch.chdir(ROOT)
    settings = parse_caching_settings([*DIGITS, "--output_dir", "-"])
    network = load_teacher(settings.model, load_partition(settings.data), None)
    assert network is not None
    save_network(network, tmp_path / "teacher")
    return str(tmp_path / "teacher")


def launch_two(script: str, *flags: str) -> str:
    """Run a script on two processes as the README does, at a port of their own."""
    several = "--config_file recipes/accelerate/ddp.yaml --num_processes 2 --main_process_port 0".split()
    launcher = [str(Path(sys.executable).with_name("accelerate")), "launch", *several]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*launcher, script, *flags], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def test_store_push_and_train(teacher: str, tmp_path: Path, hub: Hub, processes: Processes) -> None:
    """Two processes store and push; another machine trains from the Hub alone, all arms, and knows its teacher."""
    answers, out = str(tmp_path / "answers"), tmp_path / "out"
    flags = [*STORED, "--teacher", teacher, "--views", "2", "--rows_per_shard", "16", "--output_dir", answers]
    told = launch_two("recipes/cache_teacher.py", *flags, "--push_to_hub", "me/digits-answers", "--expect_top1", "1")
    assert "2 views of each of 94 images of digits" in told
    assert "asking the teacher (process 0)" in told and "asking the teacher (process 1)" in told
    assert "188 answers" in told and "pushed to the data set me/digits-answers, commit" in told
    manifest = json.loads((tmp_path / "answers" / "manifest.json").read_text())
    assert manifest["teacher"]["name"] == "teacher" and len(manifest["shards"]) == 12
    assert manifest["summary"]["labelled"] == 188
    # As another machine: without the teacher.
    (tmp_path / "teacher").rename(tmp_path / "gone")
    steps = ["--student_steps", "2", "--max_steps", "3", "--num_seeds", "1", "--logging_steps", "1"]
    flags = [*DIGITS, *steps, "--teacher_cache", "me/digits-answers", "--output_dir", str(out)]
    done = processes.call("recipes/train.py", *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    told = done.stdout
    assert "teacher by its answers in me/digits-answers" in told and "gap recovered" in told
    results = json.loads((out / "results.json").read_text())
    assert results["teacher"]["accuracy"] == manifest["summary"]["evaluation"]["metrics"]["accuracy"]
    assert results["teacher"]["name"] == "teacher" and list(results["arms"]) == ["ce", "kd", "exrep"]
    assert str(tmp_path) not in (out / "results.json").read_text()


def store(teacher: str, folder: Path, *flags: str) -> None:
    given = [*STORED, "--teacher", teacher, "--max_train_samples", "40", "--private_fraction", "0"]
    cache_teacher(parse_caching_settings([*given, "--output_dir", str(folder), *flags]))


def test_what_is_refused_early(teacher: str, tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(
        ValueError, match="`teacher_steps` is 200; expected a teacher that has been trained.*OUT/teacher"
    ):
        store(teacher, tmp_path / "a", "--teacher_steps", "200")
    with pytest.raises(
        ValueError, match="`views` is 3 with `no_aug` and without mixing: all views of an image are the"
    ):
        store(teacher, tmp_path / "a", "--views", "3", "--no_aug", "--mixup", "0", "--cutmix", "0")
    with pytest.raises(ValueError, match="`teacher_cache` is 'x'; expected a teacher to ask"):
        store(teacher, tmp_path / "a", "--teacher_cache", "x")
    with pytest.raises(ValueError, match="`expect_top1` is 83.0; expected a share"):
        store(teacher, tmp_path / "a", "--expect_top1", "83")
    with pytest.raises(ValueError, match="Nothing can be pushed to the dataset 'other/answers'"):
        store(teacher, tmp_path / "a", "--push_to_hub", "other/answers")
    with pytest.raises(ValueError, match="`output_dir` is not given"):
        parse_caching_settings(STORED)
    assert not (tmp_path / "a").exists()


def test_the_teachers_card_is_asked(teacher: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its licence goes into the manifest; what the images' is, only the user can say."""
    Path(teacher, "README.md").write_text("---\nlicense: mit\n---\n# teacher\n")
    store(teacher, tmp_path / "a", "--no_aug", "--dataset_license", "cc0-1.0", "--top_k", "3", "--dtype", "bfloat16")
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert manifest["teacher"]["license"] == "mit" and manifest["dataset"]["license"] == "cc0-1.0"
    assert manifest["views"]["augmentation"] is None and manifest["storage"]["top_k"] == 3
    told = capsys.readouterr().out
    assert (
        "40 answers" in told
        and "the teacher's top-1 on these views" in told
        and "images, a part of test that training did not see" in told
    )


def test_another_teacher_is_refused_in_training(teacher: str, tmp_path: Path) -> None:
    from exrep_hf.arguments import ModelArguments
    from exrep_hf.study.stored_teacher import open_caches

    store(teacher, tmp_path / "a", "--no_aug")
    cache = str(tmp_path / "a")
    with pytest.raises(ValueError, match="another teacher: `teacher` 'teacher' stored, 'timm/resnet50' now"):
        open_caches(ModelArguments(teacher="timm/resnet50", teacher_cache=cache))
    with pytest.raises(ValueError, match="`teacher_revision` None stored, 'v2' now"):
        open_caches(ModelArguments(teacher=teacher, teacher_revision="v2", teacher_cache=cache))
    assert open_caches(ModelArguments(teacher=teacher, teacher_cache=cache))
    assert open_caches(ModelArguments(teacher=teacher)) == []


def test_what_a_config_says_of_training_s_output_is_left_out(tmp_path: Path) -> None:
    """The same file serves both; answers must not land in the folder of the students."""
    config = tmp_path / "mine.yaml"
    config.write_text(
        yaml.safe_dump({"dataset": "digits", "teacher": "t", "output_dir": "students", "push_to_hub": False})
    )
    settings = parse_caching_settings(["--config", str(config), "--output_dir", "answers"])
    assert settings.caching.output_dir == "answers" and settings.caching.push_to_hub is None


def test_seeds_with_other_images_are_refused_before_the_first(teacher: str, tmp_path: Path) -> None:
    """Each seed draws its own public images, and answers are stored for one draw."""
    from exrep_hf.cli import parse_settings
    from exrep_hf.study import Study

    folder = tmp_path / "a"
    cache_teacher(parse_caching_settings([*STORED, "--teacher", teacher, "--output_dir", str(folder)]))
    flags = [*DIGITS, "--teacher_cache", str(folder), "--num_seeds", "2", "--output_dir", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="The arm `exrep` can't be run with seed 43. The teacher's answers are"):
        Study(parse_settings(flags, ROOT / "recipes" / "digits.yaml")).run()
    assert not list((tmp_path / "out").glob("arms/*"))


def test_answers_of_a_fitted_head(teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head is fitted on images as they are, its answers are stored for mixed ones, and a study takes them as own."""
    settings = yaml.safe_load((ROOT / "recipes" / "digits.yaml").read_text()) | {"cutmix": 0.0}
    (tmp_path / "mixed.yaml").write_text(yaml.safe_dump(settings))
    views = ["--config", str(tmp_path / "mixed.yaml"), "--views", "2"]
    store(teacher, tmp_path / "answers", *views, "--teacher_head", "probe")
    manifest = json.loads((tmp_path / "answers" / "manifest.json").read_text())
    head, evaluation = manifest["teacher"]["head"], manifest["summary"]["evaluation"]
    assert (head["kind"], head["images"]) == ("probe", 40) and head["accuracy"] is not None
    assert manifest["teacher"]["num_labels"] == 10 and evaluation["metrics"]["accuracy"] > 0.1
    before = {path: path.read_bytes() for path in (tmp_path / "answers").rglob("*") if path.is_file()}
    assert tmp_path / "answers" / "teacher_head.safetensors" in before
    # What is missing is written again with the head that lies there.
    shard = next((tmp_path / "answers").rglob("shard-*.safetensors"))
    shard.unlink()
    monkeypatch.setattr("exrep_hf.study.caching.fit_head", lambda *given: pytest.fail("fitted again"))
    store(teacher, tmp_path / "answers", *views, "--teacher_head", "probe", "--rebuild")
    after = {path: path.read_bytes() for path in (tmp_path / "answers").rglob("*") if path.is_file()}
    assert after.keys() == before.keys()
    assert after[shard] == before[shard]
    with pytest.raises(ValueError, match="holds other answers than these .*teacher.head"):
        store(teacher, tmp_path / "answers", *views)
    study: dict[str, Any] = {"max_train_samples": 40, "private_fraction": 0.0, "crd_weight": 0.0, "mixup": 1.0}
    study |= {"adversarial_weight": 0.0, "distiller": "none", "controls": "none", "num_seeds": 1, "max_steps": 2}
    study |= {"teacher": None, "teacher_from_scratch": False, "teacher_steps": 0}
    cache = str(tmp_path / "answers")
    results = run_study(tmp_path / "out", **study, teacher_cache=cache, teacher_head="probe")
    told = results["teacher"]
    assert told["head"]["accuracy"] == head["accuracy"] and told["accuracy"] == evaluation["metrics"]["accuracy"]


def test_features_alone_are_stored_where_no_head_is_wanted(teacher: str, tmp_path: Path) -> None:
    store(teacher, tmp_path / "answers", "--teacher_head", "none")
    manifest = json.loads((tmp_path / "answers" / "manifest.json").read_text())
    assert manifest["teacher"]["num_labels"] is None and manifest["summary"]["evaluation"] is None
