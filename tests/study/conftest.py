"""What tests of published students share."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.study.test_study import run_study


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A study with a removable distiller, whose student is published in both variants."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("publishing") / "digits"
    return folder, run_study(folder, controls={}, num_seeds=1, distiller_share=0.5, push_code=True)
