"""Settings of teacher and student."""

from dataclasses import dataclass, field
from typing import Literal

from exrep_hf.arguments.prompts import check_prompts
from exrep_hf.arguments.ranges import require, require_number


@dataclass
class ModelArguments:
    """Teacher and student."""

    _argument_group_name = "teacher and student"

    teacher: str | None = field(
        default=None,
        metadata={
            "help": "Teacher, frozen while it teaches: Hub name, `timm/...`, or local folder of a classifier, or of a "
            "network without one, which gives features alone. Of several, the mean of their logits teaches.",
            "nargs": "+",
        },
    )
    other_teachers: list[str] = field(
        init=False, default_factory=list, metadata={"help": "Those of `teacher` behind the first one; read from it."}
    )
    teacher_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of the teacher."})
    teacher_dtype: Literal["float32", "bfloat16", "float16", "auto"] = field(
        default="float32", metadata={"help": "Type of the teacher's weights; `auto`: as they were saved."}
    )
    teacher_batch_size: int | None = field(
        default=None,
        metadata={"help": "Images that the teacher answers at a time; all of a batch where not given."},
    )
    teacher_features: Literal["own", "cls", "mean"] = field(
        default="own",
        metadata={
            "help": "The teacher's features: `own`, what the network itself pools; `cls`, its first token; `mean`, "
            "the mean of the patches' tokens."
        },
    )
    teacher_head: Literal["own", "probe", "text", "none"] | None = field(
        default=None,
        metadata={
            "help": "What gives the teacher's logits: its `own` classifier; a `probe`, a linear one fitted on its "
            "features of the public images; `text`, the names of the classes, for CLIP, SigLIP and their like; "
            "`none`: features alone. Not given: its own, else a probe where needed."
        },
    )
    prompts: list[str] | None = field(
        default=None,
        metadata={
            "help": "Texts for `--teacher_head text`, each with `{}` where the name of a class stands; the model's "
            "usual one where not given."
        },
    )
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
            "help": "A teacher's stored answers, instead of the teacher itself, which is then neither loaded nor "
            "trained: a folder that `recipes/cache_teacher.py` wrote, or a data set on the Hub. Of several, for the "
            "same views of the same images, the mean of their logits teaches.",
            "nargs": "+",
        },
    )
    other_caches: list[str] = field(
        init=False, default_factory=list, metadata={"help": "Those of `teacher_cache` behind the first; read from it."}
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
        metadata={"help": "Take only the student's architecture; needs `student_steps` where images have labels."},
    )
    student_steps: int = field(
        default=0,
        metadata={"help": "Train the student with labels on the public images for this many steps first."},
    )
    student_new_head: bool = field(
        default=False,
        metadata={
            "help": "Give the student an untrained head for the classes of the data, on its pre-trained weights; one "
            "that has no head needs this."
        },
    )
    pretraining_learning_rate: float = field(
        default=1e-3, metadata={"help": "Learning rate of `teacher_steps` and `student_steps`."}
    )
    pretraining_weight_decay: float = field(
        default=0.0, metadata={"help": "Weight decay of `teacher_steps` and `student_steps`."}
    )
    distiller: Literal["light", "paper", "none"] = field(
        default="none",
        metadata={"help": "Input Distiller before the student: `light`, `paper` (34.6 GMACs at 240 px) or `none`."},
    )
    distiller_channels: int = field(default=24, metadata={"help": "Width of the `light` distiller."})
    image_size: int | None = field(
        default=None,
        metadata={"help": "Height and width in pixels that the models get; the student's own where not given."},
    )

    def __post_init__(self) -> None:
        if isinstance(self.teacher, list | tuple):
            self.teacher, *self.other_teachers = self.teacher or [None]
        if isinstance(self.teacher_cache, list | tuple):
            self.teacher_cache, *self.other_caches = self.teacher_cache or [None]
        self.check()

    @property
    def student_is_ready(self) -> bool:
        """Whether the student knows its classes as it is loaded."""
        return not (self.student_steps or self.student_from_scratch or self.student_new_head)

    @property
    def teachers(self) -> list[str]:
        """All teachers in the order that they were given in."""
        return [*([] if self.teacher is None else [self.teacher]), *self.other_teachers]

    @property
    def teacher_caches(self) -> list[str]:
        """All stored answers in the order that they were given in."""
        return [*([] if self.teacher_cache is None else [self.teacher_cache]), *self.other_caches]

    def _check_several(self) -> None:
        settings = ("teacher_revision", "teacher_steps", "teacher_from_scratch", "teacher_cache")
        given = [name for name in settings if getattr(self, name)]
        if self.other_teachers and given:
            raise ValueError(
                f"`teacher` names {len(self.teachers)} teachers ({', '.join(self.teachers)}) and `{given[0]}` is "
                f"{getattr(self, given[0])!r}; expected one teacher with it. Train or download them first, and give "
                "their folders, or what each of them says: `--teacher_cache answers/one answers/two`."
            )
        given = [name for name in ("teacher", "teacher_revision", "teacher_cache_revision") if getattr(self, name)]
        if self.other_caches and given:
            raise ValueError(
                f"`teacher_cache` names {len(self.teacher_caches)} stored teachers, and `{given[0]}` is "
                f"{getattr(self, given[0])!r}, which is of one; expected none: each says whose answers it holds. "
                "Leave it out; of a revision give the folder that it was downloaded to."
            )

    def check(self) -> None:
        """Check ranges and combinations.

        Raises:
            ValueError: naming the setting, what it is, and what was expected.
        """
        for name in ("teacher_steps", "student_steps"):
            require_number(name, getattr(self, name), 0, whole=True)
        require_number("pretraining_learning_rate", self.pretraining_learning_rate, 0, above=True)
        require_number("pretraining_weight_decay", self.pretraining_weight_decay, 0)
        require_number("distiller_channels", self.distiller_channels, 1, whole=True)
        require_number("image_size", self.image_size, 8, 2**14, whole=True, optional=True)
        choices = ("light", "paper", "none")
        require(self.distiller in choices, "distiller", self.distiller, f"one of {choices}")
        dtypes, features = ("float32", "bfloat16", "float16", "auto"), ("own", "cls", "mean")
        require(self.teacher_dtype in dtypes, "teacher_dtype", self.teacher_dtype, f"one of {dtypes}")
        require(self.teacher_features in features, "teacher_features", self.teacher_features, f"one of {features}")
        heads = ("own", "probe", "text", "none")
        require(self.teacher_head in (None, *heads), "teacher_head", self.teacher_head, f"one of {heads}")
        self._check_several()
        check_prompts(self.prompts)
        if self.prompts is not None and self.teacher_head != "text":
            raise ValueError(
                f"`prompts` is {self.prompts!r:.200} and `teacher_head` is {self.teacher_head!r}, which takes none. "
                "Set `--teacher_head text`, or leave `prompts` out."
            )
        if self.teacher_head == "text" and (self.teacher_steps or self.teacher_features != "own"):
            raise ValueError(
                f"`teacher_head` is 'text' with `teacher_steps` {self.teacher_steps} and `teacher_features` "
                f"{self.teacher_features!r}; expected 0 and 'own': the text tower knows what the vision tower pools "
                "as it is. Leave them out, or take `--teacher_head probe`."
            )
        require_number("teacher_batch_size", self.teacher_batch_size, 1, whole=True, optional=True)
        require(self.verify in ("sample", "full"), "verify", self.verify, "`sample` or `full`")
        if self.student_new_head and self.student_from_scratch:
            raise ValueError(
                "`student_new_head` and `student_from_scratch` are both set; expected one of them: all of an "
                "untrained student is new. Leave `student_new_head` out."
            )
        if self.teacher_from_scratch and not self.teacher_steps:
            raise ValueError(
                "`teacher_from_scratch` is set but `teacher_steps` is 0: an untrained teacher teaches nothing. Give "
                "`--teacher_steps`, or a teacher with weights."
            )
