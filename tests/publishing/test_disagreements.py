"""Images about which teacher and student disagree, and that they stay where they are asked for."""

import base64
import io
import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from exrep_hf.commands.report import main
from exrep_hf.data import load_images
from exrep_hf.models import load_whole
from exrep_hf.publishing.claimed_images import own_parts
from exrep_hf.publishing.disagreements import find_disagreements
from exrep_hf.publishing.texts import read_results

CARDS = Path(__file__).parents[2] / "model_cards"
STUDENT, OTHER = CARDS / "digits", CARDS / "digits_plain"


def answers(folder: Path) -> tuple[list[int], list[int]]:
    """A network's classes of the test images, as transformers alone gives them, and the labels."""
    images = load_images("digits")["test"]
    processor = AutoImageProcessor.from_pretrained(folder)
    pixels = processor([image.convert("RGB") for image in images["image"]], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        logits = AutoModelForImageClassification.from_pretrained(folder).eval()(pixels).logits
    return logits.argmax(-1).tolist(), images["label"][:]


def test_counts_and_pictures() -> None:
    own, labels = answers(STUDENT)
    theirs, _ = answers(OTHER)
    differ = [row for row in range(len(labels)) if own[row] != theirs[row]]
    assert 2 < len(differ) < 100
    found = find_disagreements(STUDENT, str(OTHER), None, None, torch.device("cpu"), count=2)
    right = [sum(answer[row] == labels[row] for row in differ) for answer in (theirs, own)]
    assert found.told == (
        f"They differ on {len(differ)} of 450 images: the teacher is right about {right[0]} of these, the student "
        f"about {right[1]}."
    )
    assert len(found.images) == 2
    told = {(str(labels[row]), str(theirs[row]), str(own[row])) for row in differ}
    assert {(each.label, each.teacher, each.student) for each in found.images} <= told
    picture = Image.open(io.BytesIO(base64.b64decode(found.images[0].source.removeprefix("data:image/png;base64,"))))
    assert max(picture.size) == 96


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "page.html"
    main([str(STUDENT), "--with_images", "--teacher", str(OTHER), "--use_cpu", "--output", str(output)])
    page = output.read_text()
    assert len(re.findall('<img src="data:image/png;base64,', page)) > 2
    assert "Where teacher and student disagree" in page and str(tmp_path) not in page
    assert not (STUDENT / "images.html").exists()


def test_refusals() -> None:
    with pytest.raises(ValueError, match="does not lie beside it and has no weights on the Hub"):
        find_disagreements(STUDENT, None, None, None, torch.device("cpu"))
    with pytest.raises(ValueError, match="`teacher` is given without `with_images`"):
        main([str(STUDENT), "--teacher", str(OTHER)])
    with pytest.raises(ValueError, match="`teacher` is '.*' with 2 runs; expected one"):
        main([str(STUDENT), str(OTHER), "--output", "x.html", "--with_images", "--teacher", str(OTHER)])


def test_a_head_that_was_made_for_the_run(tmp_path: Path) -> None:
    """The network alone, which the results name, has none."""
    results = read_results(STUDENT)
    results["teacher"] |= {"name": "me/headless", "head": {"kind": "probe", "accuracy": 0.5, "images": 94}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(
        ValueError, match=r"'me/headless'\) was asked with a head .* \(probe\), and no linear one lies"
    ):
        find_disagreements(tmp_path, None, None, None, torch.device("cpu"))


def test_images_that_lie_where_the_card_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not opened because a card names them; what to say is said."""
    monkeypatch.chdir(tmp_path)
    results = read_results(OTHER)
    results["configuration"]["data"]["dataset"] = "shapes"
    with pytest.raises(ValueError, match="Give the place as `--dataset`"):
        own_parts(results, load_whole(str(OTHER)), None, None)
    (tmp_path / "shapes").mkdir()
    with pytest.raises(ValueError, match="If they are what lies here, add `--dataset shapes`"):
        own_parts(results, load_whole(str(OTHER)), None, None)
