"""Terms of the user's own, as settings."""

from pathlib import Path
from typing import Any

import pytest

from exrep_hf import DistillationArguments
from exrep_hf.arguments.terms import read_terms


def test_settings_in_full() -> None:
    """YAML and mappings are read alike, and once read stay as they are."""
    read = read_terms("{dist: {class: DISTLoss}, mine: {class: 'a.b:C.D', weight: {x: 1, y: 0.5}, needs: labels}}")
    assert read == {
        "dist": {"class": "DISTLoss", "weight": 1.0},
        "mine": {"class": "a.b:C.D", "weight": {"x": 1, "y": 0.5}, "needs": ["labels"]},
    }
    assert read_terms(read) == read
    assert read_terms(None) is None and read_terms({}) is None and read_terms("{}") is None
    given = {"a": {"class": "C", "arguments": {"beta": 2}}}
    assert read_terms(given) == {"a": {"class": "C", "weight": 1.0, "arguments": {"beta": 2}}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1], r"`terms` is \[1\]; expected a mapping"),
        ("{a: 1, a: 2}", "`a` stands twice"),
        ({"dist": "DISTLoss"}, "`terms.dist` is 'DISTLoss'; expected a mapping with `class`"),
        ({"dist": {"weight": 1.0}}, "expected a mapping with `class`, and any of `weight`, `needs`, `arguments`"),
        ({"dist": {"class": "C", "wieght": 1.0}}, "expected a mapping with `class`"),
        ({"dist": {"class": "a b:C"}}, "`terms.dist.class` is 'a b:C'; expected `module:Class`"),
        ({"dist": {"class": "../x:C"}}, "`terms.dist.class` is '../x:C'"),
        ({"dist": {"class": "C", "arguments": [1]}}, r"`terms.dist.arguments` is \[1\]; expected a mapping"),
        ({"dist": {"class": "C", "needs": ["x"]}}, r"`terms.dist.needs` is \['x'\]; expected some of labels"),
        ({"crd": {"class": "C"}}, "`terms` is 'crd'; expected other names"),
        ({1: {"class": "C"}}, "`terms` is 1; expected names"),
    ],
)
def test_bad_settings(given: Any, message: str) -> None:
    """A misspelt key must not be a term with other settings."""
    with pytest.raises(ValueError, match=message):
        read_terms(given)


@pytest.mark.parametrize(
    ("needs", "logits", "features", "labels"),
    [(None, True, False, False), (["labels"], False, False, True), (["teacher_features"], False, True, False)],
)
def test_what_a_run_needs(needs: Any, logits: bool, features: bool, labels: bool, tmp_path: Path) -> None:
    """A teacher that only an own term asks is asked, and labels that only it looks at are there."""
    term = {"class": "C"} | ({} if needs is None else {"needs": needs})
    args = DistillationArguments(
        output_dir=str(tmp_path), kd_weight=0.0, feature_weight=0.0, terms={"mine": term}, report_to="none"
    )
    args.check_has_terms()
    found = (args.needs_logits, args.needs_features, args.needs_labels, args.needs_teacher)
    assert found == (logits, features, labels, logits or features)
