"""A student's way to the Hub and back."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from huggingface_hub import HfApi, ModelCard, snapshot_download
from transformers import AutoModelForImageClassification, pipeline

from exrep_hf.arguments import EvaluationArguments
from exrep_hf.data import load_images
from exrep_hf.publishing.card_figures import write_eval_results
from exrep_hf.publishing.claims import read_claims
from exrep_hf.publishing.evaluate_student import evaluate_student, push_figures
from exrep_hf.publishing.student import fetch_student, push_student, student_files, write_card
from exrep_hf.publishing.verify import verify_card
from tests.hub_server import Fault, Hub
from tests.processes import Processes
from tests.studies import run_study

Finished = tuple[Path, dict[str, Any]]


def test_what_is_published(published: Finished) -> None:
    """Both variants, results, pictures and code; not the settings of the run, nor its controls."""
    folder, results = published
    assert results["published"]["variant"] == "both"
    assert set(student_files(folder)) == {
        *("README.md", "config.json", "model.safetensors", "preprocessor_config.json", "results.json"),
        *("recipe.yaml", "loss.png", "residual.png", "reliability.png"),
        *(f"with_distiller/{name}" for name in ("config.json", "model.safetensors", "preprocessor_config.json")),
        *(f"{place}{path.name}" for path in folder.glob("*.py") for place in ("", "with_distiller/")),
    }
    assert (folder / "with_distiller" / "modeling_exrep.py").is_file()
    with pytest.raises(ValueError, match="is no student that can be published: it has no README.md"):
        student_files(folder.parent)


def test_there_and_back(published: Finished, hub: Hub, transfer: str) -> None:
    """`from_pretrained`, `pipeline` and timm load the plain student by its name alone."""
    folder, _ = published
    name = f"me/student-{transfer}"
    commit = push_student(folder, name)
    assert HfApi().model_info(name).sha == commit
    image = torch.randn(2, 3, 32, 32)
    expected = AutoModelForImageClassification.from_pretrained(folder).eval()(image).logits
    loaded = AutoModelForImageClassification.from_pretrained(name).eval()
    assert torch.equal(loaded(image).logits, expected)
    of_timm = timm.create_model(f"hf-hub:{name}", pretrained=True).eval()
    torch.testing.assert_close(of_timm(image), expected)
    picture = load_images("digits")["test"][0]["image"].convert("RGB")
    assert pipeline("image-classification", name, top_k=1)(picture)[0]["label"] in map(str, range(10))
    with_distiller = AutoModelForImageClassification.from_pretrained(name, subfolder="with_distiller")
    assert with_distiller.input_distiller is not None


WITHOUT_US = """
import sys, torch
sys.modules["exrep_hf"] = None
from transformers import AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained({name!r}, subfolder="with_distiller", trust_remote_code=True)
image = torch.load({image!r})
torch.save(model.eval()(image).logits, {answer!r})
"""


def test_code_that_was_pushed_on_request(published: Finished, hub: Hub, tmp_path: Path) -> None:
    """People without this package load the student with its distiller, if they trust the code beside it."""
    folder, _ = published
    push_student(folder, "me/with-code")
    image = torch.randn(2, 3, 32, 32)
    torch.save(image, tmp_path / "image.pt")
    places = {"image": str(tmp_path / "image.pt"), "answer": str(tmp_path / "answer.pt")}
    script = WITHOUT_US.format(name="me/with-code", **places)
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected = AutoModelForImageClassification.from_pretrained(folder / "with_distiller").eval()(image).logits
    torch.testing.assert_close(torch.load(tmp_path / "answer.pt"), expected)


def test_no_code_unless_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "quiet"
    results = run_study(folder, controls={}, num_seeds=1, variant="distiller", distiller_share=0.5)
    assert results["published"]["variant"] == "distiller" and not (folder / "with_distiller").exists()
    assert not list(folder.rglob("*.py")) and "auto_map" not in (folder / "config.json").read_text()
    assert json.loads((folder / "config.json").read_text())["model_type"] == "exrep"
    assert "import exrep_hf" in (folder / "README.md").read_text()


def test_a_distiller_that_cant_be_removed_is_not_published_without(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`variant` is 'plain', but the distiller of `exrep` can't be taken away"):
        run_study(tmp_path / "stuck", variant="plain")
    assert not (tmp_path / "stuck").exists()


def test_nothing_of_the_machine_is_pushed(published: Finished, hub: Hub) -> None:
    folder, _ = published
    push_student(folder, "me/discreet-student")
    there = Path(snapshot_download("me/discreet-student"))
    secrets = [str(folder.parent), str(Path.home()), os.environ["HF_TOKEN"], "/tmp/", ".venv"]
    for path in there.rglob("*"):
        if path.is_file() and path.suffix not in (".png", ".safetensors"):
            content = path.read_text()
            assert not [secret for secret in secrets if secret in content], path


def test_published_again(published: Finished, hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same weights keep what was measured of them; other weights leave nothing of the earlier student behind."""
    folder = tmp_path / "again"
    shutil.copytree(published[0], folder)
    push_student(folder, "me/again")
    assert "don't name 'me/again'" in caplog.text
    args = EvaluationArguments("me/again", "digits", "train", use_cpu=True, push_to_hub=True)
    push_figures(args, evaluate_student(args))
    write_card(folder, "me/again")
    assert 'model="me/again"' in (folder / "README.md").read_text()
    caplog.clear()
    evaluated = Path(snapshot_download("me/again", local_dir=tmp_path / "evaluated"))
    write_eval_results(evaluated, "me/images", "test", {"accuracy": 0.5}, 450)
    HfApi().upload_folder(repo_id="me/again", folder_path=evaluated / ".eval_results", path_in_repo=".eval_results")
    write_eval_results(folder, "me/images", "train", {"accuracy": 0.6}, 450)
    push_student(folder, "me/again")
    assert caplog.text == ""
    entries = yaml.safe_load((folder / ".eval_results" / "images.yaml").read_text())
    assert [entry["value"] for entry in entries] == [0.6, 0.5]
    claims = read_claims(folder)
    assert {claim.split for claim in claims} == {"part of test", "train", "test"} and len(claims) == 8
    assert read_claims(fetch_student("me/again")) == claims
    shutil.rmtree(folder / ".eval_results")

    shutil.rmtree(folder / "with_distiller")
    for path in folder.glob("*.py"):
        path.unlink()
    model = AutoModelForImageClassification.from_pretrained(folder)
    with torch.no_grad():
        next(model.parameters()).mul_(1.5)
    model.save_pretrained(folder)
    other = {"dataset": {"id": "me/more", "task_id": "accuracy"}, "value": 0.4, "notes": "somebody's"}
    (tmp_path / "more.yaml").write_text(yaml.safe_dump([other]))
    HfApi().upload_file(
        path_or_fileobj=tmp_path / "more.yaml", path_in_repo=".eval_results/more.yaml", repo_id="me/again"
    )
    write_card(folder, "me/again")
    push_student(folder, "me/again")
    there = set(HfApi().list_repo_files("me/again"))
    assert there == {".gitattributes", *student_files(folder), ".eval_results/more.yaml"}
    assert ".eval_results/more.yaml of 'me/again' stay, and speak of the student that was there" in caplog.text
    assert {claim.split for claim in read_claims(fetch_student("me/again"))} == {"part of test", None}


def test_figures_that_arrive_while_a_student_is_published(
    published: Finished, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody adds between the look and the commit is not lost: the push says so, and works again."""
    push_student(published[0], "me/busy")
    upload = HfApi.upload_folder

    def another_first(self: HfApi, *args: object, **kwargs: object) -> object:
        HfApi().upload_file(path_or_fileobj=b"new", path_in_repo="more.txt", repo_id="me/busy")
        return upload(self, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(HfApi, "upload_folder", another_first)
    folder = tmp_path / "changed"
    shutil.copytree(published[0], folder)
    write_card(folder, "me/busy")
    with pytest.raises(OSError, match=r"(?s)'me/busy' failed: .*412.*push again with"):
        push_student(folder, "me/busy")
    monkeypatch.undo()
    push_student(folder, "me/busy")
    assert "more.txt" in HfApi().list_repo_files("me/busy")


def test_a_wrong_revision(published: Finished, hub: Hub) -> None:
    push_student(published[0], "me/revisions")
    with pytest.raises(ValueError, match="as a model on the Hub at revision 'v9' it is not available"):
        fetch_student("me/revisions", "v9")


def test_a_study_pushes_its_student(tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """The student alone, whatever its controls write; private on request; its card names the repository."""
    results = run_study(
        tmp_path / "pushed", num_seeds=1, push_to_hub=True, hub_model_id="me/pushed", hub_private_repo=True
    )
    assert "pushed to me/pushed, commit" in capsys.readouterr().out
    info = HfApi().model_info("me/pushed")
    assert info.private and not [name for name in HfApi().list_repo_files("me/pushed") if "arms" in name]
    assert 'model="me/pushed"' in ModelCard.load("me/pushed").content
    assert json.loads(Path(fetch_student("me/pushed"), "results.json").read_text())["seeds"] == results["seeds"]
    # The commit of the repository, and ours.
    assert len(HfApi().list_repo_commits("me/pushed")) == 2


def test_no_right_to_push_is_found_before_training(tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(ValueError, match="Nothing can be pushed to the model 'other/student': The token may"):
        run_study(tmp_path / "refused", push_to_hub=True, hub_model_id="other/student")
    assert not (tmp_path / "refused" / "settings.json").exists()


def test_a_push_that_fails_loses_nothing(tmp_path: Path, hub: Hub, processes: Processes) -> None:
    """Hours of training lie in the folder, the message says how to push again, and that works."""
    folder = tmp_path / "failed"
    hub.faults.append(Fault(r"hub POST .*/commit/", 99, status=503))
    with pytest.raises(OSError, match=r"(?s)the model 'me/failed' failed.*python recipes/publish.py .*/failed"):
        run_study(folder, controls={}, num_seeds=1, push_to_hub=True, hub_model_id="me/failed")
    hub.faults.clear()
    done = processes.call("recipes/publish.py", str(folder), "--repo_id", "me/failed")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "pushed" in done.stdout and all(verdict.holds for verdict in verify_card("me/failed"))
