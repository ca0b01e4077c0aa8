"""What a term may be."""

from typing import Any, cast

import pytest
from torch import nn

from exrep_hf import Term
from exrep_hf.losses import DISTLoss, DKDLoss
from exrep_hf.losses.term import check_terms


class Silent(nn.Module):
    """Says nothing of what it needs."""


def test_what_is_needed() -> None:
    """What the user says goes before the class, and that before what most terms need."""
    assert Term(DKDLoss()).needed == ("teacher_logits", "labels")
    assert Term(Silent()).needed == ("teacher_logits",)
    assert Term(DKDLoss(), needs=("sample_index",)).needed == ("sample_index",)
    assert Term(Silent(), needs=()).needed == ()


def test_description() -> None:
    """Settings, results and cards name the class and its weight."""
    described = Term(DISTLoss(), 0.5).described()
    assert described == {"class": "exrep_hf.losses.dist:DISTLoss", "weight": 0.5, "needs": ["teacher_logits"]}
    assert Term(DISTLoss(), {"a": 1.0, "b": 2}).described()["weight"] == {"a": 1.0, "b": 2}


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([Term(Silent())], "expected a mapping from name to `Term"),
        ({"dist": DISTLoss()}, "expected a mapping from name to `Term"),
        ({"Dist": Term(Silent())}, "`terms` is 'Dist'; expected names of at most 32 small letters"),
        ({"a/b": Term(Silent())}, "`terms` is 'a/b'; expected names"),
        ({"kd": Term(Silent())}, "`terms` is 'kd'; expected other names than ce, kd"),
        ({"critic": Term(Silent())}, "`terms` is 'critic'; expected other names"),
        ({"mine": Term(cast(Any, len))}, "The term `mine` has a builtin_function_or_method; expected a `torch.nn.M"),
        ({"mine": Term(Silent(), -1.0)}, "`terms.mine.weight` is -1.0; expected a finite number ≥ 0"),
        ({"mine": Term(Silent(), float("nan"))}, "`terms.mine.weight` is nan"),
        ({"mine": Term(Silent(), {})}, "`terms.mine.weight` is {}; expected a number, or a weight for each part"),
        ({"mine": Term(Silent(), cast(Any, {"a": "1"}))}, "`terms.mine.weight.a` is '1'"),
        ({"mine": Term(Silent(), needs=("logits",))}, r"needs` is \('logits',\); expected some of labels"),
    ],
)  # fmt: skip
def test_bad_terms(terms: Any, message: str) -> None:
    """Before anything is loaded, naming the term."""
    with pytest.raises(ValueError, match=message):
        check_terms(terms)
