"""Settings of publishing a student, and of verifying one that was published."""

from dataclasses import dataclass, field

from exrep_hf.arguments.ranges import require


@dataclass
class PublishArguments:
    """What is pushed, and where to."""

    _argument_group_name = "publishing"

    folder: str = field(metadata={"help": "`output_dir` of a finished run, or a folder of model_cards/."})
    repo_id: str = field(metadata={"help": "Repository on the Hub: user/name."})
    private: bool = field(default=False, metadata={"help": "Make a new repository private."})
    write_card: bool = field(
        default=False, metadata={"help": "First write the card again from results.json, with the name `repo_id`."}
    )


@dataclass
class VerificationArguments:
    """Whose card is verified, and where its images lie."""

    _argument_group_name = "verifying"

    model: str = field(metadata={"help": "The student: a name on the Hub, or a folder."})
    revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit on the Hub."})
    dataset: str | None = field(
        default=None, metadata={"help": "Where the card's own data set lies, if not on the Hub."}
    )
    other_dataset: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Name and place, in turn, of other data sets that figures were added for.",
            "metavar": "TEXT",
        },
    )
    data_dir: str | None = field(
        default=None, metadata={"help": "Folder of `fashion_mnist`'s files, or inside the data set."}
    )
    use_cpu: bool = field(default=False, metadata={"help": "Don't use a GPU where there is one."})

    def __post_init__(self) -> None:
        require(len(self.other_dataset) % 2 == 0, "other_dataset", self.other_dataset, "pairs of a name and its place")

    @property
    def places(self) -> dict[str, str]:
        """Place of each other data set, by the name that the card gives it."""
        return dict(zip(self.other_dataset[::2], self.other_dataset[1::2], strict=True))
