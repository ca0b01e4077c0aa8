"""The answers of a teacher under the head that a run fitted for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel

from exrep_hf.arguments.public import public_name
from exrep_hf.evaluation.predict import predict
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher import OnlineTeacher
from exrep_hf.teacher.head import ProbedTeacher
from exrep_hf.teacher.head_file import head_of_seed, load_head


class _Probed(nn.Module):
    """A network and the head on its features, called as a classifier is."""

    def __init__(self, teacher: ProbedTeacher, network: nn.Module) -> None:
        super().__init__()
        self.teacher, self.network = teacher, network
        self.eval()

    def forward(self, pixels: Tensor) -> TeacherOutput:
        return self.teacher({"pixel_values": pixels})


def fitted_head_of(folder: Path, results: Mapping[str, Any], teacher: str | None) -> Path | None:
    """Return the head that the student of a run's folder learnt under.

    Args:
        folder: of a finished run.
        results: of it.
        teacher: the network that is to be asked; None: the run's own.

    Returns:
        Its file; None where the run fitted none, it does not lie here, or another network is to be asked.
    """
    facts = results["teacher"] or {}
    is_another = teacher is not None and public_name(teacher) != facts.get("name")
    if is_another or (facts.get("head") or {}).get("kind") != "probe":
        return None
    path = head_of_seed(folder, results["published"]["seed"])
    return path if path.is_file() else None


def probed_answers(
    name: str,
    head: Path,
    settings: Mapping[str, Any],
    student: PreTrainedModel,
    images: Dataset,
    columns: tuple[str, str],
) -> Tensor:
    """Ask a teacher under a fitted head about images, on the student's device.

    Args:
        name: Hub name of the network, or its folder.
        head: file of the head, for the student's classes.
        settings: of the model, as the run had them.
        student: whose classes they are.
        images: with an image and a label column.
        columns: their names.

    Returns:
        Logits `(n, num_labels)`, in the order of the student's classes.

    Raises:
        ValueError: if the network does not say how it wants its images, or the head does not fit.
    """
    revision = None if Path(name).is_dir() else settings.get("teacher_revision")
    source = OnlineTeacher.from_pretrained(name, revision, features=settings.get("teacher_features", "own"))
    (preprocessing,) = source.preprocessing
    if preprocessing is None:
        raise ValueError(
            f"The teacher {name!r} does not say how it wants its images: save its image processor with it."
        )
    nn.Module.to(source.model, student.device)
    probe = load_head(head, student.config.num_labels or 0, source.feature_dim)
    asked = _Probed(ProbedTeacher(source, student.config, probe), source.model)
    answers, _ = predict(asked, preprocessing, images, columns)
    return answers
