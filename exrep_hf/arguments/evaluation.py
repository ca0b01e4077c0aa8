"""Settings of evaluating a published student."""

from dataclasses import dataclass, field


@dataclass
class EvaluationArguments:
    """What is evaluated, on what, and where the figures go."""

    _argument_group_name = "evaluating"

    model: str = field(metadata={"help": "The student: a Hub name, or a folder."})
    dataset: str = field(metadata={"help": "Hub name, folder, file, `digits` or `fashion_mnist`."})
    split: str = field(default="test", metadata={"help": "Split to evaluate on."})
    revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of the student."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of a Hub data set."})
    data_dir: str | None = field(default=None, metadata={"help": "Folder of `fashion_mnist`'s files, or in the set."})
    image_column_name: str | None = field(default=None, metadata={"help": "Column of images; guessed if not given."})
    label_column_name: str | None = field(default=None, metadata={"help": "Column of labels; guessed if not given."})
    max_samples: int | None = field(default=None, metadata={"help": "Evaluate on only this many images."})
    teacher: str | None = field(default=None, metadata={"help": "Also measure how often this classifier agrees."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Images at a time."})
    use_cpu: bool = field(default=False, metadata={"help": "Don't use a GPU where there is one."})
    output: str | None = field(default=None, metadata={"help": "Write all figures to this JSON file."})
    push_to_hub: bool = field(
        default=False, metadata={"help": "Put the figures into the model's card on the Hub, beside what stands there."}
    )
