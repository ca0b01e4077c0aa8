"""Folders of others: what they say about themselves is read within bounds, wherever it is read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from exrep_hf.publishing import make_model_card
from exrep_hf.publishing.card_figures import are_all_ours, keep_entries, keep_eval_results, write_eval_results
from exrep_hf.publishing.claims import read_claims
from exrep_hf.publishing.student import check_student, student_files, write_card
from exrep_hf.publishing.texts import read_card
from exrep_hf.publishing.verify import verify_card
from tests.bounds import assert_refused
from tests.publishing.test_claims import FIGURES
from tests.test_untrusted import BOMB, MERGED, device, huge, pipe, text

Make = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path: Path, results: dict[str, Any]) -> Path:
    """A student's texts, without weights: all of this is refused before any are loaded."""
    student = tmp_path / "student"
    student.mkdir()
    (student / "results.json").write_text(json.dumps(results))
    make_model_card(results, "me/student").save(student / "README.md")
    write_eval_results(student, "me/images", "test", FIGURES, 450)
    for name in ("config.json", "preprocessor_config.json"):
        (student / name).write_text("{}")
    save_file({"a": torch.ones(3)}, student / "model.safetensors")
    return student


def leading_out(path: Path) -> None:
    secret = path.parents[len(path.parents) - 1] / "etc" / "hostname"
    path.symlink_to(secret)


def metadata(content: str) -> Make:
    return text(f"---\n{content}\n---\n# student\n")


NAMES = ("README.md", ".eval_results/images.yaml", ".eval_results/more.txt", "results.json")
ANY: list[tuple[Make, str]] = [
    (pipe, "is no regular file"),
    (device, "leads out of its folder"),
    (leading_out, "leads out of its folder"),
    (huge, "bytes; expected at most"),
    (Path.mkdir, "is no regular file"),
    (text(b"\xff\xfe"), "is no text"),
]
CASES = [(name, make, told) for name in NAMES for make, told in ANY]
CASES += [("README.md", metadata(content), told) for content, told in ((BOMB, "aliases"), (MERGED, "aliases"))]
CASES += [
    ("README.md", metadata("- " * 50000), "nested more than 64 deep"),
    ("README.md", metadata("a: " + "b" * 200_000), "characters of YAML; expected at most"),
    ("README.md", metadata("1: 2"), "no mapping from names"),
    (".eval_results/images.yaml", text(BOMB.replace("a0:", "- a0:").replace("\n", "\n  ")), "aliases"),
    (
        ".eval_results/images.yaml",
        text("- {dataset: {id: a, task_id: b}, value: " + "1" * 4000 + "}"),
        "figure is inf",
    ),
    (".eval_results/images.yaml", text("- {dataset: {id: a, task_id: b}, value: 1e400}"), "figure is inf|1e400"),
    (".eval_results/images.yaml", text("- {dataset: {id: a, task_id: b}, value: .nan}"), "figure is nan"),
    (".eval_results/images.yaml", text("- 5"), "no list of results"),
    ("results.json", text("[" * 10**5), "is no JSON that can be read"),
    ("results.json", text("[]"), "holds a list; expected a mapping"),
    ("results.json", text('{"a":' * 60 + '{"b": [1]}' + "}" * 60), "KeyError"),
]


@pytest.mark.parametrize(("name", "make", "told"), CASES)
def test_verifying(name: str, make: Make, told: str, folder: Path) -> None:
    path = folder / name
    path.unlink(missing_ok=True)
    make(path)
    assert_refused(lambda: verify_card(str(folder)), told)


def test_numbers_that_are_too_large(folder: Path, results: dict[str, Any]) -> None:
    """JSON has no bounds for numbers, and Python reads them as infinite."""
    written = json.dumps(results).replace('"published": {', '"published": {"accuracy": 1e400, ', 1)
    assert json.loads(written)["published"]["accuracy"] == 0.85
    (folder / "results.json").write_text(
        json.dumps(results | {"published": results["published"] | {"accuracy": 10**400}})
    )
    assert_refused(lambda: verify_card(str(folder)), r"no readable `results.json` \(OverflowError")


@pytest.mark.parametrize(("make", "told"), ANY)
def test_publishing(make: Make, told: str, folder: Path) -> None:
    """Who publishes a folder that was sent publishes what its links lead to."""
    student_files(folder)
    for name in ("README.md", ".eval_results/images.yaml", "results.json"):
        path = folder / name
        kept = path.read_bytes()
        path.unlink()
        make(path)
        assert_refused(lambda: check_student(folder), f"{told}|it has no {name}")
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        path.write_bytes(kept)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(folder.parent / "elsewhere")
    (folder.parent / "elsewhere").touch()
    with pytest.raises(ValueError, match="model.safetensors' is a link that leads out of its folder"):
        student_files(folder)


def test_taking_over(folder: Path, tmp_path: Path) -> None:
    """What a repository holds besides is written by whoever may write there."""
    there = tmp_path / "there.yaml"
    there.write_text(f"a:\n{BOMB}")
    mine = folder / ".eval_results" / "images.yaml"
    for call in (lambda: keep_eval_results(mine, there), lambda: are_all_ours(there)):
        assert_refused(call, "aliases")
    card = tmp_path / "there.md"
    card.write_text(f"---\n{BOMB}\n---\n")
    assert_refused(lambda: keep_entries(folder / "README.md", card), "aliases")
    huge(folder / "results.json")
    assert_refused(lambda: write_card(folder, "me/student"), "bytes; expected at most")


def test_many_files_of_results(folder: Path) -> None:
    for number in range(101):
        (folder / ".eval_results" / f"{number}.yaml").touch()
    with pytest.raises(ValueError, match="holds 102 files; expected at most 100"):
        read_claims(folder)


def test_cards_of_the_hub_s_form(tmp_path: Path) -> None:
    """Line ends of Windows, a mark of byte order, and no metadata at all."""
    path = tmp_path / "README.md"
    path.write_bytes("\ufeff---\r\nlicense: mit\r\n---\r\n# a\r\n".encode())
    assert (read_card(path).metadata, read_card(path).text) == ({"license": "mit"}, "# a\r\n")
    path.write_text("# a\n---\nb\n---\n")
    assert (read_card(path).metadata, read_card(path).text) == ({}, "# a\n---\nb\n---\n")
    path.write_text("---\n\n---\ntext")
    assert (read_card(path).metadata, read_card(path).text) == ({}, "text")
