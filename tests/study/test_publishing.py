"""A student's way to the Hub and back: pushed, loaded, evaluated, verified."""

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
from huggingface_hub import EvalResult, HfApi, ModelCard, snapshot_download
from transformers import AutoModelForImageClassification, pipeline

from exrep_hf.data import load_images
from exrep_hf.hub.card_entries import write_eval_results
from exrep_hf.hub.claims import read_claims
from exrep_hf.hub.student_repository import fetch_student, push_student, student_files, write_card
from exrep_hf.study.evaluating import EvaluationArguments, evaluate_student, push_figures
from exrep_hf.study.verifying import verdict_table, verify_card
from tests.hub_server import Fault, Hub
from tests.study.test_study import run_study

ROOT = Path(__file__).parents[2]
Finished = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A study with a removable distiller, whose student is published in both variants."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("publishing") / "digits"
    return folder, run_study(folder, controls={}, num_seeds=1, distiller_share=0.5, push_code=True)


def tamper(folder: Path, change: Any) -> None:
    card = ModelCard.load(folder / "README.md")
    change(card.data)
    card.save(folder / "README.md")


def test_what_is_published(finished: Finished) -> None:
    """Both variants, results, pictures and code; not the settings of the run, nor its controls."""
    folder, results = finished
    assert results["published"]["variant"] == "both"
    assert set(student_files(folder)) == {
        *("README.md", "config.json", "model.safetensors", "preprocessor_config.json", "results.json"),
        *("loss.png", "residual.png", "reliability.png"),
        *(f"with_distiller/{name}" for name in ("config.json", "model.safetensors", "preprocessor_config.json")),
        *(f"{place}{path.name}" for path in folder.glob("*.py") for place in ("", "with_distiller/")),
    }
    assert (folder / "with_distiller" / "modeling_exrep.py").is_file()
    with pytest.raises(ValueError, match="is no student that can be published: it has no README.md"):
        student_files(folder.parent)


def test_there_and_back(finished: Finished, hub: Hub, transfer: str) -> None:
    """`from_pretrained`, `pipeline` and timm load the plain student by its name alone."""
    folder, _ = finished
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


def test_code_that_was_pushed_on_request(finished: Finished, hub: Hub, tmp_path: Path) -> None:
    """People without this package load the student with its distiller, if they trust the code beside it."""
    folder, _ = finished
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


def test_nothing_of_the_machine_is_pushed(finished: Finished, hub: Hub) -> None:
    folder, _ = finished
    push_student(folder, "me/discreet-student")
    there = Path(snapshot_download("me/discreet-student"))
    secrets = [str(folder.parent), str(Path.home()), os.environ["HF_TOKEN"], "/tmp/", ".venv"]
    for path in there.rglob("*"):
        if path.is_file() and path.suffix not in (".png", ".safetensors"):
            content = path.read_text()
            assert not [secret for secret in secrets if secret in content], path


def test_verified(finished: Finished, hub: Hub) -> None:
    """Locally and from the Hub: every figure of the card is measured again."""
    folder, _ = finished
    push_student(folder, "me/verified")
    for name in (str(folder), "me/verified"):
        verdicts = verify_card(name)
        # Of the model-index, and of the results that the card is made from.
        assert len(verdicts) == 6 and all(verdict.holds for verdict in verdicts)
    assert [row[-1] for row in verdict_table(verdicts)] == ["verdict", *["holds"] * 6]


@pytest.mark.parametrize("metric", ["accuracy", "top5_accuracy", "expected_calibration_error"])
def test_tampering_is_found(metric: str, finished: Finished, tmp_path: Path) -> None:
    """One figure, a hundredth better than it is."""
    folder = tmp_path / "tampered"
    shutil.copytree(finished[0], folder)

    def better(data: Any) -> None:
        for result in data.eval_results:
            if result.metric_type == metric:
                result.metric_value += 0.01

    tamper(folder, better)
    broken = [verdict.claim.metric for verdict in verify_card(str(folder)) if not verdict.holds]
    assert broken == [metric]


def test_tampered_weights_are_found(finished: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "tampered"
    shutil.copytree(finished[0], folder)
    model = AutoModelForImageClassification.from_pretrained(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-1)
    model.save_pretrained(folder)
    assert not all(verdict.holds for verdict in verify_card(str(folder)))


def test_claims_that_cant_be_checked_don_t_hold(finished: Finished, tmp_path: Path) -> None:
    """A claim about images that can't be had, or a figure that is not ours, is not proven by others."""
    folder = tmp_path / "more"
    shutil.copytree(finished[0], folder)
    kind = "image-classification"
    extra = [
        EvalResult(kind, "you/absent", "Absent", "accuracy", 0.9),
        EvalResult(kind, "digits", "digits", "accuracy", 0.9, dataset_split="exam"),
        EvalResult(kind, "digits", "digits", "per_class", 0.9, dataset_split="part of test"),
    ]
    tamper(folder, lambda data: data.eval_results.extend(extra))
    reasons = {str(verdict.claim.split): verdict.reason for verdict in verify_card(str(folder)) if not verdict.holds}
    expected = {"None": "'you/absent'", "exam": "`split` is 'exam'", "part of test": "a figure that is not measured"}
    assert reasons.keys() == expected.keys()
    assert [told for split, told in expected.items() if told not in str(reasons[split])] == []
    with pytest.raises(ValueError, match=r"A place is given for \['flowers'\]; the card speaks of .*'digits'"):
        verify_card(str(folder), places={"flowers": str(tmp_path)})
    tamper(folder, lambda data: setattr(data, "eval_results", None))
    with pytest.raises(ValueError, match="claims nothing"):
        verify_card(str(folder))
    shutil.copy(finished[0] / "README.md", folder)
    for content in ("{}", "[]", '{"dataset": {}}', "half of", None):
        if content is None:
            (folder / "results.json").unlink()
        else:
            (folder / "results.json").write_text(content)
        with pytest.raises(ValueError, match="has no readable `results.json`"):
            verify_card(str(folder))


def test_figures_of_other_images_are_verified(finished: Finished, hub: Hub, tmp_path: Path) -> None:
    """What `evaluate.py` added, each on its own images: another split, a data set on the Hub, a local one."""
    folder, _ = finished
    push_student(folder, "me/elsewhere")
    digits = load_images("digits")["test"].select(range(60))
    digits.to_parquet(tmp_path / "mine" / "test.parquet")
    HfApi().create_repo("me/sixty", repo_type="dataset")
    HfApi().upload_file(
        path_or_fileobj=tmp_path / "mine" / "test.parquet",
        path_in_repo="data/test-00000-of-00001.parquet",
        repo_id="me/sixty",
        repo_type="dataset",
    )
    for dataset, split in (("digits", "train"), ("me/sixty", "test"), (str(tmp_path / "mine"), "test")):
        args = EvaluationArguments("me/elsewhere", dataset, split, use_cpu=True, push_to_hub=True)
        push_figures(args, evaluate_student(args))
    verdicts = verify_card("me/elsewhere", places={"mine": str(tmp_path / "mine")})
    assert all(verdict.holds for verdict in verdicts), verdict_table(verdicts)
    # Three of the study and of its results, three of each data set, and those of the Hub's also in `.eval_results`.
    assert len(verdicts) == 6 + 3 * 3 + 3
    without_place = [verdict.claim.dataset for verdict in verify_card("me/elsewhere") if not verdict.holds]
    assert without_place == ["mine"] * 3
    there = Path(snapshot_download("me/elsewhere", local_dir=tmp_path / "bent"))
    tamper(there, lambda data: setattr(data.eval_results[3], "metric_value", 0.5))
    broken = [
        each.claim for each in verify_card(str(there), places={"mine": str(tmp_path / "mine")}) if not each.holds
    ]
    assert [claim.split for claim in broken] == ["train"]


def test_published_again(finished: Finished, hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same weights keep what was measured of them; other weights leave nothing of the earlier student behind."""
    folder = tmp_path / "again"
    shutil.copytree(finished[0], folder)
    push_student(folder, "me/again")
    assert "don't name 'me/again'" in caplog.text
    args = EvaluationArguments("me/again", "digits", "train", use_cpu=True, push_to_hub=True)
    push_figures(args, evaluate_student(args))
    write_card(folder, "me/again")
    assert 'model="me/again"' in (folder / "README.md").read_text()
    caplog.clear()
    evaluated = Path(snapshot_download("me/again", local_dir=tmp_path / "evaluated"))
    write_eval_results(evaluated, "me/images", "test", {"accuracy": 0.5})
    HfApi().upload_folder(repo_id="me/again", folder_path=evaluated / ".eval_results", path_in_repo=".eval_results")
    write_eval_results(folder, "me/images", "train", {"accuracy": 0.6})
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
    finished: Finished, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody adds between the look and the commit is not lost: the push says so, and works again."""
    push_student(finished[0], "me/busy")
    upload = HfApi.upload_folder

    def another_first(self: HfApi, *args: object, **kwargs: object) -> object:
        HfApi().upload_file(path_or_fileobj=b"new", path_in_repo="more.txt", repo_id="me/busy")
        return upload(self, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(HfApi, "upload_folder", another_first)
    folder = tmp_path / "changed"
    shutil.copytree(finished[0], folder)
    write_card(folder, "me/busy")
    with pytest.raises(OSError, match=r"(?s)'me/busy' failed: .*412.*push again with"):
        push_student(folder, "me/busy")
    monkeypatch.undo()
    push_student(folder, "me/busy")
    assert "more.txt" in HfApi().list_repo_files("me/busy")


def test_a_model_that_changes_while_it_is_evaluated(finished: Finished, hub: Hub) -> None:
    """Figures of earlier weights are not put beside later ones."""
    push_student(finished[0], "me/changing")
    args = EvaluationArguments("me/changing", "digits", "train", use_cpu=True, push_to_hub=True)
    figures = evaluate_student(args)
    HfApi().upload_file(path_or_fileobj=b"later", path_in_repo="model.safetensors", repo_id="me/changing")
    with pytest.raises(
        OSError, match=r"(?s)'me/changing' failed: .* is at .*python recipes/evaluate.py --model me/ch"
    ):
        push_figures(args, figures)


def test_evaluated(finished: Finished, hub: Hub) -> None:
    """The figures go into the card on the Hub, beside those of others."""
    folder, results = finished
    push_student(folder, "me/evaluated")
    card = ModelCard.load("me/evaluated")
    kind = "image-classification"
    card.data.eval_results.append(EvalResult(kind, "you/images", "Yours", "accuracy", 0.5))
    card.push_to_hub("me/evaluated")
    teacher = str(folder / "teacher")
    args = EvaluationArguments("me/evaluated", "digits", "test", teacher=teacher, use_cpu=True, push_to_hub=True)
    report = evaluate_student(args)
    push_figures(args, report)
    again = evaluate_student(args)
    push_figures(args, again)
    assert report["num_images"] == 450 and report["images_per_second"] > 0
    assert 0 <= report["teacher_agreement"] <= 1
    data: Any = ModelCard.load("me/evaluated").data
    claimed = {
        (each.dataset_type, each.dataset_split, each.metric_type): each.metric_value for each in data.eval_results
    }
    assert claimed["digits", "test", "accuracy"] == report["accuracy"]
    assert claimed["digits", "part of test", "accuracy"] == results["published"]["accuracy"]
    assert claimed["you/images", None, "accuracy"] == 0.5
    assert len(claimed) == len(data.eval_results) == 7
    itself = evaluate_student(
        EvaluationArguments(str(folder), "digits", teacher=str(folder), max_samples=40, use_cpu=True)
    )
    assert itself["teacher_agreement"] == 1.0 and itself["num_images"] == 40
    assert itself["accuracy"] == results["published"]["accuracy"]


def test_a_data_set_with_some_of_the_classes_in_another_order(finished: Finished, tmp_path: Path) -> None:
    """Classes are matched by name: numbers of another data set mean other classes."""
    folder, _ = finished
    digits = load_images("digits")["test"]
    for name in ("7", "3", "30"):
        (tmp_path / "test" / name).mkdir(parents=True)
    rows = [row for row in range(len(digits)) if digits[row]["label"] in (3, 7)][:30]
    for row in rows:
        digits[row]["image"].save(tmp_path / "test" / str(digits[row]["label"]) / f"{row}.png")
    (tmp_path / "test" / "30").rmdir()
    report = evaluate_student(EvaluationArguments(str(folder), str(tmp_path), use_cpu=True))
    assert set(report["per_class"]) == {"3", "7"} and report["num_images"] == 30
    expected = evaluate_student(EvaluationArguments(str(folder), "digits", use_cpu=True))
    assert report["accuracy"] <= 1 and expected["num_images"] == 450
    (tmp_path / "test" / "7").rename(tmp_path / "test" / "seven")
    with pytest.raises(ValueError, match=r"has classes that the model does not know: \['seven'\]"):
        evaluate_student(EvaluationArguments(str(folder), str(tmp_path), use_cpu=True))


def test_bad_input_to_evaluate(finished: Finished, hub: Hub) -> None:
    folder, _ = finished
    HfApi().create_repo("me/exists", exist_ok=True)
    for args, message in (
        (
            EvaluationArguments("me/exists", "digits", max_samples=9, push_to_hub=True),
            "`max_samples` 9 and `revis",
        ),
        (EvaluationArguments("me/exists", "digits", push_to_hub=True), "'me/exists' has no card to put figures into"),
        (
            EvaluationArguments("me/exists", "me/images", data_dir="hard", push_to_hub=True),
            "with the columns .* and `data_dir` 'hard'; expected neither",
        ),
        (EvaluationArguments("me/tpyo", "digits", push_to_hub=True), "There is no such repository that the token may"),
        (EvaluationArguments("me/none", "digits"), "'me/none' is no folder here, and as a model on the Hub it can't"),
        (EvaluationArguments(str(folder), "digits", "exam"), r"`split` is 'exam'; 'digits' has the splits \['train'"),
        (
            EvaluationArguments(str(folder), "digits", push_to_hub=True),
            "`model` is the folder .*; expected a Hub name",
        ),
    ):
        args.use_cpu = True
        with pytest.raises(ValueError, match=message):
            evaluate_student(args)


def test_other_images_than_the_card_speaks_of(finished: Finished, tmp_path: Path) -> None:
    """Training images passed off as a part of `test`, or the easiest image of all for the whole."""
    folder = tmp_path / "bent"
    shutil.copytree(finished[0], folder)
    results = json.loads((folder / "results.json").read_text())
    assert results["dataset"]["part"] == "part of test" and results["dataset"]["split"] is None
    results["configuration"]["data"] |= {"test_split": "train", "max_eval_samples": 40}
    (folder / "results.json").write_text(json.dumps(results))
    with pytest.raises(ValueError, match=r"claims \(images, split, part\) .*'part of test'.* give .*'part of train'"):
        verify_card(str(folder))
    shutil.copy(finished[0] / "results.json", folder)
    # A claim that names no split is about a whole one: 40 images are not enough for it.

    def without_split(data: Any) -> None:
        for result in data.eval_results:
            result.dataset_split = None

    tamper(folder, without_split)
    verdicts = verify_card(str(folder))
    assert {verdict.measured for verdict in verdicts[:3]}.isdisjoint({verdict.measured for verdict in verdicts[3:]})


def test_names_of_classes_that_are_exchanged(tmp_path: Path) -> None:
    """A student that calls each 0 a 1 is wrong for all who ask it, whatever it is by numbers."""
    folder = tmp_path / "exchanged"
    shutil.copytree(ROOT / "model_cards" / "digits_plain", folder)
    config = json.loads((folder / "config.json").read_text())
    names = config["label_names"]
    names[0], names[1] = names[1], names[0]
    (folder / "config.json").write_text(json.dumps(config))
    assert AutoModelForImageClassification.from_pretrained(folder).config.id2label[0] == "1"
    assert not any(verdict.holds for verdict in verify_card(str(folder)) if verdict.claim.metric == "accuracy")


def test_tampered_results_are_found(finished: Finished, tmp_path: Path) -> None:
    """The card's text is made from them."""
    folder = tmp_path / "better"
    shutil.copytree(finished[0], folder)
    results = json.loads((folder / "results.json").read_text())
    results["published"]["accuracy"] += 0.01
    (folder / "results.json").write_text(json.dumps(results))
    broken = [verdict.claim for verdict in verify_card(str(folder)) if not verdict.holds]
    assert [(claim.place, claim.metric) for claim in broken] == [("results.json", "accuracy")]


def test_results_that_contradict_themselves(finished: Finished, tmp_path: Path) -> None:
    """An easier selection of images, or another data set, than the card speaks of."""
    folder = tmp_path / "bent"
    shutil.copytree(finished[0], folder)
    results = json.loads((folder / "results.json").read_text())
    for part, changes in (("configuration", {"max_eval_samples": 10}), ("dataset", {"name": "imagenet-1k"})):
        bent = json.loads(json.dumps(results))
        (bent["configuration"]["data"] if part == "configuration" else bent["dataset"]).update(changes)
        (folder / "results.json").write_text(json.dumps(bent))
        with pytest.raises(ValueError, match="It contradicts itself"):
            verify_card(str(folder))


def test_labels_that_are_no_classes(finished: Finished, tmp_path: Path) -> None:
    """An unlabelled image is not one of the last class."""
    folder, _ = finished
    images = load_images("digits")["test"].select(range(4))
    unlabelled = images.remove_columns("label").add_column("label", [0, -1, 2, 3])
    unlabelled.to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="the label in row 1, column 'label', is -1"):
        evaluate_student(EvaluationArguments(str(folder), str(tmp_path), "train", use_cpu=True))


def test_a_wrong_revision(finished: Finished, hub: Hub) -> None:
    push_student(finished[0], "me/revisions")
    with pytest.raises(ValueError, match="as a model on the Hub at revision 'v9' it can't be had"):
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


def test_a_push_that_fails_loses_nothing(tmp_path: Path, hub: Hub) -> None:
    """Hours of training lie in the folder, the message says how to push again, and that works."""
    folder = tmp_path / "failed"
    hub.faults.append(Fault(r"hub POST .*/commit/", 99, status=503))
    with pytest.raises(OSError, match=r"(?s)the model 'me/failed' failed.*python recipes/publish.py .*/failed"):
        run_study(folder, controls={}, num_seeds=1, push_to_hub=True, hub_model_id="me/failed")
    hub.faults.clear()
    command = [sys.executable, "recipes/publish.py", str(folder), "--repo_id", "me/failed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "pushed" in done.stdout and all(verdict.holds for verdict in verify_card("me/failed"))


def test_recipes(finished: Finished, hub: Hub, tmp_path: Path) -> None:
    """The README's lines: evaluate, and verify, which ends with a code that scripts see."""
    folder, _ = finished

    def call(script: str, *flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, script, *flags], cwd=ROOT, capture_output=True, text=True, timeout=200)

    output = tmp_path / "figures.json"
    evaluate = ["--model", str(folder), "--dataset", "digits", "--split", "test", "--use_cpu", "--output", str(output)]
    done = call("recipes/evaluate.py", *evaluate)
    assert done.returncode == 0 and "worst classes:" in done.stdout, done.stderr[-2000:]
    assert json.loads(output.read_text())["num_images"] == 450
    done = call("recipes/verify_card.py", str(folder), "--use_cpu")
    assert done.returncode == 0 and "6 of 6 figures reproduced" in done.stdout, done.stderr[-2000:]
    tampered = tmp_path / "tampered"
    shutil.copytree(folder, tampered)
    tamper(tampered, lambda data: setattr(data.eval_results[0], "metric_value", 0.99))
    done = call("recipes/verify_card.py", str(tampered), "--use_cpu")
    assert done.returncode == 1 and "differs by more than 0.002" in done.stdout
