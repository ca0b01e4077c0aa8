"""`DistillationTrainer`: the Hugging Face Trainer with a teacher.

Of the Trainer two methods are extended that are not public, and only here. `_prepare_inputs` is where each batch of
training and evaluation is moved to the device, and under DeepSpeed cast, and so where its pixels become what models
take. `_get_train_sampler` says in which order images come. `_eval_dataloaders` is where it keeps loaders.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import datasets
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler
from transformers import EvalPrediction, PreTrainedModel, TrainerCallback, set_seed
from transformers.image_processing_utils import BaseImageProcessor

from exrep_hf.arguments import DistillationArguments
from exrep_hf.arguments.class_rule import ClassRule, read_class_rule
from exrep_hf.data import Augmentation, collate_distillation
from exrep_hf.data.datasets import EpochCallback, ReplayedDataset, SeededDataset
from exrep_hf.data.extra_images import Extra, WithExtraImages, as_one_dataset
from exrep_hf.data.fingerprint import fingerprint
from exrep_hf.data.group_sampler import group_sampler
from exrep_hf.data.held_images import whole_batch
from exrep_hf.data.stream import StreamedImages
from exrep_hf.losses import Term
from exrep_hf.models import ExRepForImageClassification, feature_definition
from exrep_hf.outputs import DistillationOutput, TeacherOutput
from exrep_hf.teacher import TeacherSource, TextClasses, answers_in_items, as_one_teacher, size_in_words
from exrep_hf.teacher.feature_definition import features_of
from exrep_hf.training.asking import AskingTrainer
from exrep_hf.training.classes import match_classes, names_of_data
from exrep_hf.training.decay import check_epochs_known
from exrep_hf.training.default_settings import Chosen, complete, preset_notes
from exrep_hf.training.default_terms import complete_terms
from exrep_hf.training.first_images import check_first_images
from exrep_hf.training.given_data import check_given
from exrep_hf.training.images_on_device import hold_images
from exrep_hf.training.inputs import (
    DataPreparation,
    images_in_a_walk,
    number_of,
    student_preprocessing,
    training_labels,
    transform_facts,
)
from exrep_hf.training.launch import (
    allow_another_accelerator,
    check_backend,
    check_processes,
    read_on_each_process,
    tell_processes,
)
from exrep_hf.training.machine import complete_for_machine, lay_out
from exrep_hf.training.metrics import check_best_metric, classification_metrics, judged
from exrep_hf.training.notices import NoticeCallback
from exrep_hf.training.objective import DistillationObjective
from exrep_hf.training.own_terms import take_terms
from exrep_hf.training.precision import train_in_float32
from exrep_hf.training.roles import as_student, check_roles
from exrep_hf.training.teacher_head import TeacherHead, with_head
from exrep_hf.training.temperatures import asked_temperature

logger = logging.getLogger(__name__)

Teacher = PreTrainedModel | nn.Module | TeacherSource | str | os.PathLike[str]


class DistillationTrainer(AskingTrainer):
    """Train a student under a teacher (ExRep, Jeon et al., ACCV 2020); otherwise the Trainer as it is known.

    The trained module, `trainer.model`, is a `DistillationObjective`; the student alone is `trainer.student`, and
    alone it is what `save_model` and `push_to_hub` write: as a plain classifier, without a distiller that it can do
    without.

    Args:
        model: the student, which is trained in float32. Any other classifier of transformers or timm, or the name or
            folder of one, is taken as a student without a distiller, with the classes that it has.
        teacher: a network of transformers or timm, a `TeacherSource`, or a name or path; of a list of them the mean of
            the logits (`TeacherEnsemble`). None where no active term needs one.
        args: `TrainingArguments` with the weights of the loss. What they leave open is filled in, in a copy, and
            printed when training starts.
        train_dataset: an HF `Dataset` with an image column, or any data set whose items are dicts with
            `pixel_values` (and `labels`, `teacher_pixel_values` where a term needs them; `sample_index` is the row,
            and only what yields its items one by one has to number them). If it has an attribute `labels`, that is
            the class of every row, and lets CRD draw negatives of other classes from the first step on. Items of a
            row and epoch are the same in every run of a seed. Items or columns `teacher_logits` and
            `teacher_features` are the teacher's answers where no teacher is given. A label of -1 or None is none.
            `WithExtraImages` adds images of none of the classes.
        eval_dataset: the same; labels may be missing. A dict of data sets is evaluated one by one.
        augmentation: how images of an HF `train_dataset` are varied, the same for teacher and student: as the preset
            of `args` does where not given, or as the teacher's stored answers are for; None trains on the evaluation
            transform.
        processing_class: the student's image processor; found from the model where not given. Data sets of tensors
            do without.
        data_collator: `collate_distillation` where not given.
        compute_metrics: top-1 and top-5 accuracy where not given.
        callbacks: as in the Trainer.
        optimizers: as in the Trainer.
        preprocess_logits_for_metrics: as in the Trainer.
        classes: how classes of data, teacher and student are matched: by `names`, by `position` where names don't
            tell, or by a mapping from the teacher's names to those of the data (or the path of a JSON file of one).
        teacher_head: what gives the teacher's logits: its `own` classifier; a `probe`, a linear one for the student's
            classes that is fitted on the teacher's features of the labelled training images; `text`, what the classes
            are called, for CLIP, SigLIP and their like; or `none`, to compare features alone. Where not given: its
            own, or where it has none and a term compares logits, a probe.
        prompts: for `text`, each with `{}` where the name of a class stands; the model's usual one where not given.
        class_names: for `text`, what its classes are called; as those of images or student where not given.
        terms: of the loss, beside those that have weights in `args`: `{"dist": Term(DISTLoss(), weight=1.0)}`.

    Raises:
        ValueError: before training, for data, labels, teacher and student that don't fit each other.
    """

    args: DistillationArguments
    processing_class: BaseImageProcessor | None

    def __init__(
        self,
        model: nn.Module | str | os.PathLike[str],
        teacher: Teacher | Sequence[Teacher] | None = None,
        args: DistillationArguments | None = None,
        train_dataset: Dataset | datasets.Dataset | WithExtraImages | None = None,
        eval_dataset: Dataset | datasets.Dataset | dict[str, Any] | None = None,
        augmentation: Augmentation | Literal["preset"] | None = "preset",
        processing_class: BaseImageProcessor | None = None,
        data_collator: Callable[[list[dict[str, Any]]], dict[str, Any]] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        preprocess_logits_for_metrics: Callable[[Tensor, Tensor], Tensor] | None = None,
        classes: ClassRule | str | os.PathLike[str] = "names",
        teacher_head: TeacherHead | None = None,
        prompts: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        terms: Mapping[str, Term] | None = None,
    ) -> None:
        args = args if args is not None else DistillationArguments(output_dir="tmp_trainer")
        check_processes(args)
        args, own_terms = take_terms(args, terms)
        train_dataset, extra = as_one_dataset(train_dataset)
        check_given(train_dataset, "train_dataset")
        converted = train_in_float32(model)
        student, self.teacher = as_student(model), as_one_teacher(teacher)
        if self.teacher is None and args.needs_teacher:
            self.teacher = answers_in_items(train_dataset, student.config)
        given_images = train_dataset
        texts = TextClasses(class_names, prompts)
        self.teacher, self.headed = with_head(self.teacher, teacher_head, student.config, args, given_images, texts)
        chosen_terms = self._terms(student, args, train_dataset, extra)
        args = chosen_terms.args
        check_roles(student, self.teacher, args, optimizers[0])
        self._temperature = asked_temperature(self.teacher, args, own_terms)
        preprocessing = student_preprocessing(student, processing_class)
        if processing_class is None and preprocessing is not None:
            processing_class = preprocessing.to_image_processor()
        rule, names = read_class_rule(classes), names_of_data(train_dataset)
        self.classes, told = match_classes(student, self.teacher, args, rule, names)
        self._data = DataPreparation(preprocessing, self.teacher, student, self.classes, data_collator is None)
        notes = [*converted, *preset_notes(student, augmentation, args), *told]
        train_dataset, self._mixing = self._data.for_training(train_dataset, args, augmentation, extra)
        self.take_labels(given_images, train_dataset, self.classes)
        images = images_in_a_walk(train_dataset)
        check_epochs_known(args, train_dataset, images)
        chosen = complete(args, student.starts_from_nothing, images, optimizers[0] is not None)
        args = chosen.args
        networks = [student, *(() if self.teacher is None else self.teacher.networks())]
        self._on_device, held = hold_images(args, train_dataset)
        of_machine = complete_for_machine(held.args, networks, train_dataset)
        args = of_machine.args
        lay_out(networks, args)
        if isinstance(train_dataset, StreamedImages):
            read_on_each_process(args)
        eval_dataset, data_collator = self._data.for_evaluation(eval_dataset), data_collator or collate_distillation
        if compute_metrics is None:
            check_best_metric(args, eval_dataset)
        collate = self._data.normalising.after(data_collator)
        check_first_images(student, self._source, train_dataset, eval_dataset, collate, args)
        if args.needs_teacher and self.teacher is not None and (told_size := size_in_words(self.teacher)):
            notes.append(told_size)
        # The Trainer does so too, but only when embeddings and critic have their weights already.
        set_seed(args.seed)
        objective = _objective(student, args, self.teacher, train_dataset, self.classes.student_columns, own_terms)
        allow_another_accelerator()
        super().__init__(
            model=objective,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            data_collator=data_collator,
            compute_metrics=compute_metrics or classification_metrics,
            callbacks=[
                *(callbacks or ()),
                *_epoch_callbacks(train_dataset),
                NoticeCallback([*notes, *chosen_terms.told, *chosen.told, *held.told, *of_machine.told]),
            ],
            optimizers=optimizers,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
        )
        check_backend(self.accelerator, self.args)

    def _terms(
        self, student: ExRepForImageClassification, args: DistillationArguments, given: Any, extra: Extra | None
    ) -> Chosen:
        """Fill in which terms there are, as they follow from the teacher and the images that were given."""
        stored, gives_features, gives_logits = None, False, True
        if self.teacher is not None:
            stored, gives_features = self.teacher.views, self.teacher.feature_dim is not None
            gives_logits = self.teacher.num_labels is not None
        images = number_of(given) if extra is None else len(given) - extra.count
        return complete_terms(args, gives_features, images, student.config.num_labels, stored, gives_logits)

    @property
    def _source(self) -> TeacherSource | None:
        """The teacher without a head that is this trainer's to fit, or to take from a checkpoint."""
        return self.teacher if self.headed is None else self.headed.source

    # Data

    def get_train_dataloader(self) -> DataLoader:
        """Read stored answers, and look at the numbers of a stream's items, where batches are made."""
        dataset, collate = self.train_dataset, self.data_collator
        workers = self.args.dataloader_num_workers, self.args.dataloader_persistent_workers
        self.data_collator = self._data.training_collator(collate, dataset, self.args)
        if self._on_device is not None:
            self.train_dataset, self.data_collator = self._on_device.rows, cast(Any, whole_batch)
            # There is nothing for them to do, but with the images of an evaluation.
            self.args.dataloader_num_workers, self.args.dataloader_persistent_workers = 0, False
        try:
            return super().get_train_dataloader()
        finally:
            self.train_dataset, self.data_collator = dataset, collate
            self.args.dataloader_num_workers, self.args.dataloader_persistent_workers = workers

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        """Let images that are mixed with each other come in one batch, where the order is random."""
        usual = super()._get_train_sampler(train_dataset)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        grouped = group_sampler(self.train_dataset, seed) if isinstance(usual, RandomSampler) else None
        return usual if grouped is None else grouped

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Take HF data sets with image columns here too."""
        # A name stands for one of several sets that were given, and checked, at the start.
        wanted = eval_dataset if isinstance(eval_dataset, str) else self._data.for_evaluation(eval_dataset)
        self._forget_other_loaders(wanted)
        with self._all_batches():
            return super().get_eval_dataloader(wanted)

    def _forget_other_loaders(self, wanted: Any) -> None:
        """Let no data set be evaluated in place of another: the Trainer keeps loaders with workers, one for all."""
        kept: dict[str, DataLoader] = getattr(self, "_eval_dataloaders", {})
        given: Any = self.eval_dataset
        name, dataset = (
            (wanted, given[wanted]) if isinstance(wanted, str) else ("eval", given if wanted is None else wanted)
        )
        if name in kept and kept[name].dataset is not dataset:
            del kept[name]

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """Take HF data sets with image columns here too."""
        with self._all_batches():
            return super().get_test_dataloader(self._data.for_evaluation(test_dataset))

    @contextlib.contextmanager
    def _all_batches(self) -> Iterator[None]:
        """Judge on every image: the Trainer would apply `dataloader_drop_last` to evaluation too."""
        drop_last, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            yield
        finally:
            self.args.dataloader_drop_last = drop_last

    # One step

    def prepare_training(self) -> None:
        """Say how many processes train."""
        tell_processes(self.args)
        super().prepare_training()

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Move a batch to the device, and make and normalise its pixels there."""
        batch = super()._prepare_inputs(inputs)
        return self._data.normalising(batch if self._on_device is None else self._on_device.images(batch))

    def forward_batch(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[DistillationOutput, TeacherOutput]:
        """Ask the teacher about a batch as it is, and compare: the objective's output, and the teacher's answer.

        Args:
            model: the objective, as the backend wraps it; its mode says whether this is training.
            batch: on the device, normalised, and mixed where it is to be.
        """
        answer = self.ask_teacher(batch, training=model.training)
        output = model(
            pixel_values=batch["pixel_values"],
            labels=batch.get("labels"),
            sample_index=batch.get("sample_index"),
            teacher_logits=answer.logits,
            teacher_features=answer.features,
        )
        return output, answer

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the objective's total, and its output on request."""
        if model.training:
            self.note_images(inputs)
            inputs = self.mixed(inputs)
        output, answer = self.forward_batch(model, inputs)
        # Of the components only the values are of use here, and outside.
        output.losses = {name: value.detach() for name, value in (output.losses or {}).items()}
        if model.training:
            self.note_terms(output, answer)
            self.note_components(output.losses)
        return (output.loss, output) if return_outputs else output.loss

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return loss, logits and labels, and take note of the components and of agreement with the teacher."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            output, answer = self.forward_batch(model, inputs)
        assert output.logits is not None and output.losses is not None
        logits, labels = output.logits.float(), inputs.get("labels")
        values = {name: value.expand(len(logits)) for name, value in output.losses.items()}
        if answer.logits is not None:
            # Among the classes that both have.
            agrees = self.classes.shared_by_student(logits).argmax(-1) == answer.logits.argmax(-1)
            values["teacher_agreement"] = agrees
        sums_alone = self._keeps_sums_alone and not prediction_loss_only
        if sums_alone and output.loss is not None:
            values["loss"] = output.loss.expand(len(logits))
        if sums_alone and labels is not None:
            process = self.preprocess_logits_for_metrics
            values |= judged(logits if process is None else process(logits, labels), labels)
        if values:
            self.note_evaluation(values)
        if prediction_loss_only:
            return output.loss, None, None
        return (None, None, None) if sums_alone else (output.loss, logits, labels)

    # Resuming

    def run_facts(self) -> dict[str, Any]:
        """Add images, views, classes and teacher: rows of the memory bank belong to the images."""
        dataset = self.train_dataset
        return super().run_facts() | {
            "training_images": number_of(self.train_dataset),
            "content_of_images": fingerprint(self.train_dataset),
            "classes": self._data.num_labels,
            "teacher_classes": self.classes.teacher_fingerprint,
            "teacher": None if self._source is None else self._source.fingerprint,
            "features_of_student": feature_definition(self.student.classifier),
            "features_of_teacher": None if self.teacher is None else features_of(self.teacher),
            "views": dataset.policy.as_dict() if isinstance(dataset, ReplayedDataset) else None,
            **transform_facts(dataset),
        }


def _objective(
    student: ExRepForImageClassification,
    args: DistillationArguments,
    teacher: TeacherSource | None,
    dataset: Any,
    shared_classes: Sequence[int] | None,
    own_terms: Mapping[str, Term],
) -> DistillationObjective:
    """Return the module to train, which knows the classes of the training images where they are known."""
    teacher_dim = None if teacher is None else teacher.feature_dim
    objective = DistillationObjective(student, args, teacher_dim, number_of(dataset), shared_classes, own_terms)
    labels = training_labels(dataset)
    if objective.crd is not None and labels is not None and bool((labels >= 0).any()) and args.queue_length is None:
        objective.crd.set_labels(labels)
    return objective


def _epoch_callbacks(dataset: Any) -> list[TrainerCallback]:
    return [EpochCallback(dataset)] if isinstance(dataset, SeededDataset) else []
