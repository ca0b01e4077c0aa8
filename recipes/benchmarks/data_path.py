"""From stored images to normalised tensors on the device, over timm's own path.

    python recipes/benchmarks/data_path.py

Photographs of 500 × 375 px, as JPEG in a Hugging Face data set, become batches of random crops that are flipped at
random. The reference is timm's: `create_dataset("hfds/…")`, `create_transform(use_prefetcher=True)`, `fast_collate`,
and `PrefetchLoader`, which normalises on the device; one view of 240 px, never mixed. Ours are the items, the collator
and the step of `DistillationTrainer`. All in one process, without workers: speed a core.
"""

import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, Image, Value, load_dataset
from datasets.utils.logging import disable_progress_bar
from paired import Row, compare, parser, report
from PIL import Image as PILImage
from sklearn.datasets import load_sample_images
from timm.data import create_dataset, create_transform
from timm.data.loader import PrefetchLoader, fast_collate
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from exrep_hf.data import (
    Augmentation,
    DistillationDataset,
    Mixing,
    Normalising,
    Preprocessing,
    ViewPolicy,
    ViewTransform,
    collate_distillation,
)
from exrep_hf.data.datasets import ReplayedDataset, SeededDataset
from exrep_hf.data.group_sampler import group_sampler

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SMALL = Preprocessing(240, 240, 256, "bicubic", *IMAGENET)
LARGE = Preprocessing(300, 300, 320, "bicubic", *HALVES)
MIXING = Mixing(mixup=1.0, cutmix=1.0)
CLASSES = 1000


def write_images(folder: Path, count: int) -> Dataset:
    """Write a data set of parts of two photographs, and return it as it is read from disk."""
    photographs = [PILImage.fromarray(pixels) for pixels in load_sample_images().images]
    random = np.random.default_rng(0)
    stored = []
    for number in range(count):
        photograph = photographs[number % 2]
        width = int(random.integers(400, photograph.width + 1))
        height = width * 3 // 4 if width * 3 // 4 <= photograph.height else photograph.height
        left, top = (
            int(random.integers(0, most + 1)) for most in (photograph.width - width, photograph.height - height)
        )
        part = photograph.crop((left, top, left + width, top + height)).resize((500, 375), PILImage.Resampling.LANCZOS)
        buffer = io.BytesIO()
        part.save(buffer, "jpeg", quality=90)
        stored.append({"bytes": buffer.getvalue(), "path": None})
    features = Features({"image": Image(), "label": Value("int64")})
    labels = random.integers(0, CLASSES, count).tolist()
    (folder / "data").mkdir()
    Dataset.from_dict({"image": stored, "label": labels}, features).to_parquet(folder / "data" / "train.parquet")
    return load_dataset(str(folder / "data"), split="train", cache_dir=str(folder / "cache"))


def of_timm(folder: Path, batch_size: int, device: torch.device) -> Any:
    """Return timm's loader of one view, with crop and flip as ours."""
    ours = Augmentation()
    transform = create_transform(
        (3, SMALL.height, SMALL.width),
        is_training=True,
        scale=ours.scale,
        ratio=ours.ratio,
        hflip=ours.hflip,
        color_jitter=0.0,
        interpolation=SMALL.interpolation,
        use_prefetcher=True,
    )
    images = create_dataset(f"hfds/{folder / 'data'}", root=str(folder / "cache"), split="train", transform=transform)
    loader = DataLoader(
        images, batch_size, shuffle=True, drop_last=True, collate_fn=fast_collate, pin_memory=device.type == "cuda"
    )
    return PrefetchLoader(loader, *IMAGENET, device=device)


class Ours:
    """Batches as a step of `DistillationTrainer` has them.

    Args:
        images: the data set.
        teachers: how the teacher wants its images.
        mixing: of images.
        views: how many there are; None: new ones in each epoch.
        batch_size: images in a batch.
        device: where they go.
    """

    def __init__(
        self,
        images: Dataset,
        teachers: tuple[Preprocessing, ...],
        mixing: Mixing,
        views: int | None,
        batch_size: int,
        device: torch.device,
    ) -> None:
        transform = ViewTransform(SMALL, teachers, Augmentation(), normalised=False)
        self.normalising = Normalising(SMALL, teachers)
        items = DistillationDataset(images, transform, "image", "label")
        self.items = SeededDataset(items, 42)
        self.mixing = mixing
        if views is not None:
            policy = ViewPolicy(views, 42, Augmentation(), mixing)
            self.items, self.mixing = ReplayedDataset(items, policy, CLASSES), Mixing()
        self.loader = DataLoader(
            self.items,
            batch_size,
            sampler=group_sampler(self.items, 42) or RandomSampler(self.items),
            drop_last=True,
            collate_fn=collate_distillation,
            pin_memory=device.type == "cuda",
        )
        self.device = device
        self.epoch = -1

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        self.epoch += 1
        self.items.set_epoch(self.epoch)
        for batch in self.loader:
            moved = {name: each.to(self.device, non_blocking=True) for name, each in batch.items()}
            yield self.mixing(self.normalising(moved), CLASSES)


def walk(loader: Any) -> Callable[[], None]:
    """Return a walk through all batches."""

    def run() -> None:
        for _ in loader:
            pass

    return run


def main(argv: list[str] | None = None) -> None:
    """Run the comparisons."""
    args = parser(__doc__).parse_args(argv)
    disable_progress_bar()
    device, pairs = torch.device(args.device), 2 if args.smoke else args.pairs
    batch_size, count = (4, 8) if args.smoke else (32, 64)
    with tempfile.TemporaryDirectory() as name:
        rows = measure(Path(name), count, batch_size, device, pairs)
    report(rows, "data_path", args)


def measure(folder: Path, count: int, batch_size: int, device: torch.device, pairs: int) -> list[Row]:
    """Compare each of our paths with timm's."""
    images = write_images(folder, count)
    reference = walk(of_timm(folder, batch_size, device))
    cases: list[tuple[str, tuple[Preprocessing, ...], Mixing, int | None, float]] = [
        ("240 px", (SMALL,), Mixing(), None, 1.0),
        ("240 and 300 px, two normalisations", (LARGE,), Mixing(), None, 0.9),
        ("240 px, mixed", (SMALL,), MIXING, None, 0.8),
        ("240 and 300 px, mixed", (LARGE,), MIXING, None, 0.8),
        ("240 px, replayed views, mixed", (SMALL,), MIXING, 4, 0.8),
        ("240 and 300 px, replayed views, mixed", (LARGE,), MIXING, 4, 0.8),
    ]
    rows = []
    for what, teachers, mixing, views, target in cases:
        ours = walk(Ours(images, teachers, mixing, views, batch_size, device))
        speed = compare(ours, reference, pairs).inverse()
        rows.append(Row(5, f"images a second over timm's one view of 240 px: {what}", speed, target, "larger"))
    return rows


if __name__ == "__main__":
    main()
