"""Stored answers as a data set on the Hub."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData

from exrep_hf.data import ViewPolicy
from exrep_hf.publishing.claims import hub_name
from exrep_hf.publishing.upload import upload_files
from exrep_hf.teacher import CachedTeacher
from exrep_hf.teacher.cache.manifest import MANIFEST_NAME
from exrep_hf.teacher.head import head_in_words
from exrep_hf.teacher.head_file import HEAD_NAME
from exrep_hf.training.card_names import dataset_in_words, evaluated_in_words, model_in_words
from exrep_hf.training.markdown import harmless, plain

TEMPLATE = Path(__file__).with_name("cached_answers.md")
CARD_NAME = "README.md"


def make_cache_card(cache: CachedTeacher, repo_id: str) -> DatasetCard:
    """Return the card of stored answers, made from their manifest alone."""
    plan = cache.manifest.plan
    licence = plan.teacher["license"]
    data = DatasetCardData(
        # Of two things that are bound to different licences, or an unknown one, neither holds for the whole.
        license=licence if licence and licence == plan.dataset["license"] else "other",
        task_categories=["image-classification"],
        tags=["exrep", "knowledge-distillation"],
        pretty_name=repo_id.split("/")[-1],
    )
    return DatasetCard.from_template(
        data,
        template_path=str(TEMPLATE),
        title=plain(harmless(repo_id.split("/")[-1])),
        repo_id=repo_id,
        teacher=plan.teacher,
        dataset=plan.dataset,
        teacher_in_words=_teacher_in_words(plan.teacher["name"]),
        images_in_words=_images_in_words(plan.dataset["name"]),
        head=head_in_words(plan.teacher.get("head")),
        storage=plan.storage,
        summary=cache.manifest.summary,
        evaluated=evaluated_in_words(evaluation) if (evaluation := cache.manifest.summary.get("evaluation")) else None,
        views=json.dumps(plan.views, indent=2),
        view_text=_in_words(cache.views),
        flags=_flags(cache.views),
    )


def push_answers(cache: CachedTeacher, folder: Path, repo_id: str, token: str | None) -> str:
    """Write the card into the folder of whole answers, and upload both.

    Args:
        cache: the answers in the folder.
        folder: where they lie.
        repo_id: an existing data set, `user/name`.
        token: the user's; None: the one that is logged in.

    Returns:
        The commit.

    Raises:
        OSError: if the upload failed.
    """
    make_cache_card(cache, repo_id).save(folder / CARD_NAME)
    head = [HEAD_NAME] if (folder / HEAD_NAME).is_file() else []
    files = [CARD_NAME, MANIFEST_NAME, *head, *cache.manifest.shards]
    teacher = cache.manifest.plan.teacher["name"] or "a teacher"
    again = f"recipes/cache_teacher.py … --push_to_hub {repo_id}"
    return upload_files(folder, files, repo_id, "dataset", f"Answers of {teacher}", token, again)


def _teacher_in_words(name: str | None) -> str:
    if name is None:
        return "a teacher without a name"
    return model_in_words(harmless({"name": name, "from_scratch": False}))


def _images_in_words(name: str | None) -> str:
    names = [] if name is None else harmless(name).split(", ")
    told = [dataset_in_words({"name": each, "hub_name": hub_name(each)}) for each in names]
    return " and ".join(told) or "a data set without a name"


def _in_words(views: ViewPolicy) -> str:
    mixed = " and ".join(name for name in ("mixup", "cutmix") if getattr(views.mixing, name))
    if views.augmentation is None and not mixed:
        return "the evaluation view of each image"
    kind = "the evaluation view" if views.augmentation is None else "random views"
    return f"{views.views} of each image: {kind}{f', mixed by {mixed}' if mixed else ''}"


def _flags(views: ViewPolicy) -> str:
    """Return the settings of `recipes/train.py` that give these views."""
    mixing = views.mixing
    flags: dict[str, Any] = {"mixup": mixing.mixup, "cutmix": mixing.cutmix, "mix_rounds": mixing.rounds}
    if views.augmentation is None:
        return "--no_aug " + " ".join(f"--{name} {value}" for name, value in flags.items())
    each = views.augmentation
    for name in ("scale", "ratio"):
        flags[name] = " ".join(map(str, getattr(each, name)))
    flags["hflip"] = each.hflip
    if each.auto_augment is not None:
        flags["auto_augment"] = each.auto_augment
    return " ".join(f"--{name} {value}" for name, value in flags.items())
