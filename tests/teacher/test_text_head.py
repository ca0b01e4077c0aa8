"""Heads that are made of what classes are called: their answers are the model's own."""

import dataclasses
import gc
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModel, AutoTokenizer, CLIPModel, CLIPVisionModel

from exrep_hf import CachedTeacher, OnlineTeacher
from exrep_hf.data.class_names import words_for
from exrep_hf.models import TwoTowers
from exrep_hf.teacher import TextClasses, TextTeacher, fitted_head, make_text_head, teacher_names
from exrep_hf.teacher.head import head_in_words
from exrep_hf.teacher.head_file import HEAD_NAME, load_text_head, save_text_head
from exrep_hf.teacher.text_head import text_fingerprint
from tests.families import SIZE, naflex, of_transformers
from tests.text_towers import NAMES, save_tokenizer, save_towers, zero_shot_logits
from tests.training.conftest import image_rows

USUAL = {"CLIP": "a photo of a {}.", "Siglip": "This is a photo of {}.", "AltCLIP": "a photo of a {}."}
IMAGES = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {family: save_towers(family, tmp_path_factory.mktemp(family)) for family in (*USUAL, "Aimv2")}


def teacher_of(folder: str, prompts: list[str] | None = None, **options: Any) -> TextTeacher:
    source = OnlineTeacher.from_pretrained(folder, **options)
    return TextTeacher(source, make_text_head(source, TextClasses(NAMES, prompts)))


@pytest.mark.parametrize("family", ["CLIP", "Siglip", "AltCLIP", "Aimv2"])
def test_answers_are_the_models_own(folders: dict[str, str], family: str) -> None:
    """With the prompt that transformers takes for it; features stay those of the vision tower, of one forward."""
    folder, prompt = folders[family], USUAL.get(family, "a photo of a {}.")
    teacher = teacher_of(folder)
    assert teacher.head.prompts == (prompt,)
    calls: list[Any] = []
    (tower,) = teacher.networks()
    tower.register_forward_hook(lambda *args: calls.append(args[1][0].shape if args[1] else "named"))
    answer = teacher({"pixel_values": IMAGES})
    assert len(calls) == 1
    assert answer.logits is not None and answer.features is not None
    expected = zero_shot_logits(folder, [prompt.replace("{}", name) for name in NAMES], IMAGES)
    torch.testing.assert_close(answer.logits, expected, atol=1e-5, rtol=1e-5)
    assert expected.std(1).min() > 1e-3
    torch.testing.assert_close(answer.features, teacher.source({"pixel_values": IMAGES}).features, atol=0, rtol=0)
    assert dict(teacher.id2label) == dict(enumerate(NAMES)) and teacher.num_labels == 3
    assert teacher_names(teacher) == [folder]


def test_siglip_reads_lower_case(folders: dict[str, str]) -> None:
    """It has seen nothing else in training, and its fast tokenizers don't see to it."""
    siglip, clip = TwoTowers(folders["Siglip"]), TwoTowers(folders["CLIP"])
    prompts = ["This is a photo of {}."]
    lower, upper = (siglip.weights([word, "dog"], prompts).weight for word in ("cat", "Cat"))
    assert torch.equal(lower, upper)
    with pytest.raises(ValueError, match="can't tell from 'cat' the class 'Cat'"):
        siglip.weights(["cat", "Cat"], prompts)
    assert not torch.equal(*(clip.weights([word, "dog"], ["a photo of {}."]).weight for word in ("cat", "Cat")))


def test_several_prompts_are_a_mean_of_directions(folders: dict[str, str]) -> None:
    folder, prompts = folders["CLIP"], ["a photo of a {}.", "this is a small {} ."]
    found = teacher_of(folder, prompts)({"pixel_values": IMAGES}).logits
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    directions = torch.zeros(3, 8)
    with torch.no_grad():
        for prompt in prompts:
            tokens = tokenizer([prompt.format(name) for name in NAMES], padding=True, return_tensors="pt")
            directions += F.normalize(model.get_text_features(**tokens).pooler_output, dim=-1) / len(prompts)
        images = F.normalize(model.get_image_features(pixel_values=IMAGES).pooler_output, dim=-1)
        expected = model.logit_scale.exp() * images @ F.normalize(directions, dim=-1).T
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_text_tower_is_let_go(folders: dict[str, str]) -> None:
    teacher = teacher_of(folders["CLIP"])
    gc.collect()
    kept = [each for each in gc.get_objects() if type(each) is CLIPModel]
    assert not kept and isinstance(teacher.source, OnlineTeacher)
    held = sum(each.numel() for each in teacher.source.model.parameters())
    whole = sum(each.numel() for each in AutoModel.from_pretrained(folders["CLIP"]).parameters())
    assert held < whole / 1.5


def test_half_precision_and_parts_of_a_batch(folders: dict[str, str]) -> None:
    """The vision tower may be in another type; texts are read in float32 all the same."""
    whole = teacher_of(folders["CLIP"])
    half = teacher_of(folders["CLIP"], dtype=torch.bfloat16, batch_size=3)
    for mine, theirs in zip(half._tensors(), whole._tensors(), strict=True):
        assert torch.equal(mine, theirs)
    answers = [teacher({"pixel_values": IMAGES}).logits for teacher in (half, whole)]
    assert answers[0] is not None and answers[0].dtype == torch.float32
    torch.testing.assert_close(*answers, atol=0.3, rtol=0.1)


def test_the_file(folders: dict[str, str], tmp_path: Path) -> None:
    teacher, path = teacher_of(folders["CLIP"]), tmp_path / HEAD_NAME
    teacher.save_head(path)
    found = load_text_head(path, teacher.head)
    assert torch.equal(found.weights.weight, teacher.head.weights.weight)
    assert found.weights.projection is not None
    teacher.head = found
    nameless = dataclasses.replace(teacher.head, prompts=("this is a {}.",))
    with pytest.raises(ValueError, match=r"its `prompts` are \['a photo of a {}.'\], and \['this is a {}.'\] now"):
        load_text_head(path, nameless)
    assert text_fingerprint(nameless) != text_fingerprint(found)
    siglip = teacher_of(folders["Siglip"])
    save_text_head(siglip.head, path)
    assert load_text_head(path, siglip.head).weights.projection is None
    with pytest.raises(ValueError, match="it holds .*; expected .*Remove it to have it made again"):
        load_text_head(path, teacher.head)
    with pytest.raises(ValueError, match="takes features of width 16, and the teacher's are 14 wide"):
        TextTeacher(OnlineTeacher(of_transformers("ViTModel")), found)


def test_facts_and_card(folders: dict[str, str]) -> None:
    teacher = teacher_of(folders["CLIP"])
    facts = fitted_head(teacher)
    assert facts is not None and len(facts.pop("sha256")) == 64
    assert facts == {"kind": "text", "prompts": ["a photo of a {}."], "words": NAMES}
    told = head_in_words(facts | {"words": [f"w`{number}\n" for number in range(7)]})
    assert told is not None
    assert told.startswith("cosines of its images to its texts about 7 classes (`w'0`, `w'1`, ")
    assert told.endswith(" and 2 more), with the prompt `a photo of a {}.`; nothing was fitted")
    other = teacher_of(folders["CLIP"], ["this is a {}."])
    assert other.fingerprint != teacher.fingerprint != teacher.source.fingerprint


def test_answers_are_stored_with_the_head(folders: dict[str, str], tmp_path: Path) -> None:
    teacher = teacher_of(folders["CLIP"])
    images = image_rows(6).remove_columns("label")
    stored = CachedTeacher.write(teacher, images, tmp_path / "answers")
    assert stored.id2label == dict(enumerate(NAMES)) and fitted_head(stored) == teacher.facts()
    assert load_text_head(tmp_path / "answers" / HEAD_NAME, teacher.head).words == teacher.head.words
    other = teacher_of(folders["CLIP"], ["this is a {}."])
    with pytest.raises(ValueError, match="a photo of a {}"):
        CachedTeacher.write(other, images, tmp_path / "answers")


def refused(folder: str | None, match: str, names: Any = NAMES, prompts: Any = None, source: Any = None) -> None:
    with pytest.raises(ValueError, match=match):
        made = source or OnlineTeacher.from_pretrained(str(folder))
        make_text_head(made, TextClasses(names, prompts))


def test_what_can_not_be_made(folders: dict[str, str], tmp_path: Path) -> None:
    clip, instead = folders["CLIP"], "`teacher_head='probe'`"
    refused(clip, f"neither the images nor the student name their classes.*`class_names`.*{instead}", None)
    refused(clip, r"hold \['Cat', 'cat'\] with the same words.*`class_names`", ["Cat", "dog", "cat"])
    refused(clip, "expected at least two", ["cat"])
    refused(clip, "`prompts` holds 'a photo'; expected a text with one `{}`", prompts=["a {}", "a photo"])
    refused(clip, r"`prompts` is 'a \{\}'; expected a list", prompts="a {}")
    refused(clip, r"`prompts` is \[\]; expected a list", prompts=[])
    refused(clip, "does not know the class 'zebra'", ["cat", "zebra"])
    refused(clip, "can't tell from 'small zebra' the class 'small horse'", ["small zebra", "small horse"])
    refused(clip, "has 12 tokens, and the text tower .* reads at most 9", prompts=["a photo of a photo of a {} . ."])
    own = CLIPVisionModel.from_pretrained(clip)
    own.save_pretrained(tmp_path / "vision")
    refused(str(tmp_path / "vision"), f"of the type 'clip_vision_model', which has no text tower.*{instead}")
    of_other_words = OnlineTeacher.from_pretrained(clip, features="cls")
    refused(None, "gives other features than it pools .*`teacher_features` 'own'", source=of_other_words)
    tuned = CLIPVisionModel.from_pretrained(clip)
    tuned.post_layernorm.bias.data.add_(1)
    refused(None, "is not the vision tower that .* holds", source=OnlineTeacher(tuned))
    nowhere = OnlineTeacher(of_transformers("CLIPVisionModel"))
    refused(None, f"its text tower can't be found.*--teacher_head text.*{instead}", source=nowhere)


@pytest.mark.parametrize(("family", "message"), [("CLIP", "does not know the class"), ("Siglip", "has no tokenizer")])
def test_a_folder_without_a_tokenizer(family: str, message: str, tmp_path: Path) -> None:
    """Of some families transformers makes one without words then, to which all classes are the same."""
    folder = save_towers(family, tmp_path / family, tokenizer=False)
    refused(folder, f"{message}.*tokenizer.json", ["cat", "zebra"])


def test_weights_that_are_not_there(folders: dict[str, str], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["CLIP"], tmp_path / "half")
    model = CLIPModel.from_pretrained(folder)
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("text_model")}
    model.save_pretrained(folder, state_dict=state)
    refused(str(folder), "no weights for text_model")
    with pytest.raises(ValueError, match="patches"):
        naflex().save_pretrained(tmp_path / "naflex")
        OnlineTeacher.from_pretrained(tmp_path / "naflex")


def test_a_model_that_compares_in_its_own_way(folders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def doubled(self: Any, *args: Any, **options: Any) -> Any:
        output = forward(self, *args, **options)
        output.logits_per_image = 2 * output.logits_per_image
        return output

    forward = CLIPModel.forward
    monkeypatch.setattr(CLIPModel, "forward", doubled)
    with pytest.raises(ValueError, match="CLIPModel, which compares images and texts in a way of its own"):
        TwoTowers(folders["CLIP"]).weights(NAMES, ["a photo of a {}."])


def test_words_for_names() -> None:
    assert words_for(["golden_retriever", "tench, Tinca tinca"]) == ["golden retriever", "tench"]
    assert words_for(["n01440764", "pasta, dry", "pasta, fresh", "n99999999"]) == [
        *("tench", "pasta, dry", "pasta, fresh", "n99999999"),
    ]
    cranes = words_for(["n02012849", "n03126707"])
    assert cranes[0].startswith("crane, large long-necked") and cranes[1].startswith("crane, lifts")


def test_the_tokenizer_of_another_vocabulary(folders: dict[str, str], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["CLIP"], tmp_path / "other")
    save_tokenizer(folder, [*(f"word{number}" for number in range(30)), "<pad>", "<s>", "</s>", "<unk>", *NAMES])
    refused(str(folder), "does not know the class 'cat'")
