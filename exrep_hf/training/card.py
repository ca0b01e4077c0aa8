"""The card of a student that a trainer writes or pushes: what the trainer knows, and nothing else."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from exrep_hf.arguments import DistillationArguments
from exrep_hf.data.described import Described
from exrep_hf.data.loading import is_on_the_hub
from exrep_hf.teacher.head import head_in_words
from exrep_hf.training.card_names import HERE, model_in_words
from exrep_hf.training.markdown import harmless, plain
from exrep_hf.training.metrics import METRIC_TITLES, TOP5, says_top5

TEMPLATE = Path(__file__).with_name("card.md")
MARK = "<!-- Written by exrep_hf. Without this line the file is kept as it is. -->"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Evaluation:
    """Figures of one data set.

    Attributes:
        images: what they were measured on.
        metrics: by name, in [0, 1].
    """

    images: Described
    metrics: dict[str, float]


@dataclass(frozen=True)
class CardFacts:
    """What a card says, as plain values.

    Attributes:
        model_id: name on the Hub, or of the folder.
        student: name of the network that the student was made of; its architecture where it has none.
        is_local: whether that is the name of a folder.
        architecture: of the student.
        from_scratch: whether it began without weights.
        is_published: whether the student's name is one of the Hub.
        distiller: the Input Distiller it was trained with, or None.
        plain: whether it is published without it.
        teachers: names of the teachers, as far as they are known.
        teacher_kind: class of the source, where there is one.
        teacher_head: what is told of a head that was fitted for it, as `fitted_head` returns it.
        images: the training images.
        num_labels: number of classes.
        teacher_classes: which of the teacher's they are, in words, where its logits are learnt.
        figures: evaluations of these very weights.
        args: settings of training, complete.
        settings: those that may be published, as JSON.
        code: commit of the code, as `code_commit` returns it.
        steps: optimizer steps taken.
        images_per_step: of all processes.
        versions: of the software.
        license: if given.
        tags: beside our own.
        language: if given.
        dataset_tags: names of the data sets on the Hub, if given.
        dataset_names: what they are called, if given.
    """

    model_id: str
    student: str
    from_scratch: bool
    is_published: bool
    distiller: str | None
    plain: bool
    teachers: list[str]
    teacher_kind: str | None
    images: Described
    num_labels: int
    teacher_classes: str | None
    figures: list[Evaluation]
    args: DistillationArguments
    settings: str
    steps: int
    images_per_step: int
    versions: dict[str, str]
    is_local: bool = False
    architecture: str | None = None
    code: Mapping[str, Any] | None = None
    teacher_head: dict[str, Any] | None = None
    license: str | None = None
    tags: tuple[str, ...] = ()
    language: str | None = None
    dataset_tags: tuple[str, ...] = ()
    dataset_names: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Last part of the name."""
        return plain(harmless(self.model_id.split("/")[-1]))

    @property
    def loaded_by(self) -> str:
        """What lines of code name the student by: its name on the Hub, or its folder."""
        return self.model_id if is_on_the_hub(self.model_id) else HERE

    @property
    def teacher_in_words(self) -> str:
        """All teachers, those of the Hub with their links."""
        names = ", ".join(self.teachers)
        return model_in_words(harmless({"name": names, "from_scratch": False}))

    @property
    def student_in_words(self) -> str:
        """The network that the student was made of."""
        if not self.is_local and not self.is_published:
            return f"`{harmless(self.student)}`"
        known = {"name": self.student, "architecture": self.architecture, "from_scratch": self.from_scratch}
        return model_in_words(harmless(known))

    @property
    def learning_rate(self) -> float:
        """Peak learning rate."""
        return float(self.args.learning_rate or 0)

    @property
    def freeze_batch_norm(self) -> bool | None:
        """Whether BatchNorm statistics stayed as they were."""
        return self.args.freeze_batch_norm

    @property
    def trained_on(self) -> str:
        """The training images in words."""
        name = ", ".join(self.dataset_names) or self.images.name or "a data set whose name is not known"
        split = f", split {self.images.split}" if self.images.split else ""
        count = "" if self.images.num_images is None else f", {self.images.num_images} images"
        return plain(harmless(name + split)) + count

    @property
    def titles(self) -> list[str]:
        """Of the columns of figures."""
        return [METRIC_TITLES.get(name, name) for name in self._measured]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Figures in percent, a row a data set."""
        return [
            (
                plain(harmless(_name(each.images, self.dataset_names))),
                str(each.images.num_images or UNKNOWN),
                *(f"{100 * each.metrics[name]:.1f} %" if name in each.metrics else "–" for name in self._measured),
            )
            for each in self.figures
        ]

    @property
    def terms(self) -> list[str]:
        """Active terms of the loss with their weights."""
        args = self.args
        told = {
            f"cross-entropy with the labels, label smoothing {args.label_smoothing_factor:g}": args.ce_weight,
            f"KL divergence from the teacher's logits, temperature {args.temperature:g}": args.kd_weight,
            "contrastive representation distillation": args.crd_weight,
            "cosine and smooth L1 to standardised features": args.feature_weight,
            "adversarial term on features": args.adversarial_weight,
        }
        ours = [f"{what}: weight {weight:g}" for what, weight in told.items() if weight]
        own = [f"`{name}` ({term['class']}): weight {term['weight']}" for name, term in args.own_terms.items()]
        return ours + own

    @property
    def head(self) -> str | None:
        """How the teacher's head was come by, in words; None where it is its own."""
        return head_in_words(self.teacher_head)

    @property
    def _measured(self) -> list[str]:
        names = [name for name in METRIC_TITLES if name != TOP5 or says_top5(self.num_labels)]
        return [name for name in names if any(name in each.metrics for each in self.figures)]


def make_card(facts: CardFacts) -> ModelCard:
    """Write a card with `base_model`, `pipeline_tag`, `library_name` and a model-index, as far as they are known."""
    derived = facts.is_published and not facts.from_scratch
    own_tags = ["exrep", "knowledge-distillation"] if facts.teacher_kind else ["exrep"]
    timm_tag = ["timm"] if facts.student.startswith("timm/") else []
    teachers = [f"teacher:{name}" for name in facts.teachers if is_on_the_hub(name)]
    data = ModelCardData(
        language=facts.language,
        license=facts.license,
        library_name="transformers",
        pipeline_tag="image-classification",
        base_model=facts.student if derived else None,
        base_model_relation="finetune" if derived else None,
        datasets=list(facts.dataset_tags) or None,
        tags=list(dict.fromkeys([*own_tags, *timm_tag, *teachers, *facts.tags])),
        model_name=facts.model_id.split("/")[-1],
        eval_results=[result for each in facts.figures for result in _results(each, facts)] or None,
        metrics=["accuracy"] if facts.figures else None,
        ignore_metadata_errors=False,
    )
    return ModelCard.from_template(data, template_path=str(TEMPLATE), facts=facts, mark=MARK)


def may_write(path: Path) -> bool:
    """Return whether a card may be written: where there is none, or one of ours that nobody has claimed."""
    return not path.is_file() or MARK in path.read_text(encoding="utf-8")


def as_json(settings: dict[str, Any]) -> str:
    """Return settings as a card shows them."""
    return json.dumps(settings, indent=2)


def _name(images: Described, given: tuple[str, ...]) -> str:
    return ", ".join(filter(None, [images.name or ", ".join(given) or UNKNOWN, images.split]))


def _results(evaluation: Evaluation, facts: CardFacts) -> list[EvalResult]:
    images = evaluation.images
    name = images.name or ", ".join(facts.dataset_names) or UNKNOWN
    return [
        EvalResult(
            task_type="image-classification",
            task_name="Image classification",
            dataset_type=facts.dataset_tags[0] if len(facts.dataset_tags) == 1 else name,
            dataset_name=name,
            dataset_split=images.split,
            metric_type=metric,
            metric_name=title,
            metric_value=evaluation.metrics[metric],
        )
        for metric, title in METRIC_TITLES.items()
        if metric in evaluation.metrics and (metric != TOP5 or says_top5(facts.num_labels))
    ]
