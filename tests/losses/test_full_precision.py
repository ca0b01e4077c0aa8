"""Products in float32 under settings that round them."""

from typing import Any

import pytest
import torch

from exrep_hf.losses.full_precision import full_precision


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_settings_inside_and_afterwards(precision: str) -> None:
    """A benchmark that multiplies in TF32 would otherwise give scores in TF32, or a loss would slow the whole run."""
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError), full_precision():
                assert torch.backends.cuda.matmul.fp32_precision == "ieee"
                assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"  # type: ignore[attr-defined]
                _ = 1 / 0
            assert torch.get_float32_matmul_precision() == precision
            assert torch.backends.cuda.matmul.allow_tf32 == (precision != "highest")
    finally:
        torch.set_float32_matmul_precision(before)


def test_one_setting_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases of torch before 2.9 have no setting for each kind of device."""
    monkeypatch.setattr(torch.backends.cuda, "matmul", object())
    set_to: list[str] = []
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    monkeypatch.setattr(torch, "set_float32_matmul_precision", set_to.append)
    with full_precision():
        assert set_to == ["highest"]
    assert set_to == ["highest", "medium"]


def test_what_followed_another_setting_still_does() -> None:
    """A run without TF32, after one with it, has none in its products either."""
    backends: Any = torch.backends
    matmul = backends.cuda.matmul
    before = backends.fp32_precision, matmul.fp32_precision
    try:
        matmul.fp32_precision = "none"
        backends.fp32_precision = "tf32"
        with full_precision():
            assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == "tf32"
        backends.fp32_precision = "ieee"
        assert matmul.fp32_precision == "ieee"
    finally:
        backends.fp32_precision, matmul.fp32_precision = before
