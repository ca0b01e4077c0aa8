"""Files of models that are damaged, of another kind, or made to do harm."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models import save_for_hf
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

from exrep_hf import OnlineTeacher
from exrep_hf.models import ExRepForImageClassification, load_classifier
from exrep_hf.models.model_files import LARGEST_JSON, LARGEST_SIDE, MOST_CLASSES, check_model_files, read_description

Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "sound"
    ResNetForImageClassification(
        ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], id2label={0: "a", 1: "b", 2: "c"})
    ).save_pretrained(folder)
    ViTImageProcessor().save_pretrained(folder)
    return folder


def edited(sound: Path, folder: Path, file: str, edit: Edit | str) -> Path:
    folder.mkdir()
    for path in sound.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    text = edit if isinstance(edit, str) else json.dumps(edit(json.loads((sound / file).read_text())))
    (folder / file).write_text(text)
    return folder


HOSTILE: dict[str, tuple[str, Edit | str, str]] = {
    "labels": ("config.json", lambda c: c | {"num_labels": 10**9, "id2label": None}, "`num_labels` 1000000000; exp"),
    "classes": ("config.json", lambda c: c | {"num_classes": 10**9}, "`num_classes` 1000000000; expected at most"),
    "negative": ("config.json", lambda c: c | {"num_labels": -1}, "`num_labels` -1; expected at most .* no fewer"),
    "names": (
        "config.json",
        json.dumps({"model_type": "resnet", "id2label": dict.fromkeys(range(10**6), "a")}),
        "bytes; expected at most 4194304",
    ),
    "short_names": (
        "config.json",
        json.dumps({"model_type": "resnet", "label_names": [0] * 10**6}),
        "1000000 classes in `label_names`",
    ),
    "pixels": ("config.json", lambda c: c | {"image_size": 200_000}, "`image_size` 200000; expected at most 8192"),
    "backbone": (
        "config.json",
        lambda c: c | {"backbone_config": {"image_size": [9, 200_000]}},
        r"\[9, 200000\]; exp",
    ),
    "timm": (
        "config.json",
        lambda c: c | {"pretrained_cfg": {"input_size": [3, 10**6, 10**6]}},
        "`input_size` .*1000000",
    ),
    "processor": (
        "preprocessor_config.json",
        lambda c: c | {"size": {"height": 200_000, "width": 9}},
        "`height` 200000",
    ),
    "edge": (
        "preprocessor_config.json",
        lambda c: c | {"size": {"shortest_edge": 2e5}},
        "`shortest_edge` 200000.0; e",
    ),
    "nested": ("config.json", "[" * 10**6, "is no JSON"),
    "other_file": (
        "config.json",
        lambda c: c | {"configuration_files": ["other.json"]},
        "the folder has no other.json",
    ),
}


def test_harmful_files_are_refused_at_once(sound: Path, tmp_path: Path) -> None:
    """A few bytes are enough to ask for all memory of a machine, and for hours."""
    folders = [edited(sound, tmp_path / name, file, edit) for name, (file, edit, _) in HOSTILE.items()]
    header = tmp_path / "header"
    edited(sound, header, "README.md", "")
    claims = json.dumps(
        {"classifier.1.weight": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}
    )
    (header / "model.safetensors").write_bytes(len(claims).to_bytes(8, "little") + claims.encode())
    script = [sys.executable, str(Path(__file__).with_name("bounded_loading.py"))]
    run = subprocess.run([*script, *map(str, [sound, *folders, header])], capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr[-2000:]
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert [line["message"] for line in lines[:2]] == ["loaded", "loaded"]
    assert len(lines) == 2 * (len(HOSTILE) + 2)
    messages = {name: message for name, (_, _, message) in HOSTILE.items()}
    for line in lines[2:]:
        assert line["seconds"] < 1 and line["bytes"] < 100e6, line
        if line["folder"] != "header":
            assert re.search(messages[line["folder"]], line["message"]), line
        elif line["pretrained"]:
            assert "Weights of an image classifier could not be loaded from" in line["message"], line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"model_type": "resn', "config.json of .* is no JSON .*Copy or download it again"),
        ("", "config.json of .* is no JSON"),
        ('["resnet"]', "config.json of .* holds a list; expected settings by name"),
        ('{"model_type": "resnet", "hidden_sizes": "wide"}', r"could not be loaded from .* \(StrictDataclass\w+: "),
        (
            '{"model_type": "resnet", "id2label": {"zero": "a"}}',
            r"could not be loaded from .* \(ValueError: invalid lit",
        ),
        ('{"model_type": 3}', "could not be loaded from"),
    ],
)
def test_damaged_configurations(content: str, message: str, sound: Path, tmp_path: Path) -> None:
    """Each has to end in a sentence that names the model and the file."""
    folder = edited(sound, tmp_path / "damaged", "config.json", content)
    for pretrained in (True, False):
        with pytest.raises(ValueError, match=message):
            load_classifier(folder, pretrained=pretrained)


def test_bytes_that_are_no_text(sound: Path, tmp_path: Path) -> None:
    """A download that was cut, or another file under this name."""
    folder = edited(sound, tmp_path / "damaged", "config.json", "")
    (folder / "config.json").write_bytes(b"\x80\x04\xff")
    with pytest.raises(ValueError, match="config.json of .* is no JSON"):
        load_classifier(folder)


def test_imagenet_21k_is_within_bounds(tmp_path: Path) -> None:
    """The largest label sets that are published have to pass: all names twice."""
    names = {str(number): f"class with a rather long and descriptive name {number}" for number in range(21_843)}
    content = {
        "id2label": names,
        "label2id": {name: int(number) for number, name in names.items()},
        "image_size": 1024,
    }
    (tmp_path / "config.json").write_text(json.dumps(content, indent=2))
    assert 1e6 < (tmp_path / "config.json").stat().st_size < LARGEST_JSON and MOST_CLASSES > 200_000
    assert read_description(str(tmp_path), "config.json") == content
    check_model_files(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"image_size": LARGEST_SIDE, "num_labels": MOST_CLASSES}))
    check_model_files(str(tmp_path))


@pytest.mark.parametrize("name", ["model.pth.tar", "model.pth", "pytorch_model.bin", "model.safetensors"])
def test_a_file_of_weights(name: str, sound: Path, tmp_path: Path) -> None:
    """What people have from other projects; which network it is of is not in it, and a pickle can run code."""
    path = tmp_path / name
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 2)}}, path)
    for load in (load_classifier, OnlineTeacher.from_pretrained, ExRepForImageClassification.from_backbone):
        with pytest.raises(ValueError, match=rf"{name}' is a file; expected .*checkpoint_path=.*save_for_hf\(model"):
            load(path)


def test_pickled_weights_in_a_folder(sound: Path, tmp_path: Path) -> None:
    """Tensors are read of `pytorch_model.bin`, and nothing that could run."""
    folder = edited(sound, tmp_path / "pickled", "README.md", "")
    expected = load_classifier(sound)
    (folder / "model.safetensors").unlink()
    torch.save(expected.state_dict(), folder / "pytorch_model.bin")
    loaded = load_classifier(folder)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in expected.state_dict().items())
    torch.save({"classifier.1.weight": Path("x")}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"could not be loaded from .* \(UnpicklingError: Weights only load failed"):
        load_classifier(folder)


def test_a_revision_of_a_folder(sound: Path) -> None:
    """The weights that lie there would be taken for those of the revision."""
    for load in (load_classifier, OnlineTeacher.from_pretrained):
        with pytest.raises(
            ValueError, match="The revision 'v2' was asked for, and '.*sound' is a folder.*Leave it out"
        ):
            load(sound, revision="v2")
    with pytest.raises(ValueError, match="'v2' was asked for, and .* is a folder"):
        ExRepForImageClassification.from_backbone(sound, revision="v2", pretrained=False)
    with pytest.raises(ValueError, match="'v2' was asked for with `pretrained=False`.*timm's own"):
        load_classifier("timm/test_resnet", pretrained=False, revision="v2")


KEYS = st.sampled_from(
    ["model_type", "num_labels", "id2label", "image_size", "hidden_sizes", "depths", "architectures"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["resnet", "vit"]),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=3), part, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40)
@given(changes=st.dictionaries(KEYS, VALUES, max_size=3))
def test_whatever_a_configuration_says(changes: dict[str, Any], sound: Path, tmp_path_factory: Any) -> None:
    """Loading succeeds, or ends in an error of ours."""
    folder = tmp_path_factory.mktemp("random")
    content = json.loads((sound / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(content))
    (folder / "model.safetensors").write_bytes((sound / "model.safetensors").read_bytes())
    try:
        load_classifier(folder)
    except ValueError as error:
        assert str(folder) in str(error)


def test_a_timm_folder_keeps_working(tmp_path: Path) -> None:
    """Its config.json has other names for the same things."""
    timm = pytest.importorskip("timm")
    save_for_hf(timm.create_model("test_resnet", num_classes=3), str(tmp_path), safe_serialization=True)
    assert load_classifier(tmp_path).config.num_labels == 3
