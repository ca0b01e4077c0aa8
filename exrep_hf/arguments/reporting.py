"""Settings of the page of runs."""

from dataclasses import dataclass, field

from exrep_hf.arguments.evaluation import check_output_file


@dataclass
class ReportArguments:
    """Which runs are shown, and where the page goes."""

    _argument_group_name = "reporting"

    runs: list[str] = field(metadata={"help": "Folders of finished runs (their `output_dir`), each named once."})
    output: str | None = field(
        default=None, metadata={"help": "The HTML file; `report.html` in the folder of a single run if not given."}
    )

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
        if self.output is not None:
            check_output_file(self.output)
