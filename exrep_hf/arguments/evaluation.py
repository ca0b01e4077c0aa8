"""Settings of evaluating a published student."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from exrep_hf.arguments.class_rule import read_class_rule
from exrep_hf.arguments.ranges import require_number


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
    classes: str = field(
        default="names",
        metadata={
            "help": "How classes of data and models are matched: by `names`, by `position` where names don't tell, or "
            "by a JSON file with a mapping from a model's names to the data's."
        },
    )
    max_samples: int | None = field(default=None, metadata={"help": "Evaluate on only this many images."})
    teacher: str | None = field(default=None, metadata={"help": "Also measure how often this classifier agrees."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Images at a time."})
    use_cpu: bool = field(default=False, metadata={"help": "Don't use a GPU where there is one."})
    output: str | None = field(default=None, metadata={"help": "Write all figures to this JSON file."})
    push_to_hub: bool = field(
        default=False, metadata={"help": "Put the figures into the model's card on the Hub, beside what stands there."}
    )

    def __post_init__(self) -> None:
        """Check what would otherwise be found out after the evaluation.

        Raises:
            ValueError: naming the setting, what it is, and what was expected.
        """
        read_class_rule(self.classes)
        require_number("max_samples", self.max_samples, 1, whole=True, optional=True)
        require_number("per_device_eval_batch_size", self.per_device_eval_batch_size, 1, whole=True)
        if self.output is not None:
            check_output_file(self.output)


def check_output_file(output: str) -> None:
    """Make sure that a file can be written where figures are to go.

    Raises:
        ValueError: if that is a folder, or lies where nothing can be written.
    """
    path = Path(output).expanduser()
    if path.is_dir():
        raise ValueError(f"`output` is {output!r}, which is a folder; expected the name of a file in it.")
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(
            f"`output` is {output!r}, and nothing can be written in {str(existing)!r}; expected a folder."
        )
