"""The module that is trained: the student with everything its loss needs."""

from collections.abc import Callable, Sequence
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from exrep_hf.arguments import DistillationArguments
from exrep_hf.arguments.distillation import FEATURE_TERMS
from exrep_hf.data.checks import check_label_batch
from exrep_hf.losses import AdversarialLoss, CRDLoss, FeatureLoss, KDLoss
from exrep_hf.losses.cross_entropy import labelled_cross_entropy
from exrep_hf.models import ExRepConfig, ExRepForImageClassification
from exrep_hf.outputs import DistillationOutput

STUDENT_PREFIX = "student."
BANK_PREFIX = "crd_bank."
LABELS_NAME = "crd_labels"


class DistillationObjective(nn.Module):
    """Student, projector, embeddings, projection and critic under one loss, in one forward.

    The loss is `ce_weight·CE + kd_weight·KD + feature_weight·FEATURE + crd_weight·CRD + adversarial_weight·ADV +
    critic_weight·CRITIC` (Jeon et al., ACCV 2020, and `FeatureLoss`). Terms of weight 0 are not built. All trainable
    parameters hang below this one module, so that DDP, FSDP and ZeRO see them; the teacher does not.

    Args:
        student: the model to publish.
        args: weights and settings of the terms.
        teacher_dim: width of the teacher's pooled features; needed by the terms that compare features.
        num_samples: number of training images; needed by CRD's memory bank.
        shared_classes: the student's numbers of the classes that the teacher knows too, which alone are compared;
            None: all.

    Raises:
        ValueError: if an active term lacks `teacher_dim` or `num_samples`.
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
    ) -> None:
        super().__init__()
        self.args = args
        # On the device of the logits, and in no checkpoint: it follows from the classes.
        columns = None if shared_classes is None else torch.tensor(shared_classes)
        self.register_buffer("_shared_classes", columns, persistent=False)
        self.student = student
        self.kd = KDLoss(args.temperature) if args.kd_weight else None
        self.feature: FeatureLoss | None = None
        self.crd: CRDLoss | None = None
        self.adversarial: AdversarialLoss | None = None
        if args.needs_features and teacher_dim is None:
            named = ", ".join(f"`{name}`" for name in FEATURE_TERMS)
            raise ValueError(
                f"One of {named} is above 0 but no teacher was given: these terms compare features. "
                "Pass a teacher, or set these weights to 0."
            )
        student_dim = student.feature_dim
        if args.feature_weight:
            self.feature = FeatureLoss(student_dim, teacher_dim or 0, args.feature_hidden_dim)
        if args.crd_weight:
            if num_samples is None and args.queue_length is None:
                raise ValueError(
                    "`crd_weight` is above 0 but the number of training images is unknown: the memory bank has one "
                    "row an image. Pass a training data set with a length, give `queue_length`, or set `crd_weight` "
                    "to 0."
                )
            self.crd = CRDLoss(
                student_dim,
                teacher_dim or 0,
                num_samples or args.queue_length or 0,
                embedding_dim=args.embedding_dim,
                num_negatives=args.num_negatives,
                temperature=args.crd_temperature,
                momentum=args.momentum,
                queue_length=args.queue_length,
            )
            self.crd.largest_batch = args.train_batch_size
            images = args.train_batch_size * args.world_size
            if args.queue_length is not None and args.queue_length < images:
                raise ValueError(
                    f"`queue_length` is {args.queue_length}, and each batch of all processes has {images} images; "
                    "expected at least as many rows. Lengthen the queue."
                )
        if args.adversarial_weight:
            self.adversarial = AdversarialLoss(student_dim, teacher_dim or 0, hidden_dim=args.critic_hidden_dim)

    @property
    def config(self) -> ExRepConfig:
        """The student's configuration: integrations of the Trainer look for one."""
        return self.student.config

    @property
    def _no_split_modules(self) -> set[str]:
        """The student's blocks, which FSDP wraps one by one."""
        return set(self.student._no_split_modules or ())

    def train(self, mode: bool = True) -> "DistillationObjective":
        """Set training mode, leaving BatchNorm on its stored statistics with `freeze_batch_norm`."""
        super().train(mode)
        if mode and self.args.freeze_batch_norm:
            for module in self.student.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
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
            output_features=self.args.needs_features,
            with_residual=self._drawn_for_residual(pixel_values),
        )
        terms = self._logit_terms(student.logits, labels, teacher_logits)
        if student.features is not None:
            terms.update(self._feature_terms(student.features, teacher_features, labels, sample_index))
        loss = None
        for weight, value in terms.values():
            loss = weight * value if loss is None else loss + weight * value
        if self.training and loss is not None and not terms.keys() & {"loss_ce", "loss_kd"}:
            # DDP waits for a gradient of every parameter, also of a classifier that no term trains.
            loss = loss + 0.0 * student.logits.float().sum()
        # Not detached here: inductor drops a weight of 1, and makes of the loss and a detached copy of it one tensor.
        losses = {name: value for name, (_, value) in terms.items()}
        return DistillationOutput(loss=loss, losses=losses, logits=student.logits)

    def _drawn_for_residual(self, pixel_values: Tensor) -> Tensor | None:
        """Return which images of a training batch the student sees as x + G(x); None: all of them."""
        if not self.training or self.args.distiller_share == 1:
            return None
        return (torch.rand(len(pixel_values)) < self.args.distiller_share).to(pixel_values.device)

    def _logit_terms(
        self, logits: Tensor, labels: Tensor | None, teacher_logits: Tensor | None
    ) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of the terms on logits, by log name."""
        terms: dict[str, tuple[float, Tensor]] = {}
        if self.args.ce_weight and self._given(labels, "labels", "ce_weight"):
            assert labels is not None
            if not labels.is_floating_point():
                check_label_batch(labels, logits.shape[-1])
            value = labelled_cross_entropy(logits, labels, self.args.label_smoothing_factor, self.training)
            terms["loss_ce"] = (self.args.ce_weight, value)
        if self.kd is not None and self._given(teacher_logits, "teacher_logits", "kd_weight"):
            # A softmax over some classes is renormalised by itself.
            compared = logits if self._shared_classes is None else logits.index_select(-1, self._shared_classes)
            terms["loss_kd"] = (self.args.kd_weight, self.kd(compared, teacher_logits))
        return terms

    def _feature_terms(
        self, features: Tensor, teacher_features: Tensor | None, labels: Tensor | None, sample_index: Tensor | None
    ) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of the terms on pooled features, by log name."""
        terms: dict[str, tuple[float, Tensor]] = {}
        active = "` or `".join(name for name in FEATURE_TERMS if getattr(self.args, name))
        if not self._given(teacher_features, "teacher_features", active):
            return terms
        # Before training begins nothing is known of the features, and the term's value means nothing.
        if self.feature is not None and (self.training or self.feature.is_standardised):
            terms["loss_feature"] = (self.args.feature_weight or 0.0, self.feature(features, teacher_features))
        has_row = self.args.queue_length or self.crd is None or self._given(sample_index, "sample_index", "crd_weight")
        if self.crd is not None and has_row:
            value = self.crd(features, teacher_features, sample_index, labels=labels)
            terms["loss_crd"] = (self.args.crd_weight, value)
        if self.adversarial is not None:
            adversarial, critic = self.adversarial(features, teacher_features)
            terms["loss_adversarial"] = (self.args.adversarial_weight, adversarial)
            terms["loss_critic"] = (self.args.critic_weight, critic)
        return terms

    def _given(self, value: Tensor | None, name: str, weight: str) -> TypeGuard[Tensor]:
        if value is None and self.training:
            raise ValueError(
                f"A training batch has no {name}, which the term of `{weight}` needs. Let the data set's items hold "
                f"it, or set `{weight}` to 0."
            )
        return value is not None

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
            self.crd.negatives.load(stored)
            prefix = len(BANK_PREFIX)
            bank = {name[prefix:]: value for name, value in state.items() if name.startswith(BANK_PREFIX)}
            self.crd.load_bank_state(bank)
        if parameters:
            for name, value in self.state_dict().items():
                if not name.startswith(STUDENT_PREFIX):
                    value.copy_(state[name])
