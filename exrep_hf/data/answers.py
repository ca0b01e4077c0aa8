"""A teacher's answers that stand in the items of a data set."""

from collections.abc import Mapping
from typing import Any

LOGITS = "teacher_logits"
FEATURES = "teacher_features"
ANSWERS = (LOGITS, FEATURES)
"""Keys of items, and names of columns, that hold a teacher's answers for the image as it is."""


def check_answered_images(item: Mapping[str, Any], variations: Mapping[str, Any]) -> None:
    """Make sure that answers in the items are for the images that are trained on.

    Args:
        item: of the training data set.
        variations: what is done to the images after the answers were given, by the name of the setting.

    Raises:
        ValueError: if there are answers, and the images are varied.
    """
    held = sorted(set(ANSWERS) & item.keys())
    if held and variations:
        told = ", ".join(f"`{name}` {value}" for name, value in variations.items())
        raise ValueError(
            f"`train_dataset` holds {held}, a teacher's answers for its images as they are, and this run varies the "
            f"images: {told}. Pass `augmentation=None` and set `mixup` and `cutmix` to 0, or pass the teacher itself "
            "and leave the answers out."
        )


def check_one_teacher(item: Mapping[str, Any], teacher: str, name: str) -> None:
    """Make sure that a data set holds no answers beside a teacher who gives others.

    Args:
        item: of the data set.
        teacher: what messages call the teacher.
        name: what messages call the data set.

    Raises:
        ValueError: if there are two answers to choose from.
    """
    if held := sorted(set(ANSWERS) & item.keys()):
        raise ValueError(
            f"`{name}` holds {held}, and `teacher` is a {teacher}; expected one teacher. Leave `teacher` out to train "
            "on the answers in the data set, or leave these out of it."
        )
