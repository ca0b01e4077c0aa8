"""Settings of storing a teacher's answers, beside those of the training that will use them."""

from dataclasses import dataclass, field, fields
from typing import Literal

from exrep_hf.arguments.data import DataArguments
from exrep_hf.arguments.distillation import DistillationArguments

# What has an effect on stored answers: of the teacher, the images, their views, and the machine.
SETTINGS_OF_CACHING = frozenset(
    ({field.name for field in fields(DataArguments) if field.init} - {"extra_images", "extra_share"})
    | {"teacher", "teacher_revision", "teacher_dtype", "teacher_batch_size", "teacher_features", "teacher_head"}
    | {"prompts"}
    | {"image_size", "channels_last", "views", "mixup", "cutmix", "mix_rounds", "seed", "data_seed"}
    | {"dtype", "top_k", "rows_per_shard", "rebuild", "expect_top1", "teacher_license", "dataset_license"}
    | {"output_dir", "push_to_hub", "hub_token", "hub_private_repo"}
    | {"per_device_eval_batch_size", "dataloader_num_workers", "use_cpu", "bf16", "fp16", "ddp_backend", "ddp_timeout"}
)


@dataclass
class CachingArguments(DistillationArguments):
    """How answers are stored and shared; the views are those that the other settings describe.

    Raises:
        ValueError: for a value outside its range.
    """

    _argument_group_name = "storing answers"

    dtype: Literal["float16", "bfloat16", "float32"] = field(
        default="float16", metadata={"help": "Type of the stored logits and features."}
    )
    top_k: int | None = field(
        default=None,
        metadata={
            "help": "Store only the largest logits, and what rebuilds the mass of the others at any temperature ≥ 1/2."
        },
    )
    rows_per_shard: int = field(default=16384, metadata={"help": "Images in a file."})
    per_device_eval_batch_size: int = field(
        default=64, metadata={"help": "Images that the teacher is queried on at a time, on each process."}
    )
    rebuild: bool = field(default=False, metadata={"help": "Write damaged files of a finished folder again."})
    expect_top1: float | None = field(
        default=None,
        metadata={
            "help": "Share of images the teacher should get right, in [0, 1]; its card's figure where not given. "
            "A warning if it gets less than half of it."
        },
    )
    teacher_license: str | None = field(
        default=None, metadata={"help": "Licence of the teacher; its card's where not given."}
    )
    dataset_license: str | None = field(default=None, metadata={"help": "Licence of the images."})
    push_to_hub: str | None = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "Upload the answers as this data set, `user/name`, when they are whole."},
    )

    def __post_init__(self) -> None:
        if self.expect_top1 is not None and not 0 < self.expect_top1 <= 1:
            raise ValueError(f"`expect_top1` is {self.expect_top1}; expected a share in (0, 1], such as 0.83.")
        super().__post_init__()
