"""Settings of the page of runs."""

from dataclasses import dataclass, field

from exrep_hf.arguments.class_rule import read_class_rule
from exrep_hf.arguments.evaluation import check_output_file

_OF_ONE_RUN = ("teacher", "dataset", "data_dir")


@dataclass
class ReportArguments:
    """Which runs are shown, and where the page goes."""

    _argument_group_name = "reporting"

    runs: list[str] = field(metadata={"help": "Folders of finished runs (their `output_dir`), each named once."})
    output: str | None = field(
        default=None,
        metadata={
            "help": "The HTML file; in the folder of a single run `report.html`, or `images.html` with images, if not "
            "given."
        },
    )
    with_images: bool = field(
        default=False,
        metadata={
            "help": "Also show test images about which teacher and student disagree. They are a part of the file, "
            "which is never pushed."
        },
    )
    teacher: str | None = field(
        default=None,
        metadata={"help": "With images: the teacher, where it is neither in the folder nor on the Hub."},
    )
    dataset: str | None = field(
        default=None, metadata={"help": "With images: where they lie, if that is not what the run names."}
    )
    data_dir: str | None = field(default=None, metadata={"help": "With images: folder of `fashion_mnist`'s files."})
    classes: str = field(
        default="names", metadata={"help": "With images: how classes of teacher and student are matched."}
    )
    use_cpu: bool = field(default=False, metadata={"help": "Don't use a GPU where there is one."})

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read.

        Raises:
            ValueError: naming the setting, what it is, and what was expected.
        """
        if repeated := sorted({name for name in self.runs if self.runs.count(name) > 1}):
            raise ValueError(f"`runs` names {', '.join(map(repr, repeated))} more than once; expected each once.")
        if len(self.runs) > 1 and self.output is None:
            raise ValueError(
                "`output` is not given; of several runs the page belongs to none. Pass `--output FILE.html`."
            )
        read_class_rule(self.classes)
        if self.output is not None:
            check_output_file(self.output)
        given = [name for name in _OF_ONE_RUN if getattr(self, name) is not None]
        if given and len(self.runs) > 1:
            raise ValueError(
                f"`{given[0]}` is {getattr(self, given[0])!r} with {len(self.runs)} runs; expected one: others may "
                "have another. Make a page of each."
            )
        if given and not self.with_images:
            raise ValueError(
                f"`{given[0]}` is given without `with_images`, which alone needs it. Add `--with_images`."
            )
