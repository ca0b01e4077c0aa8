from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PILImage
from torch.utils.data import DataLoader

from exrep_hf.data.augmentation import Augmentation, ViewTransform
from exrep_hf.data.collator import collate_distillation
from exrep_hf.data.datasets import DistillationDataset
from exrep_hf.data.preprocessing import Preprocessing

STUDENT = Preprocessing(8, 8, None, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
TEACHER = Preprocessing(16, 16, None, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture
def rows(tmp_path: Path) -> Dataset:
    """Ten image files of constant level 10 * row, label row % 3."""
    files = []
    for row in range(10):
        files.append(str(tmp_path / f"image_{row}.png"))
        PILImage.fromarray(np.full((40, 40), 10 * row, dtype=np.uint8)).save(files[-1])
    features = Features({"image": Image(), "label": ClassLabel(num_classes=3)})
    return Dataset.from_dict({"image": files, "label": [row % 3 for row in range(10)]}, features=features)


def test_items_belong_to_their_row(rows: Dataset) -> None:
    """Prevents a sample_index or label that belongs to another image: the memory bank would learn nonsense."""
    data = DistillationDataset(rows, ViewTransform(STUDENT, [TEACHER]), "image", "label")
    assert len(data) == 10
    for index, item in [(4, data[4]), (9, data[-1]), *zip((7, 2), data.__getitems__([7, 2]), strict=True)]:
        assert set(item) == {"pixel_values", "teacher_pixel_values", "labels", "sample_index"}
        assert torch.allclose(item["pixel_values"], torch.full((3, 8, 8), index / 25.5), atol=1e-6)
        assert item["teacher_pixel_values"].shape == (3, 16, 16)
        assert (item["labels"], item["sample_index"]) == (index % 3, index)


def test_positions_count_in_the_selected_data(rows: Dataset) -> None:
    """Prevents a sample_index beyond the bank after rows were left out."""
    data = DistillationDataset(rows.select([5, 8]), ViewTransform(STUDENT), "image")
    assert [item["sample_index"] for item in data.__getitems__([0, 1])] == [0, 1]
    assert float(data[1]["pixel_values"].mean()) == pytest.approx(80 / 255)
    assert set(data[1]) == {"pixel_values", "sample_index"}
    assert data.labels is None
    assert DistillationDataset(rows.select([5, 7]), ViewTransform(STUDENT), "image", "label").labels == [2, 1]


def test_formats_of_the_data_set_do_not_leak_in(rows: Dataset) -> None:
    """Prevents tensors or arrays in place of images where the user had set a format."""
    data = DistillationDataset(rows.with_format("torch"), ViewTransform(STUDENT), "image", "label")
    assert float(data[3]["pixel_values"].mean()) == pytest.approx(30 / 255)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_works_in_a_data_loader(num_workers: int, rows: Dataset) -> None:
    """Prevents batches in another order, or a data set that workers cannot receive."""
    data = DistillationDataset(rows, ViewTransform(STUDENT, [TEACHER], Augmentation()), "image", "label")
    loader: DataLoader = DataLoader(data, batch_size=4, num_workers=num_workers, collate_fn=collate_distillation)
    batches = list(loader)
    assert [tuple(batch["teacher_pixel_values"].shape) for batch in batches] == [
        (4, 3, 16, 16),
        (4, 3, 16, 16),
        (2, 3, 16, 16),
    ]
    assert torch.cat([batch["sample_index"] for batch in batches]).tolist() == list(range(10))
    levels = torch.cat([batch["pixel_values"] for batch in batches]).mean((1, 2, 3)) * 25.5
    assert torch.allclose(levels, torch.arange(10.0), atol=1e-4)


def damage(file: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    PILImage.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[:500])


def test_broken_image_names_row_and_file(rows: Dataset, tmp_path: Path) -> None:
    """Prevents an error that leaves the user to search a million files."""
    damage(tmp_path / "image_6.png")
    (tmp_path / "image_2.png").write_bytes(b"not an image")
    data = DistillationDataset(rows, ViewTransform(STUDENT), "image", "label")
    with pytest.raises(ValueError, match=r"row 6 \(.*image_6\.png\) cannot be decoded.*--skip_broken_images"):
        data.__getitems__([0, 6, 1])
    with pytest.raises(ValueError, match=r"row 2 \(.*image_2\.png\) cannot be decoded"):
        data[2]
    assert data[5]["sample_index"] == 5


def test_missing_image_names_its_row() -> None:
    """Prevents an AttributeError of None."""
    picture = PILImage.fromarray(np.zeros((2, 2), dtype=np.uint8))
    rows = Dataset.from_dict({"image": [picture, None]}, features=Features({"image": Image()}))
    with pytest.raises(ValueError, match="row 1 cannot be decoded: there is no image"):
        DistillationDataset(rows, ViewTransform(STUDENT), "image")[1]


def test_position_outside_the_data(rows: Dataset) -> None:
    """Prevents a wrapped or endless iteration: Python ends a for loop at IndexError."""
    data = DistillationDataset(rows, ViewTransform(STUDENT), "image")
    with pytest.raises(IndexError, match="out of range"):
        data[10]


def test_empty_data_set(rows: Dataset) -> None:
    """Prevents a training that ends at once with a loss of 0."""
    with pytest.raises(ValueError, match="The data set is empty"):
        DistillationDataset(rows.select([]), ViewTransform(STUDENT), "image")
