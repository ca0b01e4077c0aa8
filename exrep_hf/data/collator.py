"""Items of a data set to the batch of one step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from exrep_hf.data.answers import ANSWERS
from exrep_hf.data.labels import MISSING
from exrep_hf.data.pixels import pixel_names
from exrep_hf.data.rows import check_index_batch

KEYS = ("labels", "sample_index", "view", *ANSWERS)
"""What a batch holds beside pixels."""


def collate_distillation(items: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Stack the items of any data set whose items are dicts with `pixel_values`.

    Args:
        items: dicts with `pixel_values` and any of `teacher_pixel_values` (or several sets of them), `labels` (or
            `label`), `sample_index`, `view`, `teacher_logits`, `teacher_features`; other keys are left out.

    Returns:
        a tensor `(batch, ...)` for each key; labels and indices are int64, shares of classes float32. A label that is
        None becomes -1.

    Raises:
        ValueError: if an item has no `pixel_values`, or items disagree in keys or shapes.
    """
    renamed = [{"labels" if key == "label" else key: value for key, value in item.items()} for item in items]
    renamed = [item | {"labels": MISSING} if item.get("labels", 0) is None else item for item in renamed]
    present = _known(renamed[0])
    for position, item in enumerate(renamed):
        if "pixel_values" not in item:
            raise ValueError(
                f"Item {position} of the batch has no 'pixel_values', only {sorted(items[position])}: wrap the data "
                "set in DistillationDataset, or return 'pixel_values' from its __getitem__."
            )
        if _known(item) != present:
            raise ValueError(
                f"Items of one batch disagree: item 0 has {present}, item {position} has {_known(item)}; every item "
                "must have the same keys."
            )
    return {key: _stacked(key, [item[key] for item in renamed]) for key in present}


def collate_numbered(
    items: Sequence[Mapping[str, Any]], collate: Callable[[Any], dict[str, Tensor]], num_samples: int
) -> dict[str, Tensor]:
    """Collate items that number themselves, and check the numbers while they are on the CPU.

    Args:
        items: of a data set that only yields them one by one.
        collate: makes the batch.
        num_samples: rows of the memory bank.

    Raises:
        ValueError: for a `sample_index` without a row.
    """
    batch = collate(items)
    if "sample_index" in batch:
        check_index_batch(batch["sample_index"], num_samples)
    return batch


def _known(item: Mapping[str, Any]) -> list[str]:
    return [*pixel_names(item), *(key for key in KEYS if key in item)]


def _stacked(key: str, values: list[Any]) -> Tensor:
    # Labels of mixed images are shares of the classes.
    shares = isinstance(values[0], Tensor) and values[0].is_floating_point() and values[0].ndim == 1
    whole = key in ("labels", "sample_index", "view") and not shares
    dtype = torch.int64 if whole else None
    try:
        if any(isinstance(value, Tensor) and value.dtype == torch.uint8 and value.ndim == 3 for value in values):
            return _stacked_pixels(values)
        if isinstance(values[0], Tensor):
            return torch.stack(values).to(dtype or values[0].dtype)
        return torch.stack([torch.as_tensor(value, dtype=dtype) for value in values])
    except (RuntimeError, TypeError, ValueError) as error:
        shapes = sorted({str(tuple(getattr(value, "shape", ()))) for value in values})
        raise ValueError(
            f"{key!r} cannot be stacked to one tensor: shapes {', '.join(shapes)} ({error}); every item must have a "
            "number or an array of the same shape."
        ) from error


def _stacked_pixels(values: list[Any]) -> Tensor:
    """Stack images `(channels, height, width)`, each pixel's channels side by side, as decoded images have them."""
    kinds = {getattr(value, "dtype", type(value).__name__) for value in values}
    if kinds != {torch.uint8}:
        # Stacked as they are, pixels would pass as values that are normalised.
        raise TypeError(f"of {', '.join(sorted(map(str, kinds)))}: some hold pixels, others normalised values")
    return torch.stack([value.permute(1, 2, 0) for value in values]).permute(0, 3, 1, 2)
