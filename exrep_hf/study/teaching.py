"""Who teaches in a study: a network or its stored answers, with the head that the settings ask for."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset

from exrep_hf.arguments import DataArguments, ModelArguments
from exrep_hf.arguments.class_rule import ClassRule
from exrep_hf.data.classes import HasClasses
from exrep_hf.data.partition import DataPartition
from exrep_hf.main_process import decided_by_main
from exrep_hf.models import has_classifier
from exrep_hf.study.arms import Arm
from exrep_hf.study.probe import evaluate_head, fit_head
from exrep_hf.study.records import Record, network_cost, summarise_teacher
from exrep_hf.study.run import Metrics, evaluate
from exrep_hf.study.several import asked_together, cost_together, names_together, texts_together, together
from exrep_hf.study.stages import Classifier, ask_online, load_other_teachers, load_student, load_teacher
from exrep_hf.study.stored_teacher import open_caches, stored_metrics, summarise_stored_teacher
from exrep_hf.study.teacher_accuracy import described_classes, evaluate_teacher
from exrep_hf.teacher import (
    CachedTeacher,
    FeaturesOnly,
    LinearProbe,
    ProbedTeacher,
    TeacherEnsemble,
    TeacherSource,
    TextClasses,
    TextTeacher,
    fitted_head,
)
from exrep_hf.teacher.head import HeadTeacher
from exrep_hf.teacher.head_file import load_head, load_text_head, save_head
from exrep_hf.training.card_names import architecture
from exrep_hf.training.probe_look import Comparison, told_of_head, warn_of_comparison
from exrep_hf.training.teacher_head import check_can_be_fitted, wanted_head
from exrep_hf.training.text_head import text_teacher, texts_for


class Teaching:
    """The teacher of all arms.

    Args:
        model_args: the settings.
        network: the teacher itself, if it is asked.
        caches: its stored answers, if these are; of several teachers, which answer as one.
        needs_logits: whether an arm that has to be run compares logits.
        images: some that a head is fitted on, if one is.
        texts: what a head is made of, if it is one of texts.
        others: teachers that are asked beside the first, as one.
        rule: how the classes of several are matched.

    Attributes:
        network: as given.
        caches: as given.
        texts: as given.
        head: `own`, `probe`, `text`, `none`; None: there is no teacher.

    Raises:
        ValueError: if the teacher can't have the head that the settings ask for.
    """

    def __init__(
        self,
        model_args: ModelArguments,
        network: Classifier | None,
        caches: Sequence[CachedTeacher],
        needs_logits: bool,
        images: Dataset,
        texts: TextClasses,
        others: Sequence[Classifier] = (),
        rule: ClassRule = "names",
    ) -> None:
        self.network = network
        self.texts = texts
        self.others = others
        self.caches = caches
        self._model_args = model_args
        self._source: TeacherSource | None = None if network is None else ask_online(network, model_args)
        if caches:
            self._source = caches[0] if len(caches) == 1 else together(caches, rule)
        if network is not None and others:
            self._source = asked_together([network, *others], model_args, rule, texts)
        self.head: str | None = None
        if self._source is not None:
            # Each of several has its head already.
            is_made = bool(others) and model_args.teacher_head == "text"
            self.head = "text" if is_made else wanted_head(self._source, model_args.teacher_head, needs_logits)
            if self.head == "probe":
                check_can_be_fitted(self._source, images)
            if self.head == "text" and not is_made:
                self._source = text_teacher(self._source, texts, revision=model_args.teacher_revision)

    def source(self, classes: HasClasses, head: LinearProbe | None = None) -> TeacherSource | None:
        """Return who is asked; with a head that knows nothing where one is still to be fitted.

        Args:
            classes: the student's.
            head: that was fitted.
        """
        source = self._source
        if source is None or self.head in ("own", "text"):
            return source
        if self.head == "none":
            return FeaturesOnly(source)
        return ProbedTeacher(source, classes, head or _blank(classes.num_labels or 0, source.feature_dim or 0))

    def of_seed(
        self, start: Classifier, images: Dataset, arm: Arm, kept: Path, resuming: bool
    ) -> TeacherSource | None:
        """Return who is asked under a seed; a probe is fitted on its public images, or is the one that was kept.

        Args:
            start: the starting student, whose classes the head gets.
            images: the public ones.
            arm: the method, with the seed.
            kept: where the head lies.
            resuming: whether one that lies there is taken.
        """
        if isinstance(self._source, TextTeacher):
            made = self._source.head
            if decided_by_main(lambda: resuming and kept.is_file()):
                self._source.head = decided_by_main(lambda: load_text_head(kept, made))
            elif PartialState().is_main_process:
                self._source.save_head(kept)
        if self.head != "probe":
            return self.source(start.classifier.config)
        assert self._source is not None
        classes, width = start.classifier.config, self._source.feature_dim or 0
        if decided_by_main(lambda: resuming and kept.is_file()):
            head = decided_by_main(lambda: load_head(kept, classes.num_labels or 0, width))
        else:
            head = fit_head(self._source, classes, images, arm.args, arm.data_args)
            if PartialState().is_main_process:
                save_head(head, kept)
        if PartialState().is_main_process:
            print(told_of_head(head), flush=True)
        return self.source(classes, head)

    def evaluate(self, source: TeacherSource | None, images: Dataset, arm: Arm) -> Metrics | None:
        """Return what the teacher reaches on images; None where that can't be known, or it has no logits."""
        if isinstance(source, HeadTeacher):
            return None if source.views is not None else evaluate_head(source, images, arm.args, arm.data_args)
        if self.caches:
            return stored_metrics(self.caches, arm.data_args.evaluate_on, len(images))
        if self.others and source is not None:
            answers = source.num_labels is not None
            return evaluate_head(source, images, arm.args, arm.data_args) if answers else None
        # Without a classifier there is nothing to be right about.
        if self.network is None or self.head == "none" or not has_classifier(self.network.classifier):
            return None
        return evaluate_teacher(self.network, images, arm.args, arm.data_args)

    def facts(self, source: TeacherSource | None) -> dict[str, Any] | None:
        """Return what a record holds of the teacher's head, of JSON types."""
        if self.head == "text" and isinstance(source, TeacherEnsemble):
            return texts_together([fitted_head(each) for each in source.teachers])
        return None if self.head is None else fitted_head(source) or {"kind": self.head}

    def before_arms(
        self, start: Classifier, images: Dataset, source: TeacherSource | None, arm: Arm
    ) -> dict[str, Any]:
        """Return what the records of all arms of a seed share: what the starting student and the teacher reach.

        Says so where a fitted head is no better than the student.

        Args:
            start: the starting student.
            images: to evaluate on.
            source: who is asked under this seed.
            arm: the method, with the seed.
        """
        before = evaluate(start, images, source, arm.args, arm.data_args)
        reached = self.evaluate(source, images, arm)
        if self.head == "probe" and reached is not None and PartialState().is_main_process:
            warn_of_comparison(Comparison("the images of the evaluation", before["accuracy"], reached["accuracy"]))
        return {"before": before, "teacher": reached, "teacher_head": self.facts(source)}

    def summary(
        self, runs: list[Record], student: HasClasses, data_args: DataArguments, names: Sequence[str] | None
    ) -> Record | None:
        """Return the teacher as results hold it.

        Args:
            runs: records of the method.
            student: whose classes are compared with the teacher's.
            data_args: how classes are matched.
            names: of the data's classes.
        """
        if self.head is None:
            return None
        classes = described_classes(student, self._source, data_args, names) if self.head in ("own", "text") else None
        if self.caches:
            assert self._source is not None
            told = summarise_stored_teacher(self.caches, self._source.fingerprint, runs)
        else:
            assert self.network is not None
            name, from_scratch = self._model_args.teacher, self._model_args.teacher_from_scratch
            if self.others:
                networks = [self.network, *self.others]
                name, cost = names_together(self._model_args), cost_together(networks)
                kind: str | None = ", ".join(architecture(each.classifier) for each in networks)
            else:
                cost, kind = network_cost(self.network), architecture(self.network.classifier)
            told = summarise_teacher(name, kind, from_scratch, runs, cost)
        return told | {"classes": classes, "head": _over_seeds([run.get("teacher_head") for run in runs])}


def load_teaching(
    model_args: ModelArguments, data: DataPartition, images: Dataset, needs_logits: bool, kept: Path | None = None
) -> tuple[Teaching, Classifier]:
    """Load the teacher of a study (networks, or stored answers), and the student, whose classes a head gets.

    Args:
        model_args: the settings.
        data: the images, by whose settings classes are matched.
        images: some that a head is fitted on, if one is.
        needs_logits: whether an arm that has to be run compares logits.
        kept: folder of a teacher that this study trained before.

    Raises:
        ValueError: if something is not found, or does not fit.
    """
    caches, network = open_caches(model_args), load_teacher(model_args, data, kept)
    # Behind the teacher: weights that are drawn follow from the order.
    start = load_student(model_args, data)
    given = TextClasses(data.args.class_names, model_args.prompts)
    texts = texts_for(given, start.classifier.config, data.names)
    others, rule = load_other_teachers(model_args, data), data.args.class_rule()
    return Teaching(model_args, network, caches, needs_logits, images, texts, others, rule), start


def _over_seeds(heads: list[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Return the facts of a head; of one for each seed the mean accuracy, which is None where one is not known."""
    known = [head for head in heads if head is not None]
    if not known or known[0]["kind"] != "probe":
        return known[0] if known else None
    accuracies = [head["accuracy"] for head in known]
    accuracy = None if None in accuracies else mean(accuracies)
    return {"kind": "probe", "accuracy": accuracy, "images": known[0]["images"]}


def _blank(classes: int, width: int) -> LinearProbe:
    return LinearProbe(torch.zeros(classes, width), torch.zeros(classes), 0.0, None, None, 0, 0, 0, classes)
