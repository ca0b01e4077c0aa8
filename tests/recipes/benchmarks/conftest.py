"""Images for benchmarks, as the real ones come."""

import gzip
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Fashion-MNIST's files, with noise in them."""
    folder, rng = tmp_path / "images", np.random.default_rng(0)
    folder.mkdir()
    for prefix, count in (("train", 140), ("t10k", 40)):
        for part, values in (
            ("images-idx3", rng.integers(0, 256, (count, 28, 28))),
            ("labels-idx1", np.arange(count) % 10),
        ):
            head = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
            (folder / f"{prefix}-{part}-ubyte.gz").write_bytes(gzip.compress(head + values.astype(np.uint8).tobytes()))
    return folder
