"""The module that is trained: the student with everything its loss needs."""

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from exrep_hf.arguments import DistillationArguments
from exrep_hf.arguments.terms import OUR_TERMS
from exrep_hf.losses import AdversarialLoss, CRDLoss, FeatureLoss, Term
from exrep_hf.models import ExRepConfig, ExRepForImageClassification, StudentOutput
from exrep_hf.outputs import DistillationOutput, TeacherOutput
from exrep_hf.training.terms import our_terms

STUDENT_PREFIX = "student."
BANK_PREFIX = "crd_bank."
LABELS_NAME = "crd_labels"


class DistillationObjective(nn.Module):
    """Student and terms under one loss, in one forward.

    The loss is a weighted sum of terms: those that have settings, `ce_weight·CE + kd_weight·KD +
    feature_weight·FEATURE + crd_weight·CRD + adversarial_weight·ADV + critic_weight·CRITIC` (Jeon et al., ACCV 2020,
    and `FeatureLoss`), and the user's. Terms of weight 0 are not built. All trainable parameters hang below this one
    module, so that DDP, FSDP and ZeRO see them; the teacher does not.

    Args:
        student: the model to publish.
        args: weights and settings of the terms.
        teacher_dim: width of the teacher's pooled features; needed by the terms that compare features.
        num_samples: number of training images; needed by CRD's memory bank.
        shared_classes: the student's numbers of the classes that the teacher knows too, which alone are compared;
            None: all.
        own_terms: the user's, by name.

    Raises:
        ValueError: if an active term lacks `teacher_dim` or `num_samples`, or can't do with some of the classes.
    """

    _shared_classes: Tensor | None
    main_input_name = "pixel_values"
    # The loss is a mean over the batch: the Trainer has to divide it under gradient accumulation.
    accepts_loss_kwargs = False

    def __init__(
        self,
        student: ExRepForImageClassification,
        args: DistillationArguments,
        teacher_dim: int | None = None,
        num_samples: int | None = None,
        shared_classes: Sequence[int] | None = None,
        own_terms: Mapping[str, Term] | None = None,
    ) -> None:
        super().__init__()
        self.args = args
        # On the device of the logits, and in no checkpoint: it follows from the classes.
        columns = None if shared_classes is None else torch.tensor(shared_classes)
        self.register_buffer("_shared_classes", columns, persistent=False)
        # Of each module whether it trains, once training has begun.
        self._modes: list[tuple[nn.Module, bool]] = []
        self.student = student
        ours, own = our_terms(args, student.feature_dim, teacher_dim, num_samples), own_terms or {}
        terms = ours | dict(own)
        self.terms = nn.ModuleDict({name: term.loss for name, term in terms.items()})
        self._needs = {name: frozenset(term.needed) for name, term in terms.items()}
        self._weights = {name: term.weight for name, term in terms.items()}
        # Of a term of the user's it is not known whether it looks at them.
        self._compares_features = args.needs_features or bool(own)
        if columns is not None:
            _check_shared(own)

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each part of the loss, by its name in the log without `loss_`."""
        parts = ((name, each if isinstance(each, Mapping) else {name: each}) for name, each in self._weights.items())
        return {part: weight for _, weights in parts for part, weight in weights.items()}

    @property
    def feature(self) -> FeatureLoss | None:
        """The loss on features, if it is active."""
        return cast(FeatureLoss | None, self._loss_of("feature"))

    @property
    def crd(self) -> CRDLoss | None:
        """The contrastive loss, if it is active."""
        return cast(CRDLoss | None, self._loss_of("crd"))

    @property
    def adversarial(self) -> AdversarialLoss | None:
        """The adversarial loss with its critic, if it is active."""
        return cast(AdversarialLoss | None, self._loss_of("adversarial"))

    def _loss_of(self, name: str) -> nn.Module | None:
        return self.terms[name].get_submodule("loss") if name in self.terms else None

    @property
    def config(self) -> ExRepConfig:
        """The student's configuration: integrations of the Trainer look for one."""
        return self.student.config

    @property
    def _no_split_modules(self) -> set[str]:
        """The student's blocks, which FSDP wraps one by one."""
        return set(self.student._no_split_modules or ())

    def train(self, mode: bool = True) -> "DistillationObjective":
        """Set training mode, but of the student only what `freeze_batch_norm` and `disable_dropout` leave of it."""
        # The Trainer does so at each step; to look at all modules is much faster than to set them.
        if mode and self._modes and all(module.training is trains for module, trains in self._modes):
            return self
        super().train(mode)
        if mode and self.args.disable_dropout:
            # Many networks drop without a module that could be looked for: by a function that asks for their mode.
            for module in self.student.modules():
                module.training = _keeps_statistics(module)
        if mode and self.args.freeze_batch_norm:
            for module in self.student.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        if mode:
            self._modes = [(module, module.training) for module in self.modules()]
        return self

    @property
    def activation_checkpointing_enable(self) -> Callable[..., None]:
        """The student's own method: the Trainer looks for it on the trained module."""
        return self.student.activation_checkpointing_enable

    @property
    def gradient_checkpointing_enable(self) -> Callable[..., None]:
        """The same under the name that older versions of the Trainer call."""
        return self.student.gradient_checkpointing_enable

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        sample_index: Tensor | None = None,
        teacher_logits: Tensor | None = None,
        teacher_features: Tensor | None = None,
    ) -> DistillationOutput:
        """Compute the student's logits and every term that applies.

        Args:
            pixel_values: `(batch, channels, height, width)`, normalised for the student.
            labels: `(batch,)` class indices, -1 where there is none, or of mixed images the shares of classes
                `(batch, num_labels)`; without them the label term applies only in evaluation.
            sample_index: `(batch,)` positions in the training data set; needed by CRD in training.
            teacher_logits: the teacher's answer for the same images, `(batch, num_labels)`, or of `shared_classes`
                alone.
            teacher_features: `(batch, teacher_dim)`, the teacher's pooled features.

        In evaluation, terms whose input is missing are left out.

        Raises:
            ValueError: in training, if an active term lacks its input.
        """
        student = self.student(
            pixel_values,
            output_features=self._compares_features,
            with_residual=self._drawn_for_residual(pixel_values),
        )
        # A softmax over some classes is renormalised by itself.
        shared = (
            student
            if self._shared_classes is None
            else StudentOutput(logits=student.logits.index_select(-1, self._shared_classes), features=student.features)
        )
        teacher = TeacherOutput(logits=teacher_logits, features=teacher_features)
        given = {"labels": labels, "sample_index": sample_index}
        batch = {"pixel_values": pixel_values} | {key: value for key, value in given.items() if value is not None}
        answers = {"teacher_logits": teacher_logits, "teacher_features": teacher_features}
        present = batch.keys() | {key for key, value in answers.items() if value is not None}
        losses: dict[str, Tensor] = {}
        loss = None
        for name, term in self.terms.items():
            if not self._applies(name, present):
                continue
            value = term(shared if "teacher_logits" in self._needs[name] else student, teacher, batch)
            for part, weight, of_part in _parts(name, self._weights[name], value):
                losses[f"loss_{part}"] = of_part
                loss = weight * of_part if loss is None else loss + weight * of_part
        if self.training and loss is not None and not losses.keys() & {"loss_ce", "loss_kd"}:
            # DDP waits for a gradient of every parameter, also of a classifier that no term trains.
            loss = loss + 0.0 * student.logits.float().sum()
        # Not detached here: inductor drops a weight of 1, and makes of the loss and a detached copy of it one tensor.
        return DistillationOutput(loss=loss, losses=losses, logits=student.logits, features=student.features)

    def _drawn_for_residual(self, pixel_values: Tensor) -> Tensor | None:
        """Return which images of a training batch the student sees as x + G(x); None: all of them."""
        if not self.training or self.args.distiller_share == 1:
            return None
        return (torch.rand(len(pixel_values)) < self.args.distiller_share).to(pixel_values.device)

    def _applies(self, name: str, present: Set[str]) -> bool:
        """Return whether a batch has what a term needs; in training it has to."""
        missing = sorted(self._needs[name] - present)
        if not missing or not self.training:
            return not missing
        if name in OUR_TERMS:
            what, remedy = f"`{name}_weight`", f"set `{name}_weight` to 0"
        else:
            what, remedy = f"`{name}`, by its `needs`,", "leave it out"
        raise ValueError(
            f"A training batch has no {missing[0]}, which the term of {what} needs. Let the data set's items hold it, "
            f"or {remedy}."
        )

    def auxiliary_state(self, parameters: bool = True) -> dict[str, Tensor]:
        """Everything a resumed run needs that is not the student: embeddings, projection, critic, bank, Z, classes.

        Classes of the training images are in it because they may have been learned as batches passed.

        Args:
            parameters: False leaves out what a backend that shards parameters saves itself.
        """
        state = {}
        if parameters:
            state = {name: value for name, value in self.state_dict().items() if not name.startswith(STUDENT_PREFIX)}
        if self.crd is not None:
            state.update({BANK_PREFIX + name: value for name, value in self.crd.bank_state().items()})
            state[LABELS_NAME] = self.crd.negatives.labels
        return state

    @torch.no_grad()
    def load_auxiliary_state(self, state: dict[str, Tensor], parameters: bool = True) -> None:
        """Restore `auxiliary_state`.

        Args:
            state: what it gave.
            parameters: as it was given there.

        Raises:
            ValueError: if the state belongs to other terms, sizes or training images than this objective has; nothing
                is loaded then.
        """
        own, other = (
            {name: value.shape for name, value in part.items()} for part in (self.auxiliary_state(parameters), state)
        )
        if own != other:
            differing = sorted(name for name in own.keys() | other.keys() if own.get(name) != other.get(name))
            raise ValueError(
                f"The checkpoint's distillation state does not fit this run: {differing} differ. Resume with the loss "
                "weights, feature widths, training images and teacher that the checkpoint was written with."
            )
        if self.crd is not None:
            labels = self.crd.negatives.labels
            stored = state[LABELS_NAME].to(labels.device)
            if self.crd.negatives.registered and not torch.equal(labels, stored):
                raise ValueError(
                    "The classes of the training images differ from those in the checkpoint, whose memory bank has "
                    "one row an image. Resume with the same images in the same order."
                )
            prefix = len(BANK_PREFIX)
            bank = {name[prefix:]: value for name, value in state.items() if name.startswith(BANK_PREFIX)}
            # Before the rest: it looks at the tables' dtype too.
            self.crd.load_bank_state(bank)
            self.crd.negatives.load(stored)
        if parameters:
            for name, value in self.state_dict().items():
                if not name.startswith(STUDENT_PREFIX):
                    value.copy_(state[name])


def _keeps_statistics(module: nn.Module) -> bool:
    """Return whether a module has statistics of its own that it brings up to date in training mode."""
    return any(name.startswith("running_") for name, _ in module.named_buffers(recurse=False))


def _parts(name: str, weight: float | Mapping[str, float], value: Any) -> list[tuple[str, float, Tensor]]:
    """Name, weight and value of each part of a term, of which most have one.

    Raises:
        ValueError: if it is none that the term has a weight for.
    """
    given = value if isinstance(value, Mapping) else {name: value}
    weights = weight if isinstance(weight, Mapping) else {name: weight}
    are_scalars = all(isinstance(each, Tensor) and each.ndim == 0 for each in given.values())
    if not are_scalars or not given.keys() <= weights.keys():
        kinds = {part: tuple(each.shape) if isinstance(each, Tensor) else type(each) for part, each in given.items()}
        raise ValueError(
            f"The term `{name}` gives {kinds}; expected a scalar tensor, or one for each of {sorted(weights)}. "
            "Average over the batch in its `forward`, and give each part a weight."
        )
    return [(part, weights[part], each) for part, each in given.items()]


def _check_shared(terms: Mapping[str, Term]) -> None:
    """Make sure that no term of the user's needs labels of classes beside logits that lack some of them."""
    both = [name for name, term in terms.items() if {"labels", "teacher_logits"} <= set(term.needed)]
    if both:
        raise ValueError(
            f"The terms {both} need labels and the teacher's logits, and the teacher knows some of the classes only: "
            "labels count all of them, its logits those. Leave these terms out, or take a teacher of all classes."
        )
