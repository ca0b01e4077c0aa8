"""The card, read back by the Hub's own reader."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from markdown_it.token import Token

from exrep_hf.publishing import make_model_card
from exrep_hf.publishing.card_body import BodyFindings, check_body
from exrep_hf.publishing.recipe import make_recipe


def read_back(results: dict[str, Any], tmp_path: Path, name: str = "me/digits-student") -> ModelCard:
    path = tmp_path / "README.md"
    make_model_card(results, name).save(path)
    return ModelCard.load(path)


def test_metadata(results: dict[str, Any], tmp_path: Path) -> None:
    """Without these fields the Hub finds the model under no task, teacher family or licence."""
    results["student"]["from_scratch"] = False
    results["dataset"]["hub_name"] = "me/digits"
    data: Any = read_back(results, tmp_path).data
    assert data.base_model == "timm/resnet18"
    assert data.datasets == ["me/digits"]
    assert data.license == "apache-2.0"
    assert data.pipeline_tag == "image-classification"
    assert data.library_name == "transformers"
    assert data.eval_results is not None
    claims = {(claim.metric_type, claim.metric_value, claim.dataset_split) for claim in data.eval_results}
    assert claims == {
        ("accuracy", 0.85, "test"),
        ("top5_accuracy", 1.0, "test"),
        ("expected_calibration_error", 0.031, "test"),
    }
    assert data.base_model_relation == "finetune"


def test_what_was_chosen_for_the_run(results: dict[str, Any], tmp_path: Path) -> None:
    """A learning rate that follows from the run stands in no settings, and nobody could repeat the figure."""
    assert "This run took" not in read_back(results, tmp_path).text
    chosen = {"learning_rate": 0.01, "freeze_batch_norm": False, "max_steps": 1500}
    results["arms"]["exrep"]["runs"][0] |= {"chosen": chosen, "steps": 1500}
    told = "This run took: learning rate 0.01, 1500 steps, BatchNorm statistics free."
    assert told in read_back(results, tmp_path).text


def test_images_of_a_data_set_without_a_test_split(results: dict[str, Any], tmp_path: Path) -> None:
    """Figures on a tenth of the training images are not those that others report."""
    results["dataset"] |= {"split": "test", "part": "test", "num_evaluated": 60}
    assert "in percent on 60 images of the test split;" in read_back(results, tmp_path).text
    results["dataset"] |= {"split": None, "part": "part of train"}
    assert "in percent on 60 images, a part of train that training did not see;" in read_back(results, tmp_path).text


def test_every_arm_stands_beside_the_claim(results: dict[str, Any], tmp_path: Path) -> None:
    """A number without its controls is not to be believed."""
    text = read_back(results, tmp_path).text
    for row in (
        "| teacher | 90.0 |",
        "| student before | 80.0 ± 0.0 |",
        "| kd | 84.0 ± 1.0 | 50.0 ± 2.5 |",
        "| exrep, distiller removed | 41.0 ± 0.0 |",
    ):
        assert row in text
    assert "trained from scratch" in text
    assert "100 public training images; 900 more are private, and the student never saw them" in text
    assert 'pipeline("image-classification", model="me/digits-student")  # or' in text


def test_the_snippet_fits_the_model(results: dict[str, Any], tmp_path: Path) -> None:
    """Only a model with a distiller needs exrep_hf to load."""
    assert "import exrep_hf" in read_back(results, tmp_path).text
    results["published"] |= {"arm": "kd", "variant": "plain"}
    assert "import exrep_hf" not in read_back(results, tmp_path).text


def test_a_removed_distiller_is_named(results: dict[str, Any], tmp_path: Path) -> None:
    """Readers have to know which row the weights belong to, and where the distiller went."""
    assert "with_distiller" not in read_back(results, tmp_path).text
    results["arms"]["exrep"]["plain"] = True
    results["published"]["variant"] = "both"
    text = read_back(results, tmp_path).text
    assert 'the row "exrep, distiller removed"' in text and "sub-folder `with_distiller`" in text
    assert "import exrep_hf" not in text


def test_nothing_is_claimed_that_is_not_known(results: dict[str, Any], tmp_path: Path) -> None:
    """Without a licence or a teacher the card says so, and its metadata stay silent."""
    results["license"] = results["teacher"] = None
    card = read_back(results, tmp_path)
    assert "not given by the author" in card.text
    assert "distilled from" not in card.text and "trained with labels alone, without a teacher" in card.text
    assert "license" not in yaml.safe_load(card.content.split("---")[1])


def test_a_teacher_that_taught_nothing(results: dict[str, Any], tmp_path: Path) -> None:
    """One that was given, and that no term of the published arm compares with."""
    assert "distilled from" in read_back(results, tmp_path).text
    arm = results["arms"][results["published"]["arm"]]
    arm["objective"] = {
        "terms": {"ce": {"weight": 1.0, "smoothing": 0.1}},
        "mixup": 0.0,
        "cutmix": 0.0,
        "mix_rounds": 1,
    }
    text = read_back(results, tmp_path).text
    assert "distilled from" not in text and "trained with labels alone, beside" in text
    assert ", which it learnt nothing from." in text


@pytest.mark.parametrize(("name", "from_scratch"), [("timm/resnet18", True), ("my_folder", False)])
def test_no_base_model_that_there_is_not(
    name: str, from_scratch: bool, results: dict[str, Any], tmp_path: Path
) -> None:
    """An architecture is no model to derive from, and a folder of this machine none that the Hub knows."""
    results["student"] |= {"name": name, "from_scratch": from_scratch}
    data: Any = read_back(results, tmp_path).data
    assert data.base_model is None and data.get("base_model_relation") is None


def test_what_a_reader_needs_to_judge(results: dict[str, Any], tmp_path: Path) -> None:
    """Cost with and without the distiller, calibration, weak classes, the command, and how to check all of it."""
    text = read_back(results, tmp_path).text
    for part in (
        "| student without distiller | 1.00 M | 5.00 M | 200 |",
        "| student with its `light` distiller | 1.23 M | 2.00 G | 100 |",
        "15 bins: 0.031",
        "| 0 | 80.0 | 45 |",
        "    exrep train --config recipe.yaml --output_dir out\n",
        "`exrep verify me/digits-student`",
        "Top-1 may differ by 0.0023 on these 450 images: rounding on another machine may decide 1 image",
    ):
        assert part in text, part
    assert "| 9 | 89.0 | 45 |" not in text


def test_results_of_older_runs(results: dict[str, Any], tmp_path: Path) -> None:
    """A card never claims what the results don't hold."""
    for name in ("bins", "per_class", "expected_calibration_error"):
        del results["published"][name]
    results["command"] = None
    card = read_back(results, tmp_path)
    assert "Calibration" not in card.text and "Weak spots" not in card.text and "None" not in card.text
    data: Any = card.data
    assert {claim.metric_type for claim in data.eval_results} == {"accuracy", "top5_accuracy"}


def test_names_of_the_hub_and_of_folders(results: dict[str, Any], tmp_path: Path) -> None:
    """A link leads to what is there; a folder of the machine that trained is no name that others find anything by."""
    results["student"] |= {"name": "me/small", "from_scratch": False}
    results["dataset"]["hub_name"] = "me/images"
    card = read_back(results, tmp_path)
    for name, kind in (("timm/resnet50", ""), ("me/small", ""), ("me/images", "datasets/")):
        assert f"[`{name}`](https://huggingface.co/{kind}{name})" in card.text
    data: Any = card.data
    assert (data.base_model, data.tags[-1]) == ("me/small", "teacher:timm/resnet50")

    results["student"] |= {"name": "small_one", "architecture": "resnet18"}
    results["teacher"] |= {"name": "me/big, big_two", "architecture": "ViTForImageClassification, resnet50"}
    results["dataset"] |= {"hub_name": None, "name": "my_images"}
    models = {"teacher": "me/big", "other_teachers": ["big_two"], "student": "small_one"}
    results["configuration"] = {"model": models, "data": {"dataset": "my_images"}, "training": {}}
    card = read_back(results, tmp_path, "my_student")
    text, metadata = card.text, yaml.safe_load(card.content.split("---")[1])
    assert metadata["tags"][-1] == "teacher:me/big" and not {"base_model", "datasets"} & metadata.keys()
    told = "[`me/big`](https://huggingface.co/me/big) and a local model called “big_two” (resnet50)"
    assert f"distilled from {told}" in text and "**Student:** a local model called “small_one” (resnet18)" in text
    assert "local images called “my_images”" in text
    # Nothing is loaded by these names: not in code, not in the settings.
    flags = "--teacher me/big path/to/big_two --student path/to/small_one --dataset path/to/my_images"
    assert f"    exrep train --config recipe.yaml {flags} --output_dir out\n" in text
    assert 'model=".")  # in this folder; from elsewhere its path' in text and "`exrep verify .`" in text
    for name in ("small_one", "big_two", "my_images", "my_student"):
        assert f"`{name}`" not in text and f"huggingface.co/{name}" not in text and f": {name}" not in text


def test_private_images_where_there_are_any(results: dict[str, Any], tmp_path: Path) -> None:
    assert "a teacher that was trained on data nobody else has" in read_back(results, tmp_path).text
    results["dataset"]["num_private"] = 0
    text = read_back(results, tmp_path).text
    assert "private" not in text and "public" not in text and "100 training images" in text


def test_top5_of_more_than_five_classes(results: dict[str, Any], tmp_path: Path) -> None:
    """Of five the right one is always among five."""
    results["dataset"]["num_labels"] = 5
    assert "top5" not in read_back(results, tmp_path).content and "Top-5" not in read_back(results, tmp_path).content


def test_who_needs_the_package_and_where_it_is(results: dict[str, Any], tmp_path: Path) -> None:
    """An installation that fails is worse than none: the line names a place only where one is known."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    text = read_back(results, tmp_path).text
    assert "which has to be installed:\n\n    pip install .  # in a checkout of exrep_hf\n" in text
    results["code"] = {"commit": commit, "changed": True, "url": None}
    text = read_back(results, tmp_path).text
    assert f"    pip install .  # in a checkout of exrep_hf; these weights were made by commit {commit}\n" in text
    assert f"Trained by exrep_hf at commit {commit}, with changes that were not committed, whose" in text
    results["code"] |= {"changed": False, "url": "https://example.org/exrep_hf"}
    results["published"] |= {"arm": "kd", "variant": "plain"}
    text = read_back(results, tmp_path).text
    assert f'    pip install "exrep_hf @ git+https://example.org/exrep_hf@{commit}"\n' in text
    assert "`pip install timm transformers` is enough for that" in text and "not committed" not in text
    results["code"]["commit"] = "`$(rm -rf)`"
    assert "rm -rf" not in read_back(results, tmp_path).text


EVIL = "x|y`<img src=a>\n---\n# <!-- **z** [a](https://b.c)\n```\n{{ 7 * 7 }}\u202e"


def test_hostile_names(results: dict[str, Any], tmp_path: Path) -> None:
    """Whatever others call models, classes and arms: it is shown, and is neither HTML, table, link nor heading."""
    clean = read_back(results, tmp_path)
    published, arms = results["published"], results["arms"]
    objective = {"terms": {EVIL: {"weight": 1.0, "class": EVIL}}, "mixup": 0, "cutmix": 0, "mix_rounds": 1}
    results["arms"] = {"kd": arms["kd"], EVIL: arms["exrep"] | {"distiller": EVIL, "objective": objective}}
    results["differences"] = {"kd": {"mean": 0.01, "low": None, "high": None}}
    published |= {"arm": EVIL, "per_class": {EVIL: {"accuracy": 0.5, "count": 45}}}
    results["teacher"] |= {"name": EVIL, "architecture": EVIL}
    results["student"] |= {"name": EVIL, "architecture": EVIL, "from_scratch": False}
    results["dataset"] |= {"name": EVIL, "other_names": [EVIL], "split": EVIL, "part": EVIL}
    results |= {"license": EVIL, "device": EVIL, "versions": {EVIL: EVIL}, "controls_left_out": {EVIL: EVIL}}
    results["configuration"] = {"model": {"teacher": EVIL}, "data": {"dataset": EVIL, "classes": EVIL}, "training": {}}
    card = read_back(results, tmp_path)
    metadata = yaml.safe_load(card.content.split("\n---\n")[0].removeprefix("---\n"))
    assert metadata["model-index"][0]["results"][0]["dataset"]["name"] == EVIL and metadata["license"] == EVIL
    reader = MarkdownIt("gfm-like", {"html": True, "linkify": False})
    kinds = [[token.type for token in every(reader.parse(each.text))] for each in (card, clean)]
    for kind in ("html_block", "html_inline", "link_open", "heading_open", "table_open", "hr"):
        # The teacher's two links are none any more.
        assert kinds[0].count(kind) == kinds[1].count(kind) - 2 * (kind == "link_open"), kind
    fences = [token.content for token in reader.parse(card.text) if token.type == "fence" and token.info == "yaml"]
    assert [yaml.safe_load(each) for each in fences] == [make_recipe(results).settings]
    assert "49" not in card.text.split("## Cost")[0] and "\u202e" not in card.text.replace(fences[0], "")
    assert check_body(card.text, results, "me/digits-student") == BodyFindings(
        unmeasured=check_body(card.text, results, "me/digits-student").unmeasured
    )


def every(tokens: list[Token]) -> list[Token]:
    """Tokens, and those within."""
    return [each for token in tokens for each in (token, *(token.children or ()))]
