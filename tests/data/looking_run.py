"""One of two processes that look at images together: for `test_image_looks.py`."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
from accelerate import PartialState

from exrep_hf.data import image_looks
from exrep_hf.data.checks import inspect_images
from exrep_hf.data.image_looks import look_at_images

from .test_image_looks import in_files


def run(rank: int, folder: str) -> None:
    """Look twice, and write what was found and how much was decoded."""
    assert PartialState(cpu=True).num_processes == 2
    datasets.config.HF_DATASETS_CACHE = Path(folder) / "kept"
    looked: list[int] = []

    def counted(dataset: Any, *rest: Any) -> Any:
        looked.append(len(dataset))
        return inspect_images(dataset, *rest)

    image_looks.inspect_images = counted  # type: ignore[assignment]
    first = look_at_images(in_files(Path(folder)), "image", "all")
    again = look_at_images(in_files(Path(folder)), "image", "all")
    assert first.digests == again.digests and [row for row, _ in again.broken] == [row for row, _ in first.broken]
    np.savez(
        Path(folder) / f"found-{rank}.npz",
        looked=looked,
        broken=[row for row, _ in first.broken],
        digests=[digest.hex() for digest in first.digests],
    )
    PartialState().destroy_process_group()
