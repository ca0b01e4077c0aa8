"""Costs against counts by hand."""

import copy

import pytest
import torch
from torch import nn

from exrep_hf.evaluation import count_macs, count_parameters, images_per_second, inference_cost


class Slow(nn.Module):
    """Takes a known time for each batch by a clock of its own: a second for each of the first two, then 20 ms."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.batches, self.clock = 0, 0.0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches += 1
        self.clock += 1.0 if self.batches <= 2 else 0.02
        return images * self.scale


def test_macs_and_parameters_by_hand() -> None:
    """Counting FLOPs as MACs would double every cost; grouped convolutions are the usual slip."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )
    assert count_macs(model, (3, 12, 10)) == 120 * (8 * 3 * 9 + 8 * 9) + 80
    assert count_parameters(model) == 8 * 3 * 9 + 8 * 9 + 80 + 10


def test_training_mode_is_left_as_it_was() -> None:
    """Measuring a model in the middle of training must not switch its BatchNorm to evaluation."""
    norm = nn.BatchNorm2d(4)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), norm).train()
    before = copy.deepcopy(norm.state_dict())
    inference_cost(model, (3, 8, 8))
    assert model.training
    assert norm.training
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


def test_throughput_of_a_known_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images, not batches, a second; the first batches, which lay out memory, don't count."""
    model = Slow()
    monkeypatch.setattr("time.perf_counter", lambda: model.clock)
    measured = images_per_second(model, (3, 4, 4), batch_size=4, seconds=0.1)
    assert measured == pytest.approx(4 / 0.02)
    # Two of a second each that are not timed, then as many as fill the time.
    assert model.batches in (2 + 5, 2 + 6)
