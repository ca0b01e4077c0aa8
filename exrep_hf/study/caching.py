"""A teacher's answers about what a study would train on, stored and shared."""

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset
from transformers import set_seed

from exrep_hf.arguments import CachingArguments, DataArguments, ModelArguments
from exrep_hf.data import Augmentation, Mixing, ViewPolicy
from exrep_hf.data.partition import DataPartition, load_partition
from exrep_hf.main_process import decided_by_main
from exrep_hf.publishing.access import ensure_repository
from exrep_hf.publishing.cached_answers import push_answers
from exrep_hf.publishing.teacher_card import PublishedFacts, published_facts
from exrep_hf.report import public_name
from exrep_hf.study.probe import HALF_PRECISION, NamedClasses, evaluate_head, fit_head
from exrep_hf.study.records import network_cost
from exrep_hf.study.stages import Classifier, ask_online, load_teacher
from exrep_hf.study.teacher_accuracy import evaluate_teacher
from exrep_hf.teacher import CachedTeacher, FeaturesOnly, ProbedTeacher, TeacherSource, TextClasses, size_in_words
from exrep_hf.teacher.cache import Provenance, Storage
from exrep_hf.teacher.cache.shard_writer import warn_of_top1
from exrep_hf.teacher.head import HeadTeacher
from exrep_hf.teacher.head_file import HEAD_NAME, load_head
from exrep_hf.training.card_names import evaluated_in_words
from exrep_hf.training.default_terms import rounds_for
from exrep_hf.training.launch import check_processes
from exrep_hf.training.machine import complete_for_machine, lay_out, loader_workers
from exrep_hf.training.probe_look import told_of_head
from exrep_hf.training.teacher_head import wanted_head
from exrep_hf.training.text_head import text_teacher, texts_for


@dataclass
class CachingSettings:
    """All settings of storing answers."""

    model: ModelArguments
    data: DataArguments
    caching: CachingArguments


def cache_teacher(settings: CachingSettings) -> CachedTeacher:
    """Store a teacher's answers about the images and views that these settings would train on; push them if asked.

    Returns:
        A reader of what is stored.

    Raises:
        ValueError: for settings, data or a folder that don't fit.
        OSError: if the disk is full, or the upload failed.
    """
    model_args, data_args, args = settings.model, settings.data, settings.caching
    check_processes(args)
    views = _views(data_args, args)
    _check_teacher(model_args)
    if data_args.extra_images is not None and data_args.extra_share:
        raise ValueError(
            f"`extra_images` is {data_args.extra_images!r}; answers are stored for the training images alone. Leave "
            "it out, and train with the teacher itself, or put these images among the training images, without labels."
        )
    folder, repo_id = Path(str(args.output_dir)), args.push_to_hub
    if repo_id is not None:
        name = repo_id
        repo_id = decided_by_main(lambda: ensure_repository(name, "dataset", args.hub_private_repo, args.hub_token))
    data = load_partition(data_args, args.dataloader_num_workers or None, is_evaluated=False)
    set_seed(args.seed)
    teacher = load_teacher(model_args, data, None)
    assert teacher is not None
    asked = ask_online(teacher, model_args)
    networks = list(asked.networks())
    # As the teacher would be asked in training.
    chosen = complete_for_machine(args, networks, None)
    lay_out(networks, chosen.args)
    for line in chosen.told:
        _print(line)
    _print(str(size_in_words(asked)))
    facts = decided_by_main(lambda: published_facts(str(model_args.teacher)))
    images = data.training_images(args.seed, data_args)
    if args.mix_rounds is None and views.mixing:
        rounds = rounds_for(len(images), data.num_classes or asked.num_labels)
        views = dataclasses.replace(views, mixing=dataclasses.replace(views.mixing, rounds=rounds))
    source = _with_head(asked, data, images, settings, folder)
    # What a card says is of the teacher's own head.
    expected_top1 = facts.top1 if args.expect_top1 is None and source is asked else args.expect_top1
    plural = "s" if views.views > 1 else ""
    _print(f"{model_args.teacher}: {views.views} view{plural} of each of {len(images)} images of {data_args.dataset}")
    cache = CachedTeacher.write(
        source,
        images,
        folder,
        views,
        Storage(
            args.dtype,
            args.top_k,
            args.rows_per_shard,
            args.eval_batch_size,
            HALF_PRECISION.get(chosen.args.mixed_precision),
        ),
        _provenance(model_args, data_args, args, facts),
        args.rebuild,
        loader_workers(args),
        expected_top1,
        lambda: _measure(source, teacher, data, settings, expected_top1),
        data_args.class_rule(),
    )
    _print(_in_words(cache, folder))
    if repo_id is not None and PartialState().is_main_process:
        commit = push_answers(cache, folder, repo_id, args.hub_token)
        _print(f"pushed to the data set {repo_id}, commit {commit}")
    return cache


def _check_teacher(model_args: ModelArguments) -> None:
    if model_args.teacher_steps:
        raise ValueError(
            f"`teacher_steps` is {model_args.teacher_steps}; expected a teacher that has been trained. Train it by "
            "`recipes/train.py` with these settings, and pass the `teacher` folder of its output: `--teacher "
            "OUT/teacher --teacher_steps 0 --teacher_from_scratch false`."
        )
    if model_args.other_teachers:
        raise ValueError(
            f"`teacher` names {len(model_args.teachers)} teachers ({', '.join(model_args.teachers)}); expected one. "
            "Store the answers of each in a folder of its own: `--teacher_cache one two` teaches by all. In Python "
            "`CachedTeacher.write(TeacherEnsemble([…]), …)` stores their mean."
        )
    if model_args.teacher_cache is not None:
        raise ValueError(f"`teacher_cache` is {model_args.teacher_cache!r}; expected a teacher to ask. Leave it out.")


def _with_head(
    source: TeacherSource, data: DataPartition, images: Dataset, settings: CachingSettings, folder: Path
) -> TeacherSource:
    """Return a teacher with the head that is asked for; one that was made before lies in the folder."""
    head = wanted_head(source, settings.model.teacher_head, needs_logits=False)
    if head == "own" or (source.num_labels is None and head == "none"):
        return source
    if head == "none":
        return FeaturesOnly(source)
    classes, kept = NamedClasses.of(data), folder / HEAD_NAME
    if head == "text":
        texts = texts_for(TextClasses(settings.data.class_names, settings.model.prompts), None, data.names)
        return text_teacher(source, texts, kept, settings.model.teacher_revision)
    probed = ProbedTeacher(source, classes)
    if decided_by_main(kept.is_file):
        probed.head = decided_by_main(lambda: load_head(kept, classes.num_labels, probed.feature_dim))
    else:
        probed.head = fit_head(source, classes, images, settings.caching, settings.data)
    _print(told_of_head(probed.head))
    return probed


def _views(data_args: DataArguments, args: CachingArguments) -> ViewPolicy:
    seed = args.seed if args.data_seed is None else args.data_seed
    mixing = Mixing(args.mixup, args.cutmix, args.mix_rounds or 1)
    views = ViewPolicy(args.views or 1, seed, Augmentation.from_arguments(data_args), mixing)
    if views.views > 1 and views.augmentation is None and not views.mixing:
        raise ValueError(
            f"`views` is {views.views} with `no_aug` and without mixing: all views of an image are the same. Leave "
            "`views` out, or augment."
        )
    return views


def _provenance(
    model_args: ModelArguments, data_args: DataArguments, args: CachingArguments, facts: PublishedFacts
) -> Provenance:
    return Provenance(
        public_name(model_args.teacher),
        model_args.teacher_revision,
        args.teacher_license or facts.license,
        ", ".join(filter(None, map(public_name, [data_args.dataset, *data_args.other_datasets]))),
        args.dataset_license,
    )


def _measure(
    source: TeacherSource,
    teacher: Classifier,
    data: DataPartition,
    settings: CachingSettings,
    expected_top1: float | None,
) -> dict[str, Any]:
    """Return what a study needs to know of a teacher that it doesn't have: metrics on test images, and cost."""
    cost = network_cost(teacher)
    # A figure of the machine, which would differ from call to call.
    cost.pop("images_per_second")
    _, images = data.parts(settings.caching.seed)
    if source.num_labels is None or not len(images):
        return {"evaluation": None, "cost": cost}
    args = copy.copy(settings.caching)
    # It would cast the very network that is asked afterwards.
    args.bf16_full_eval = args.fp16_full_eval = False
    evaluated: dict[str, float] | None
    if isinstance(source, HeadTeacher):
        evaluated = evaluate_head(source, images, args, settings.data)
    else:
        evaluated = evaluate_teacher(teacher, images, args, settings.data)
    if evaluated is None:
        return {"evaluation": None, "cost": cost}
    # Not the loss, whose last bits depend on the number of processes.
    metrics = {name: evaluated[name] for name in ("accuracy", "top5_accuracy")}
    if expected_top1 is not None and PartialState().is_main_process:
        warn_of_top1(metrics["accuracy"], len(images), expected_top1)
    evaluation = {
        "evaluated_on": settings.data.evaluate_on,
        "split": data.evaluated_split,
        "part": data.evaluated_part,
        "num_evaluated": len(images),
        "metrics": metrics,
    }
    _print(f"top-1 {metrics['accuracy']:.3f} on {evaluated_in_words(evaluation)}")
    return {"evaluation": evaluation, "cost": cost}


def _in_words(cache: CachedTeacher, folder: Path) -> str:
    shards, summary = cache.manifest.shards, cache.manifest.summary
    size = sum(entry["bytes"] for entry in shards.values())
    answers = cache.num_samples * cache.views.views
    told = (
        f"{answers} answers, {size / 1e6:.1f} MB ({size / answers:.0f} bytes each) in {len(shards)} files of {folder}"
    )
    if summary["top1"] is None:
        return told
    return f"{told}; the teacher's top-1 on these views: {summary['top1']:.3f} of {summary['labelled']}"


def _print(message: str) -> None:
    if PartialState().is_main_process:
        print(message, flush=True)
