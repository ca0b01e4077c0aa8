"""Settings of the images."""

import json
import math
import os
from dataclasses import dataclass, field
from typing import Literal

from exrep_hf.arguments.class_rule import ClassRule, read_class_rule
from exrep_hf.arguments.prompts import read_class_names
from exrep_hf.arguments.ranges import require, require_number

# How images are varied where nothing else is said: here, and in `Augmentation`.
CROP_SCALE = (0.35, 1.0)
CROP_RATIO = (0.75, 1.3333333)
FLIP_PROBABILITY = 0.5


@dataclass
class DataArguments:
    """The images: where from, how split, how augmented."""

    _argument_group_name = "images"

    dataset: str | None = field(
        default=None,
        metadata={
            "help": "Hub name, folder of images in one folder per class, folder or file of parquet/arrow, "
            "`digits`, or `fashion_mnist`. Of several, all are trained on, under the classes of the first, whose test "
            "images judge.",
            "nargs": "+",
        },
    )
    other_datasets: list[str] = field(
        init=False, default_factory=list, metadata={"help": "Those of `dataset` behind the first; read from it."}
    )
    data_dir: str | None = field(
        default=None,
        metadata={
            "help": "Folder of `fashion_mnist`'s IDX files (without it: the Hub's copy), or inside a Hub data set."
        },
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of a Hub data set."})
    train_split: str = field(default="train", metadata={"help": "Name of the split with training images."})
    test_split: str | None = field(
        default=None,
        metadata={"help": "Name of the split nobody trains on; `test` or `validation` where not given."},
    )
    train_val_split: float = field(
        default=0.1, metadata={"help": "Share of the training images held out where the data set has no test split."}
    )
    image_column_name: str | None = field(default=None, metadata={"help": "Column of images; guessed if not given."})
    label_column_name: str | None = field(default=None, metadata={"help": "Column of labels; guessed if not given."})
    classes: str = field(
        default="names",
        metadata={
            "help": "How classes of data, teacher and student are matched: by `names`, by `position` where names "
            "don't tell, or by a mapping from a model's names to the data's: in a config, or as a JSON file."
        },
    )
    class_names: list[str] | None = field(
        default=None,
        metadata={
            "help": "Names of the classes, or a file with one a line: for `--teacher_head text`, and, in the order of "
            "their numbers, for images that name none."
        },
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only this many training images."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only this many test images."})
    private_fraction: float = field(
        default=0.0,
        metadata={
            "help": "Share of the training images kept private: only `teacher_steps` (and an oracle) sees them."
        },
    )
    num_public: int | None = field(
        default=None,
        metadata={
            "help": "Keep this many training images public, in the classes' proportions; the others are private."
        },
    )
    train_on: Literal["public", "all"] = field(
        default="public",
        metadata={"help": "`all` gives the student the private images too: what it would be if no data were missing."},
    )
    evaluate_on: Literal["test", "validation"] = field(
        default="test",
        metadata={
            "help": "`validation` holds out part of the public images, from teacher and student, and evaluates there: "
            "to choose settings."
        },
    )
    validation_fraction: float = field(
        default=0.3, metadata={"help": "Share of the public images held out with `--evaluate_on validation`."}
    )
    extra_images: str | None = field(
        default=None,
        metadata={
            "help": "Images of none of the classes, beside the training images: as `dataset`, labels aside. The "
            "student follows the teacher on them."
        },
    )
    extra_share: float = field(
        default=0.25,
        metadata={"help": "Share of `extra_images` among the images that are trained on, in [0, 1); 0: none."},
    )
    no_aug: bool = field(
        default=False, metadata={"help": "Train on the evaluation transform, without augmentation (the paper's way)."}
    )
    scale: list[float] = field(
        default_factory=lambda: list(CROP_SCALE),
        metadata={"help": "Area of the random crop, as a share of the image."},
    )
    ratio: list[float] = field(
        default_factory=lambda: list(CROP_RATIO), metadata={"help": "Width over height of the random crop."}
    )
    hflip: float = field(default=FLIP_PROBABILITY, metadata={"help": "Probability of a horizontal flip."})
    auto_augment: str | None = field(
        default=None, metadata={"help": "timm policy, e.g. `rand-m6-n2`; applied before teacher and student part."}
    )
    skip_broken_images: bool = field(
        default=False, metadata={"help": "Leave out images that can't be decoded (counted), instead of an error."}
    )
    check_images: Literal["no", "sample", "decode", "all"] = field(
        default="decode",
        metadata={
            "help": "Images to decode at the first start: `no`; `sample`, 256 a part; `decode`, all; `all`, where "
            "test images that are training images too are an error instead of a warning."
        },
    )

    @property
    def look(self) -> Literal["no", "sample", "all"]:
        """Which images are decoded at the start."""
        return self.check_images if self.check_images in ("no", "sample") else "all"

    def __post_init__(self) -> None:
        if isinstance(self.dataset, list | tuple):
            self.dataset, *self.other_datasets = [os.fspath(each) for each in self.dataset] or [None]
        for name in ("dataset", "data_dir", "extra_images"):
            if isinstance(path := getattr(self, name), os.PathLike):
                setattr(self, name, os.fspath(path))
        # On a command line the only way to take back what a file of settings gives.
        self.data_dir, self.dataset_config_name = self.data_dir or None, self.dataset_config_name or None
        self.check()

    def class_rule(self) -> ClassRule:
        """Return how classes are matched.

        Raises:
            ValueError: if `classes` is no rule.
        """
        return read_class_rule(self.classes)

    def check(self) -> None:
        """Check ranges and combinations.

        Raises:
            ValueError: naming the setting, what it is, and what was expected.
        """
        rule = self.class_rule()
        # A file is here today: what is kept of the settings has to say what was in it.
        self.classes = rule if isinstance(rule, str) else json.dumps(dict(rule))
        if self.class_names is not None:
            self.class_names = read_class_names(self.class_names)
        for name in ("train_val_split", "validation_fraction"):
            require(0 < getattr(self, name) < 1, name, getattr(self, name), "a share between 0 and 1")
        require(0 <= self.private_fraction < 1, "private_fraction", self.private_fraction, "a share in [0, 1)")
        check_extra_share(self.extra_share)
        require(0 <= self.hflip <= 1, "hflip", self.hflip, "a probability in [0, 1]")
        for name, bounds in (("scale", self.scale), ("ratio", self.ratio)):
            in_order = len(bounds) == 2 and 0 < bounds[0] <= bounds[1] < math.inf
            require(in_order, name, bounds, "two numbers, 0 < low ≤ high")
        require(self.scale[1] <= 1, "scale", self.scale, "at most 1: a crop is no larger than its image")
        for name in ("max_train_samples", "max_eval_samples"):
            require_number(name, getattr(self, name), 1, whole=True, optional=True)
        if self.private_fraction and self.num_public is not None:
            raise ValueError(
                f"`private_fraction` is {self.private_fraction} and `num_public` is {self.num_public}; expected one "
                "of them. Leave the other out."
            )
        require_number("num_public", self.num_public, 2, whole=True, optional=True)
        require(self.train_on in ("public", "all"), "train_on", self.train_on, "`public` or `all`")
        require(self.evaluate_on in ("test", "validation"), "evaluate_on", self.evaluate_on, "`test` or `validation`")
        looks = ("no", "sample", "decode", "all")
        require(self.check_images in looks, "check_images", self.check_images, "`no`, `sample`, `decode` or `all`")


def check_extra_share(share: float) -> None:
    """Make sure that a share of extra images leaves room for others.

    Raises:
        ValueError: if it doesn't.
    """
    require(0 <= share < 1, "extra_share", share, "a share in [0, 1)")
