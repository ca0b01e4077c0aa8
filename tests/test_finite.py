"""What is finite, and what is named."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from exrep_hf.finite import NonFiniteError, check_figures, check_files, largest, nonfinite

NAN_OF_A_BYTE = torch.tensor([0.0, math.nan]).to(torch.float8_e4m3fn)


def test_figures() -> None:
    check_figures({"a": [1.0, 2], "b": {"c": None, "d": "nan", "e": True}}, "the report")
    with pytest.raises(NonFiniteError, match=r"the report holds .*: `b.c\[1\]\[0\]` = inf; expected"):
        check_figures({"a": 1, "b": {"c": (1.0, [math.inf])}}, "the report")
    many = {str(number): math.nan for number in range(8)}
    with pytest.raises(NonFiniteError, match="`4` = nan, and 3 more"):
        check_figures(many, "the report")


def test_tensors() -> None:
    tensors = {
        "half": torch.tensor([1.0, math.inf], dtype=torch.float16),
        "largest": torch.tensor([torch.finfo(torch.float32).max]),
        "counts": torch.tensor([1, 2]),
        "byte": NAN_OF_A_BYTE,
        "empty": torch.empty(0),
    }
    assert nonfinite(tensors) == ["half", "byte"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_largest_value(value: float) -> None:
    """A sum would overflow where all values are finite, and a maximum alone would miss -inf."""
    values = torch.full((3, 1000), -torch.finfo(torch.float32).max)
    assert largest(values).isfinite()
    values[1, 500] = value
    assert not largest(values).isfinite()
    assert largest(values, dim=1).isfinite().tolist() == [True, False, True]


def test_files(tmp_path: Path) -> None:
    good, bad, foreign = (tmp_path / f"{name}.safetensors" for name in ("good", "bad", "foreign"))
    save_file({"a": torch.ones(3)}, good)
    save_file({"a": torch.ones(3), "b": torch.tensor([-math.inf])}, bad)
    foreign.write_bytes(b"weights")
    check_files([good], "Train again.")
    with pytest.raises(NonFiniteError, match=r"bad.safetensors' holds NaN .* 1 of 2 tensors \(b\); .*Train again."):
        check_files([good, bad], "Train again.")
    with pytest.raises(ValueError, match="foreign.safetensors' can't be read .*; expected safetensors. Train again."):
        check_files([foreign], "Train again.")
