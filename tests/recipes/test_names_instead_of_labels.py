"""The lines of the recipes' page about names of classes, run on images that lie in one folder."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exrep_hf.models import load_classifier
from exrep_hf.teacher.head_file import HEAD_NAME
from tests.text_towers import NAMES, save_towers

PAGE = (Path(__file__).parents[2] / "recipes" / "README.md").read_text(encoding="utf-8")


def test_images_without_labels_and_a_list_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "my_images").mkdir()
    for number in range(8):
        Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(tmp_path / f"my_images/{number}.png")
    save_towers("CLIP", tmp_path / "my_clip")
    load_classifier("timm/test_efficientnet", pretrained=False).save_pretrained(tmp_path / "my_backbone")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert '"out/named")' in code
    code = code.replace('"out/named")', '"out/named", max_steps=2, use_cpu=True, report_to="none")')
    variables: dict[str, Any] = {}
    exec(compile(code, "recipes/README.md", "exec"), variables)
    config = json.loads((tmp_path / "out/named/config.json").read_text())
    assert config.get("label_names") == NAMES or list(config["id2label"].values()) == NAMES
    assert (tmp_path / "out/named" / HEAD_NAME).is_file()
