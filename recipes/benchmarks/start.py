"""The start of a recipe the second time: seconds an image, from a folder of images to the parts that are trained on.

    python recipes/benchmarks/start.py                    # some 2 minutes on a core, 0.5 GB of disk for a while
    python recipes/benchmarks/start.py --smoke

Makes folders of 10 000 and 100 000 tiny JPEGs in 100 classes, in a temporary folder (where `TMPDIR` is), and prepares
the data as `recipes/train.py` does, in one process: the first time all images are decoded, from then on none is. What
is left is reading lists: of files, and of their sizes and times. The second start is timed in turns with a plain walk
that reads these (`os.walk`, `os.stat`); that it takes at most five times as long is our reading of the row's target.
"""

import argparse
import io
import os
import sys
import tempfile
from pathlib import Path

import datasets
import numpy as np
from paired import Ratio, Row, parser, report, seconds_of, times_in_turns
from PIL import Image

from exrep_hf.arguments import DataArguments
from exrep_hf.data.partition import DataPartition, load_partition

CLASSES = 100
TARGET = 5.0


def make_images(folder: Path, count: int) -> None:
    """Write JPEGs of 8 x 8 pixels, no two files alike, nine of ten in `train`."""
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, format="JPEG")
    for split in ("train", "test"):
        for number in range(CLASSES):
            (folder / split / f"class_{number:03d}").mkdir(parents=True)
    for number in range(count):
        split, name = "test" if number % 10 == 0 else "train", f"class_{number // 10 % CLASSES:03d}"
        # What follows the end of a JPEG is nobody's pixels.
        (folder / split / name / f"{number:07d}.jpg").write_bytes(stream.getvalue() + number.to_bytes(4, "big"))


def walk(folder: Path) -> int:
    """Read name, size and time of each file, and return how many there are."""
    facts = [os.stat(os.path.join(path, name)) for path, _, names in os.walk(folder) for name in names]
    return len({(each.st_ino, each.st_size, each.st_mtime_ns) for each in facts})


def start(folder: Path) -> DataPartition:
    """Prepare the data."""
    return load_partition(DataArguments(dataset=str(folder)))


def measured(args: argparse.Namespace, place: Path) -> list[Row]:
    """Make the folders, and time the starts."""
    datasets.config.HF_DATASETS_CACHE = place / "cache"
    datasets.disable_progress_bars()
    counts, rows, typical = (1000, 2000) if args.smoke else (10_000, 100_000), [], []
    for count in counts:
        folder = place / str(count)
        make_images(folder, count)
        assert walk(folder) == count
        first = seconds_of(lambda folder=folder: start(folder))
        taken = times_in_turns(
            lambda folder=folder: start(folder),
            lambda folder=folder: walk(folder),
            args.pairs,
            warm_up=1,
        )
        second = float(np.median([one for one, _ in taken]))
        typical.append(second)
        note = f"first start {1e6 * first / count:.1f} µs an image, second {1e6 * second / count:.1f}"
        what = f"second start over a walk through the files, {count} images"
        rows.append(Row(10, what, Ratio.of([one / other for one, other in taken]), TARGET, note=note))
    slope = (typical[1] - typical[0]) / (counts[1] - counts[0])
    print(f"slope of the second start: {1e6 * slope:.1f} µs an image")
    return rows


def main(argv: list[str]) -> None:
    """Measure both sizes."""
    args = parser(__doc__).parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        report(measured(args, Path(folder)), "start", args)


if __name__ == "__main__":
    main(sys.argv[1:])
