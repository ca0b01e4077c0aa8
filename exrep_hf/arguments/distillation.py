"""Settings of training: the Trainer's own, and those of the loss."""

from dataclasses import dataclass, field
from typing import Any

from transformers import SchedulerType, TrainingArguments

from exrep_hf.arguments.decay import check_decay
from exrep_hf.arguments.preset import DEFAULT_PRESET, read_preset
from exrep_hf.arguments.ranges import require, require_number
from exrep_hf.arguments.terms import USUAL_NEEDS, read_terms
from exrep_hf.arguments.trainer_ranges import check_trainer_settings

FEATURE_TERMS = ("feature_weight", "crd_weight", "adversarial_weight")
"""Weights of the terms that compare pooled features."""
_TERMS = ("ce_weight", "kd_weight", *FEATURE_TERMS)


@dataclass
class DistillationArguments(TrainingArguments):
    """`TrainingArguments` with the weights and settings of ExRep's loss.

    The objective is `ce_weight·CE + kd_weight·KD + feature_weight·FEATURE + crd_weight·CRD + adversarial_weight·ADV +
    critic_weight·CRITIC`: that of Jeon et al., ACCV 2020, and a term on features that mixed images have too. A weight
    of 0 leaves that term's work out. The defaults are those of the preset `exrep`; the published settings are the
    preset `exrep-paper`. `feature_weight`, `mix_rounds`, `learning_rate`, length and `freeze_batch_norm` follow from
    teacher, student and images where they are not given, `channels_last`, `bf16`, `tf32`, `images_on_device`
    and `dataloader_num_workers` from the machine: `DistillationTrainer` fills them in and prints them.

    Attributes:
        preset: the one that these settings come from; a setting that was changed keeps its name.

    Raises:
        ValueError: for a negative weight, a temperature ≤ 0, a momentum outside [0, 1), or fewer than one negative.
    """

    _argument_group_name = "loss and training"

    ce_weight: float = field(default=0.0, metadata={"help": "Weight of the cross-entropy with the labels."})
    kd_weight: float = field(default=1.0, metadata={"help": "Weight of the KL divergence from the teacher's logits."})
    feature_weight: float | None = field(
        default=None,
        metadata={
            "help": "Weight of cosine and smooth L1 from projected student features to the teacher's, standardised. "
            "Not given: 10 beside logits on mixed images, where the teacher has features, else 0."
        },
    )
    feature_hidden_dim: int | None = field(
        default=None,
        metadata={"help": "Hidden width of the projector before that term; LayerNorm and one layer where not given."},
    )
    crd_weight: float = field(default=0.0, metadata={"help": "Weight of contrastive representation distillation."})
    adversarial_weight: float = field(
        default=0.0, metadata={"help": "Weight of the student's term against the critic; 0 trains no critic."}
    )
    critic_weight: float = field(default=0.1, metadata={"help": "Weight of the critic's own loss."})
    terms: dict | str | None = field(
        default=None,
        metadata={
            "help": "Terms of your own: a mapping (YAML) from name to `class` (`module:Class`, which needs "
            "--allow_code, or one of exrep_hf.losses), `weight`, and any `arguments` of the class."
        },
    )
    temperature: float = field(default=4.0, metadata={"help": "Softmax temperature τ of the KL divergence."})
    embedding_dim: int = field(default=128, metadata={"help": "Width of the contrastive embeddings."})
    num_negatives: int = field(default=4096, metadata={"help": "Negatives an image, drawn from the memory bank."})
    crd_temperature: float = field(default=0.07, metadata={"help": "Temperature of the contrastive scores."})
    momentum: float = field(default=0.5, metadata={"help": "Momentum of the memory bank, in [0, 1)."})
    queue_length: int | None = field(
        default=None,
        metadata={
            "help": "Contrast with so many latest embeddings instead of a bank with a row an image: for data "
            "sets whose bank (1 kB an image) does not fit."
        },
    )
    crd_negatives: str = field(
        default="image",
        metadata={
            "help": "Whom negatives are drawn for: each `image`, or the whole `batch`, of which each image leaves out "
            "its own class: the same distribution and a seventh of the time, but no longer independent."
        },
    )
    crd_table_dtype: str = field(
        default="float32",
        metadata={"help": "Of the memory bank, or queue: `float32`, or `bfloat16` for half the memory."},
    )
    crd_kernel: bool = field(
        default=False,
        metadata={"help": "On a GPU, let a Triton kernel read the negatives of `crd_negatives: image`; not measured."},
    )
    critic_hidden_dim: int = field(default=512, metadata={"help": "Width of the critic's two hidden layers."})
    critic_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of the critic; `learning_rate` where not given."}
    )
    mixup: float = field(
        default=1.0,
        metadata={"help": "α of Mixup, 0 for none; the teacher is queried on the mixed image (timm's name)."},
    )
    cutmix: float = field(
        default=1.0,
        metadata={"help": "α of CutMix, 0 for none; the teacher is queried on the mixed image (timm's name)."},
    )
    mix_rounds: int | None = field(
        default=None,
        metadata={
            "help": "How often images are mixed: 2 makes mixtures of mixtures, of four images. Not given: 2 for up to "
            "five images a class, else 1."
        },
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
    freeze_batch_norm: bool | None = field(
        default=None,
        metadata={
            "help": "Keep the student's BatchNorm statistics as they were. Not given: they are free where images are "
            "mixed or the student starts from nothing, else frozen."
        },
    )
    disable_dropout: bool = field(
        default=False,
        metadata={
            "help": "Keep all of the student's dropout and stochastic depth off in training (TRL's name): but for "
            "BatchNorm it is then in `eval()`, and with `freeze_batch_norm` as a whole."
        },
    )

    ema_decay: float | None = field(
        default=None,
        metadata={
            "help": "Evaluate, choose and save an exponential moving average of the student's weights and BatchNorm "
            "statistics, of at most this decay, in (0, 1); training goes on from the weights themselves. The decay "
            "rises as with timm's `--model-ema-warmup`: 0.954 at step 100, 0.99 at 1 000, 0.998 at 10 000, 0.999 at "
            "32 000. Not given: no average."
        },
    )

    channels_last: bool | None = field(
        default=None,
        metadata={
            "help": "Lay teacher and student out in channels_last (timm's name). Not given: chosen for the machine."
        },
    )
    images_on_device: bool | None = field(
        default=None,
        metadata={
            "help": "Decode training images once and hold them on the device, where crops and flips are made, if no "
            "more varies them. Not given: on GPUs, below a tenth of their memory."
        },
    )
    bf16: bool | None = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "Compute in bfloat16 (autocast, weights in float32). Not given: in training, on GPUs that have it."
        },
    )
    tf32: bool | None = field(
        default=None,
        metadata={"help": "Compute in TF32 what stays in float32. Not given: in training, on GPUs that have it."},
    )
    dataloader_num_workers: int | None = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "Worker processes of the loader. Not given: on GPUs, where images are decoded, one a core, else 0."
        },
    )
    dataloader_persistent_workers: bool | None = field(  # type: ignore[assignment]
        default=None, metadata={"help": "Keep workers from one epoch to the next. Not given: those that were chosen."}
    )

    learning_rate: float | None = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "Peak learning rate. Not given: it follows from what the student starts from (pre-trained weights "
            "or nothing) and from the images a step, for AdamW, and is printed."
        },
    )
    num_train_epochs: float | None = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "Length in epochs. Where neither this nor `max_steps` is given: at least 1 500 steps and at least "
            "30 epochs, printed."
        },
    )
    per_device_train_batch_size: int = field(default=128, metadata={"help": "Images a step on each process."})
    warmup_steps: float = field(
        default=0.03, metadata={"help": "Steps of linear warm-up, or below 1 their share of all steps."}
    )
    lr_scheduler_type: SchedulerType | str = field(
        default="cosine", metadata={"help": "Schedule of the learning rate: any of transformers' names."}
    )
    decay_epochs: float | None = field(
        default=None,
        metadata={
            "help": "Multiply the learning rate by `decay_rate` each time so many epochs have passed, or below 1 this "
            "share of all steps (timm's name); needs a constant `lr_scheduler_type`."
        },
    )
    decay_rate: float = field(
        default=0.97, metadata={"help": "Factor, in (0, 1], of each `decay_epochs` (timm's name)."}
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
        default=False, metadata={"help": "Must stay False: the log would hide NaN losses, which end the run."}
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False,
        metadata={"help": "Search for parameters without a gradient at each step: for students that leave some out."},
    )

    # Each step ends with it, on every backend: DDP would do it again before each forward.
    ddp_broadcast_buffers: bool | None = field(
        default=False, metadata={"help": "Let DDP broadcast buffers before each forward: each step ends with it."}
    )

    save_total_limit: int | None = field(
        default=2,
        metadata={
            "help": "Keep so many checkpoints, the newest and, with `load_best_model_at_end`, the best among them; 0: "
            "all."
        },
    )

    preset: str = field(
        default=DEFAULT_PRESET, init=False, metadata={"help": "Where these settings come from; set by `from_preset`."}
    )

    def __post_init__(self) -> None:
        self.check()
        workers = self.dataloader_num_workers
        # `TrainingArguments` compares their number before it can be chosen.
        self.dataloader_num_workers = workers or 0
        super().__post_init__()
        self.dataloader_num_workers = workers

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> "DistillationArguments":
        """Return the training settings of a preset, with changes.

        Its settings of the student and of the images are taken by `ExRepForImageClassification.from_backbone(…,
        preset=name)` and `Augmentation.from_preset(name)`.

        Args:
            name: `exrep`, `kd-mixed`, `kd`, `crd` or `exrep-paper`: what `recipes/train.py --config` takes.
            **changes: fields of this class, which win.

        Raises:
            ValueError: for an unknown preset (naming the nearest one), or a value outside its range.
        """
        arguments = cls(**read_preset(name).settings_of(cls) | changes)
        arguments.preset = name
        return arguments

    def check(self) -> None:
        """Check ranges and combinations, of the Trainer's own settings too.

        Raises:
            ValueError: naming the setting, what it is, and what was expected.
        """
        check_trainer_settings(self)
        self.terms = read_terms(self.terms)
        # 0 turns a term, or a kind of mixing, off.
        for name in (*_TERMS, "critic_weight", "mixup", "cutmix"):
            require_number(name, getattr(self, name), 0, optional=name == "feature_weight")
        for name in ("temperature", "crd_temperature"):
            require_number(name, getattr(self, name), 0, above=True)
        for name in ("embedding_dim", "num_negatives", "critic_hidden_dim"):
            require_number(name, getattr(self, name), 1, whole=True)
        require_number("mix_rounds", self.mix_rounds, 1, whole=True, optional=True)
        require_number("feature_hidden_dim", self.feature_hidden_dim, 1, whole=True, optional=True)
        require_number("queue_length", self.queue_length, 2, whole=True, optional=True)
        require_number("views", self.views, 1, whole=True, optional=True)
        require(0 < self.distiller_share <= 1, "distiller_share", self.distiller_share, "a share in (0, 1]")
        require_number("ema_decay", self.ema_decay, 0, above=True, optional=True)
        require((self.ema_decay or 0) < 1, "ema_decay", self.ema_decay, "a number in (0, 1), such as 0.999")
        smoothing = self.label_smoothing_factor
        require(0 <= smoothing < 1, "label_smoothing_factor", smoothing, "a number in [0, 1)")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "a number in [0, 1)")
        require(self.crd_negatives in ("image", "batch"), "crd_negatives", self.crd_negatives, "`image` or `batch`")
        dtype = self.crd_table_dtype
        require(dtype in ("float32", "bfloat16"), "crd_table_dtype", dtype, "`float32` or `bfloat16`")
        require_number("critic_learning_rate", self.critic_learning_rate, 0, above=True, optional=True)
        check_decay(self.decay_epochs, self.decay_rate, self.lr_scheduler_type)
        if self.crd_weight and (self.mixup or self.cutmix):
            raise ValueError(
                f"`crd_weight` is {self.crd_weight} with `mixup` {self.mixup}, `cutmix` {self.cutmix}; expected one "
                "or the other: the memory bank has a row an image, and a mixture of images has none. Set `crd_weight` "
                "to 0, or both α to 0."
            )
        if self.remove_unused_columns:
            raise ValueError(
                "`remove_unused_columns` is True; expected False: the Trainer would drop `sample_index` and the "
                "teacher's inputs. Leave the setting out."
            )
        if self.logging_nan_inf_filter:
            raise ValueError(
                "`logging_nan_inf_filter` is True; expected False: the log would show other losses in place of those "
                "that are not finite, which end a run. Leave the setting out."
            )

    def check_has_terms(self) -> None:
        """Make sure that there is something to train: looked at when terms of the user's own are known too.

        Raises:
            ValueError: if every weight is 0.
        """
        if not any(getattr(self, name) for name in _TERMS) and not self.own_terms:
            raise ValueError(
                f"All of {', '.join(f'`{name}`' for name in _TERMS)} are 0, and there are no `terms`: there is "
                "nothing to train. Give at least one of them a weight > 0."
            )

    @property
    def own_terms(self) -> dict[str, dict[str, Any]]:
        """Settings of the user's own terms, by name."""
        assert not isinstance(self.terms, str)  # read in `check`
        return self.terms or {}

    def _is_needed(self, name: str) -> bool:
        return any(name in term.get("needs", USUAL_NEEDS) for term in self.own_terms.values())

    @property
    def needs_teacher(self) -> bool:
        """Whether any term of the loss asks the teacher."""
        return self.needs_logits or self.needs_features

    @property
    def needs_logits(self) -> bool:
        """Whether any term of the loss compares the teacher's logits."""
        return bool(self.kd_weight) or self._is_needed("teacher_logits")

    @property
    def needs_labels(self) -> bool:
        """Whether any term of the loss needs the labels of the training images."""
        return bool(self.ce_weight) or self._is_needed("labels")

    @property
    def has_bank(self) -> bool:
        """Whether CRD keeps a row for each training image."""
        return bool(self.crd_weight) and self.queue_length is None

    @property
    def needs_features(self) -> bool:
        """Whether any term of the loss compares the teacher's pooled features."""
        return any(getattr(self, name) for name in FEATURE_TERMS) or self._is_needed("teacher_features")
