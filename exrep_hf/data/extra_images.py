"""Images of none of the classes, beside those that are trained on: all there is to them is what a teacher says."""

import math
from dataclasses import dataclass

import datasets
from datasets import Image

from exrep_hf.arguments.data import check_extra_share
from exrep_hf.data.answers import ANSWERS
from exrep_hf.data.loading import find_columns, holds_tensors


@dataclass(frozen=True)
class Extra:
    """How the last rows of a data set are walked through beside the others.

    Attributes:
        count: how many rows these are.
        share: of the images that are trained on, in (0, 1).
    """

    count: int
    share: float

    def per_walk(self, images: int) -> int:
        """Return how many of them come while so many other images come once."""
        return max(1, round(self.share / (1 - self.share) * images))


class WithExtraImages:
    """A training data set, and images of none of its classes, as `DistillationTrainer` takes them together.

    The latter have no label (-1): they count in the terms that follow the teacher, are mixed with all others, and
    belong to no evaluation.

    Args:
        images: an HF `Dataset` with an image column.
        extra: another; of its columns the images alone count.
        share: of the extra images among those that are trained on, in [0, 1), on average of the batches; an epoch is
            one walk through `images`.

    Raises:
        ValueError: for another share, data sets without an image column, and images that hold a teacher's answers.
    """

    def __init__(self, images: datasets.Dataset, extra: datasets.Dataset, share: float = 0.25) -> None:
        check_extra_share(share)
        for dataset, name in ((images, "images"), (extra, "extra")):
            is_images = isinstance(dataset, datasets.Dataset) and dataset.format["type"] != "custom"
            if not is_images or holds_tensors(dataset) or not len(dataset):
                raise ValueError(
                    f"`{name}` is a {type(dataset).__name__}; expected an HF `Dataset` with at least one image in an "
                    "image column, and no transform. Put other data sets together with torch's `ConcatDataset`, with "
                    "-1 as the label of images of none of the classes."
                )
        if held := sorted(set(ANSWERS) & set(images.column_names)):
            raise ValueError(
                f"`images` holds {held}, a teacher's answers, and there are none to the extra images. Pass the "
                "teacher itself, and leave the answers out."
            )
        self.images = images
        self.extra = extra
        self.share = share

    def joined(self) -> tuple[datasets.Dataset, Extra | None]:
        """Return both as one data set, the extra images last and without labels; and how these are walked through."""
        if not self.share:
            return self.images, None
        image, label = find_columns(self.images)
        columns = [image, *([] if label is None else [label])]
        extra = self.extra.with_format(None).select_columns([found := find_columns(self.extra)[0]])
        extra = (extra if found == image else extra.rename_column(found, image)).cast_column(image, Image())
        if label is not None:
            extra = extra.add_column(label, [None] * len(extra), feature=self.images.features[label])
        kept = self.images.with_format(None).select_columns(columns).cast_column(image, Image())
        return datasets.concatenate_datasets([kept, extra]), Extra(len(extra), self.share)


def place_in_walks(position: int, images: int, extra: Extra | None) -> tuple[int, int]:
    """Return the row at a position of an endless walk, and how often it has come before.

    Args:
        position: ≥ 0.
        images: rows that come once in each walk, the first of the data set.
        extra: the rows after them; None: there are none.
    """
    if extra is None:
        return position % images, position // images
    drawn = extra.per_walk(images)
    walk, place = divmod(position, images + drawn)
    if place < images:
        return place, walk
    # They are walked through too, at a pace of their own.
    before = walk * drawn + place - images
    return images + before % extra.count, before // extra.count


def as_one_dataset(dataset: object) -> tuple[object, Extra | None]:
    """Return a data set as it is, or, of a `WithExtraImages`, both as one."""
    return dataset.joined() if isinstance(dataset, WithExtraImages) else (dataset, None)


def check_walk(images: int, extra: Extra | None, has_bank: bool) -> None:
    """Make sure that CRD's memory bank, which has a row an image, gets each image once an epoch.

    Raises:
        ValueError: if extra images come more often.
    """
    if extra is not None and has_bank and (drawn := extra.per_walk(images)) > extra.count:
        least = math.floor(1000 * extra.count / (extra.count + images)) / 1000
        raise ValueError(
            f"There are {extra.count} extra images, of which {drawn} come beside {images} others for a share of "
            f"{extra.share}, and CRD's memory bank takes each image once an epoch. Lower `extra_share` to {least}, "
            "give more extra images, or set `queue_length`."
        )
