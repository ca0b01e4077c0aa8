"""Every setting, once: what is trained, on what data, and how."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from transformers import TrainingArguments


def require(condition: bool, name: str, received: Any, expected: str) -> None:
    """Raise a `ValueError` that names a setting, what it is, and what was expected, unless a condition holds."""
    if not condition:
        raise ValueError(f"`{name}` is {received!r}; expected {expected}.")


@dataclass
class ModelArguments:
    """Teacher and student."""

    _argument_group_name = "teacher and student"

    teacher: str | None = field(
        default=None,
        metadata={"help": "Teacher, frozen while it teaches: Hub name, `timm/...`, or local folder of a classifier."},
    )
    teacher_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of the teacher."})
    teacher_from_scratch: bool = field(
        default=False,
        metadata={"help": "Take only the teacher's architecture; needs `teacher_steps`."},
    )
    teacher_steps: int = field(
        default=0,
        metadata={"help": "Train the teacher with labels on public and private images for this many steps first."},
    )
    teacher_cache: str | None = field(
        default=None,
        metadata={
            "help": "A teacher's stored answers, in the place of the teacher itself, which is then neither loaded nor "
            "trained: a folder that `recipes/cache_teacher.py` wrote, or a data set on the Hub."
        },
    )
    teacher_cache_revision: str | None = field(
        default=None, metadata={"help": "Branch, tag or commit of a `teacher_cache` on the Hub."}
    )
    verify: Literal["sample", "full"] = field(
        default="sample",
        metadata={"help": "How stored answers are checked: sizes and some checksums, or `full`: every checksum."},
    )
    student: str | None = field(
        default=None, metadata={"help": "Student: Hub name, `timm/...`, or local folder of a classifier."}
    )
    student_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of the student."})
    student_from_scratch: bool = field(
        default=False,
        metadata={"help": "Take only the student's architecture; needs `student_steps`."},
    )
    student_steps: int = field(
        default=0,
        metadata={"help": "Train the student with labels on the public images for this many steps first."},
    )
    pretraining_learning_rate: float = field(
        default=1e-3, metadata={"help": "Learning rate of `teacher_steps` and `student_steps`."}
    )
    pretraining_weight_decay: float = field(
        default=0.0, metadata={"help": "Weight decay of `teacher_steps` and `student_steps`."}
    )
    distiller: Literal["light", "paper", "none"] = field(
        default="light",
        metadata={"help": "Input Distiller before the student: `light`, `paper` (34.6 GMACs at 240 px) or `none`."},
    )
    distiller_channels: int = field(default=24, metadata={"help": "Width of the `light` distiller."})
    image_size: int | None = field(
        default=None,
        metadata={"help": "Height and width in pixels that the models get; the student's own where not given."},
    )

    channels_last: bool = field(
        default=False,
        metadata={
            "help": "Lay teacher and student out in channels_last (timm's name): convolutions are often faster."
        },
    )

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Check ranges and combinations.

        Raises:
            ValueError: naming the setting, what it is, and what was expected.
        """
        for name in ("teacher_steps", "student_steps"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "a number of steps ≥ 0")
        require(self.pretraining_learning_rate > 0, "pretraining_learning_rate", self.pretraining_learning_rate, "> 0")
        require(self.pretraining_weight_decay >= 0, "pretraining_weight_decay", self.pretraining_weight_decay, "≥ 0")
        require(self.distiller_channels >= 1, "distiller_channels", self.distiller_channels, "≥ 1")
        require(self.image_size is None or self.image_size >= 8, "image_size", self.image_size, "≥ 8 pixels")
        choices = ("light", "paper", "none")
        require(self.distiller in choices, "distiller", self.distiller, f"one of {choices}")
        require(self.verify in ("sample", "full"), "verify", self.verify, "`sample` or `full`")
        for who in ("teacher", "student"):
            if getattr(self, f"{who}_from_scratch") and not getattr(self, f"{who}_steps"):
                raise ValueError(
                    f"`{who}_from_scratch` is set but `{who}_steps` is 0: an untrained {who} teaches and learns "
                    f"nothing. Give `--{who}_steps`, or a {who} with weights."
                )


@dataclass
class DataArguments:
    """The images: where from, how split, how augmented."""

    _argument_group_name = "images"

    dataset: str | None = field(
        default=None,
        metadata={
            "help": "Hub name, folder of images in one folder per class, folder or file of parquet/arrow, "
            "`digits`, or `fashion_mnist`."
        },
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
        metadata={"help": "`validation` holds out part of the public images and evaluates there: to choose settings."},
    )
    validation_fraction: float = field(
        default=0.3, metadata={"help": "Share of the public images held out with `--evaluate_on validation`."}
    )
    no_aug: bool = field(
        default=False, metadata={"help": "Train on the evaluation transform, without augmentation (the paper's way)."}
    )
    scale: list[float] = field(
        default_factory=lambda: [0.35, 1.0], metadata={"help": "Area of the random crop, as a share of the image."}
    )
    ratio: list[float] = field(
        default_factory=lambda: [0.75, 1.3333333], metadata={"help": "Width over height of the random crop."}
    )
    hflip: float = field(default=0.5, metadata={"help": "Probability of a horizontal flip."})
    auto_augment: str | None = field(
        default=None, metadata={"help": "timm policy, e.g. `rand-m6-n2`; applied before teacher and student part."}
    )
    skip_broken_images: bool = field(
        default=False, metadata={"help": "Leave out images that can't be decoded (counted), instead of an error."}
    )

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Check ranges and combinations.

        Raises:
            ValueError: naming the setting, what it is, and what was expected.
        """
        for name in ("train_val_split", "validation_fraction"):
            require(0 < getattr(self, name) < 1, name, getattr(self, name), "a share between 0 and 1")
        require(0 <= self.private_fraction < 1, "private_fraction", self.private_fraction, "a share in [0, 1)")
        require(0 <= self.hflip <= 1, "hflip", self.hflip, "a probability in [0, 1]")
        for name, bounds in (("scale", self.scale), ("ratio", self.ratio)):
            require(len(bounds) == 2 and 0 < bounds[0] <= bounds[1], name, bounds, "two numbers, 0 < low ≤ high")
        require(self.scale[1] <= 1, "scale", self.scale, "at most 1: a crop is no larger than its image")
        for name in ("max_train_samples", "max_eval_samples"):
            require(getattr(self, name) is None or getattr(self, name) >= 1, name, getattr(self, name), "≥ 1")
        if self.private_fraction and self.num_public is not None:
            raise ValueError(
                f"`private_fraction` is {self.private_fraction} and `num_public` is {self.num_public}; expected one "
                "of them. Leave the other out."
            )
        require(self.num_public is None or self.num_public >= 2, "num_public", self.num_public, "≥ 2 images")
        require(self.train_on in ("public", "all"), "train_on", self.train_on, "`public` or `all`")
        require(self.evaluate_on in ("test", "validation"), "evaluate_on", self.evaluate_on, "`test` or `validation`")


@dataclass
class DistillationArguments(TrainingArguments):
    """`TrainingArguments` with the weights and settings of ExRep's loss.

    The objective is `ce_weight·CE + kd_weight·KD + crd_weight·CRD + adversarial_weight·ADV + critic_weight·CRITIC`
    (Jeon et al., ACCV 2020, with the published weights as defaults). A weight of 0 leaves that term's work out.

    Raises:
        ValueError: for a negative weight, a temperature ≤ 0, a momentum outside [0, 1), or fewer than one negative.
    """

    _argument_group_name = "training: the Trainer's own settings, and those of the loss"

    ce_weight: float = field(default=1.0, metadata={"help": "Weight of the cross-entropy with the labels."})
    kd_weight: float = field(default=1.0, metadata={"help": "Weight of the KL divergence from the teacher's logits."})
    crd_weight: float = field(default=0.8, metadata={"help": "Weight of contrastive representation distillation."})
    adversarial_weight: float = field(
        default=0.1, metadata={"help": "Weight of the student's term against the critic; 0 trains no critic."}
    )
    critic_weight: float = field(default=0.1, metadata={"help": "Weight of the critic's own loss."})
    temperature: float = field(default=4.0, metadata={"help": "Softmax temperature τ of the KL divergence."})
    embedding_dim: int = field(default=128, metadata={"help": "Width of the contrastive embeddings."})
    num_negatives: int = field(default=4096, metadata={"help": "Negatives an image, drawn from the memory bank."})
    crd_temperature: float = field(default=0.07, metadata={"help": "Temperature of the contrastive scores."})
    momentum: float = field(default=0.5, metadata={"help": "Momentum of the memory bank, in [0, 1)."})
    queue_length: int | None = field(
        default=None,
        metadata={
            "help": "Contrast with so many latest embeddings in the place of a bank with a row an image: for data "
            "sets whose bank (1 kB an image) does not fit."
        },
    )
    critic_hidden_dim: int = field(default=512, metadata={"help": "Width of the critic's two hidden layers."})
    critic_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of the critic; `learning_rate` where not given."}
    )
    mixup: float = field(
        default=0.0,
        metadata={"help": "α of Mixup, 0 for none; the teacher is asked about the mixed image (timm's name)."},
    )
    cutmix: float = field(
        default=0.0,
        metadata={"help": "α of CutMix, 0 for none; the teacher is asked about the mixed image (timm's name)."},
    )
    views: int | None = field(
        default=None,
        metadata={
            "help": "Give each image this many random views, mixtures included, and show epoch e view e mod `views`; "
            "without it each epoch has new ones."
        },
    )
    distiller_share: float = field(
        default=1.0,
        metadata={
            "help": "Share of the training images, drawn at random, that the student sees as x + G(x), and the others "
            "as x: below 1 the Input Distiller can be removed afterwards."
        },
    )
    freeze_batch_norm: bool = field(
        default=True,
        metadata={"help": "Keep the student's BatchNorm statistics as they were; turn off for an untrained student."},
    )

    label_smoothing_factor: float = field(
        default=0.1, metadata={"help": "Label smoothing of the cross-entropy, in [0, 1)."}
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Must stay False: the Trainer would drop `sample_index`."}
    )
    max_grad_norm: float = field(
        default=0.0,
        metadata={
            "help": "Clip gradients jointly to this norm; 0: don't, which keeps critic and student independent."
        },
    )
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Leave NaN losses out of the log; costs a device synchronisation a step."}
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False,
        metadata={"help": "Search for parameters without a gradient at each step: for students that leave some out."},
    )

    def __post_init__(self) -> None:
        self.check()
        super().__post_init__()

    def check(self) -> None:
        """Check the settings that are not the Trainer's own.

        Raises:
            ValueError: naming the setting, what it is, and what was expected.
        """
        for name in ("ce_weight", "kd_weight", "crd_weight", "adversarial_weight", "critic_weight"):
            value = getattr(self, name)
            require(0 <= value < math.inf, name, value, "a weight ≥ 0 (0 turns the term off)")
        for name in ("temperature", "crd_temperature"):
            require(0 < getattr(self, name) < math.inf, name, getattr(self, name), "a temperature > 0")
        for name in ("embedding_dim", "num_negatives", "critic_hidden_dim"):
            value = getattr(self, name)
            require(isinstance(value, int) and value >= 1, name, value, "a whole number ≥ 1")
        require(self.queue_length is None or self.queue_length >= 2, "queue_length", self.queue_length, "≥ 2 rows")
        for name in ("mixup", "cutmix"):
            require(0 <= getattr(self, name) < math.inf, name, getattr(self, name), "an α ≥ 0 (0 turns it off)")
        require(self.views is None or self.views >= 1, "views", self.views, "≥ 1")
        require(0 < self.distiller_share <= 1, "distiller_share", self.distiller_share, "a share in (0, 1]")
        smoothing = self.label_smoothing_factor
        require(0 <= smoothing < 1, "label_smoothing_factor", smoothing, "a number in [0, 1)")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "a number in [0, 1)")
        require(
            self.critic_learning_rate is None or self.critic_learning_rate > 0,
            "critic_learning_rate",
            self.critic_learning_rate,
            "> 0",
        )
        if self.crd_weight and (self.mixup or self.cutmix):
            raise ValueError(
                f"`crd_weight` is {self.crd_weight} with `mixup` {self.mixup}, `cutmix` {self.cutmix}; expected one "
                "or the other: the memory bank has a row an image, and a mixture of images has none. Set `crd_weight` "
                "to 0, or both α to 0."
            )
        if not (self.ce_weight or self.kd_weight or self.crd_weight or self.adversarial_weight):
            raise ValueError(
                "All of `ce_weight`, `kd_weight`, `crd_weight` and `adversarial_weight` are 0: there is nothing to "
                "train. Give at least one of them a weight > 0."
            )
        if self.remove_unused_columns:
            raise ValueError(
                "`remove_unused_columns` is True; expected False: the Trainer would drop `sample_index` and the "
                "teacher's inputs. Leave the setting out."
            )

    @property
    def needs_teacher(self) -> bool:
        """Whether any term of the loss asks the teacher."""
        return bool(self.kd_weight or self.needs_features)

    @property
    def needs_features(self) -> bool:
        """Whether any term of the loss compares pooled features."""
        return bool(self.crd_weight or self.adversarial_weight)
