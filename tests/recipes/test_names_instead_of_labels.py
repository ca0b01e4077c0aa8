"""The lines of the recipes' page about names of classes, run on images that lie in one folder."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exrep_hf.cli import parse_caching_settings, parse_settings
from exrep_hf.models import load_classifier
from exrep_hf.study import Study
from exrep_hf.study.caching import cache_teacher
from exrep_hf.teacher.head_file import HEAD_NAME
from tests.text_towers import NAMES, save_towers

PAGE = (Path(__file__).parents[2] / "recipes" / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a teacher and a student."""
    save_towers("CLIP", tmp_path / "my_clip")
    load_classifier("timm/test_efficientnet", pretrained=False).save_pretrained(tmp_path / "my_backbone")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save_images(folder: Path, count: int) -> None:
    rng = np.random.default_rng(len(str(folder)))
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(folder / f"{number}.png")


def test_the_command(workplace: Path) -> None:
    """Training images lie in one folder; only those that students are evaluated on have labels."""
    save_images(workplace / "my_images" / "train", 12)
    for name in NAMES:
        save_images(workplace / "my_images" / "test" / name, 2)
    (command,) = re.findall(
        r"recipes/train\.py (--dataset my_images/ --teacher openai.*?out/named)\n", PAGE, re.DOTALL
    )
    flags = shlex.split(command.replace("\\\n", " ").replace("blurry ", "").replace("my_student/", "my_backbone"))
    flags[flags.index("openai/clip-vit-base-patch32")] = "my_clip"
    quick = ["--max_steps", "2", "--use_cpu", "--controls", "none", "--class_names", *NAMES]
    results = Study(parse_settings([*flags, *quick], workplace)).run()
    assert results["teacher"]["head"]["prompts"] == ["a photo of a {}.", "a photo of a {}."]
    assert results["teacher"]["head"]["words"] == NAMES and results["teacher"]["accuracy"] is not None
    caching = ["--dataset", "my_images/train", "--teacher", "my_clip", "--teacher_head", "text", "--use_cpu"]
    caching += ["--class_names", *NAMES, "--output_dir", "answers"]
    stored = cache_teacher(parse_caching_settings(caching))
    assert stored.id2label == dict(enumerate(NAMES))


def test_images_without_labels_and_a_list_of_names(workplace: Path) -> None:
    save_images(workplace / "my_images", 8)
    snippets = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    (code,) = [snippet for snippet in snippets if "class_names" in snippet]
    assert '"out/named")' in code
    code = code.replace('"out/named")', '"out/named", max_steps=2, use_cpu=True, report_to="none")')
    variables: dict[str, Any] = {}
    exec(compile(code, "recipes/README.md", "exec"), variables)
    config = json.loads((workplace / "out/named/config.json").read_text())
    assert config.get("label_names") == NAMES or list(config["id2label"].values()) == NAMES
    assert (workplace / "out/named" / HEAD_NAME).is_file()
