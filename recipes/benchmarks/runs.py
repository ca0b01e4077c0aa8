"""Runs of a study's table: arms from the starting student of a seed, and the record that is kept of each."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import BaseImageProcessor, set_seed

from exrep_hf.cli import parse_settings
from exrep_hf.data import Preprocessing
from exrep_hf.data.partition import load_partition
from exrep_hf.evaluation.predict import classification_report, predict
from exrep_hf.files import read_json, write_json
from exrep_hf.finite import NonFiniteError
from exrep_hf.report import device_name, software_versions
from exrep_hf.report.sizes import CALIBRATION
from exrep_hf.study import Settings
from exrep_hf.study.arms import Arm, make_arms
from exrep_hf.study.comparison import as_published
from exrep_hf.study.folder import read_run
from exrep_hf.study.records import arm_settings
from exrep_hf.study.run import distil, with_folder
from exrep_hf.study.stages import check_labels_for_stages, starting_student
from exrep_hf.study.teaching import load_teaching
from exrep_hf.training.trainer import DistillationTrainer

OF_THE_MACHINE = frozenset(
    {"use_cpu", "bf16", "fp16", "tf32", "channels_last", "images_on_device", "dataloader_num_workers"}
    | {"torch_compile", "torch_compile_backend", "torch_compile_mode"}
)
"""Settings by which one machine computes what others compute by others: no part of what a run is."""
ROUNDING = 0.0005
"""By how much the top-1 of one student may differ between two evaluations of it."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A column of the table.

    Attributes:
        config: file of the settings and the arms.
        student: name or folder.
        size: number of public images.
        steps: of every arm.
        flags: further settings.
    """

    config: Path
    student: str
    size: int
    steps: int
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What its records lie under."""
        return f"{Path(self.student).name}-{self.size}-{self.steps}"

    def settings(self, work: Path) -> Settings:
        """Return all settings.

        Args:
            work: folder for what is needed while it runs.

        Raises:
            ValueError: for a teacher that is still to be trained, which every part would do for itself.
        """
        flags = ["--config", str(self.config), "--student", self.student, "--num_public", str(self.size)]
        flags += ["--max_steps", str(self.steps), "--output_dir", str(work / self.name), *self.flags]
        parsed = parse_settings(flags, self.config)
        if parsed.model.teacher_steps:
            raise ValueError(
                f"`teacher_steps` is {parsed.model.teacher_steps} in {self.config}; expected 0: train the teacher "
                "once, with labels (see `recipes/fashion_mnist_teacher.yaml`), and name its folder as `teacher`."
            )
        return parsed

    def arms(self, settings: Settings) -> list[Arm]:
        """Return the controls, then the method."""
        return make_arms(settings.model, settings.data, settings.study, settings.training)

    def seeds(self, settings: Settings) -> list[int]:
        """Return the seeds of all arms."""
        return [settings.training.seed + number for number in range(settings.study.num_seeds)]


def identity(arm: Arm) -> dict[str, dict[str, Any]]:
    """Return the settings that make a run what it is, whatever machine computes it."""
    return {
        part: {name: value for name, value in values.items() if name not in OF_THE_MACHINE}
        for part, values in arm_settings(arm).items()
    }


def record_path(records: Path, part: Part, arm: str, seed: int) -> Path:
    """Return where the record of a run lies."""
    return records / part.name / f"{arm}-seed{seed}.json"


def read_records(records: Path, part: Part, arms: Sequence[Arm], seeds: Sequence[int]) -> dict[str, list[Any]]:
    """Return the records of a part that are there, by arm, in the order of the seeds.

    Raises:
        ValueError: if one is of a run with other settings than the arm has now, or arms of a seed began from
            different students.
    """
    found: dict[str, list[Any]] = {}
    for arm in arms:
        paths = (record_path(records, part, arm.name, seed) for seed in seeds)
        if runs := [read_run(path, identity(arm)) for path in paths if path.is_file()]:
            found[arm.name] = runs
    check_starts(records / part.name, found)
    return found


def check_starts(folder: Path, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Make sure that all arms of a seed began from the same student: they are compared seed by seed.

    Args:
        folder: of the records.
        found: what holds a `seed`, and top-1 `before`, by whose it is.

    Raises:
        ValueError: if some did not.
    """
    first: dict[int, tuple[str, float]] = {}
    starts = ((arm, run["seed"], run["before"]["accuracy"]) for arm, runs in found.items() for run in runs)
    for name, seed, top1 in starts:
        other, theirs = first.setdefault(seed, (name, top1))
        if abs(top1 - theirs) > ROUNDING:
            raise ValueError(
                f"The arms of seed {seed} in {str(folder)!r} began from different students: {other} from one of "
                f"{100 * theirs:.2f} % top-1, {name} from one of {100 * top1:.2f} %. Arms are compared from the same "
                "start, which another machine or release may train to other weights: take the folder `starts` of the "
                "first machine's `output_dir`, or remove the records of that seed and run its arms again."
            )


def prepare_start(part: Part, seed: int, work: Path) -> None:
    """Train the student that all arms of a seed start from, whatever their steps, and measure it and the teacher.

    Raises:
        ValueError: if one is kept that was made with other settings.
    """
    facts = start_folder(part, seed, work) / "facts.json"
    settings = part.settings(work)
    # Of the arm alone: what all arms share is among it, and the length of a start is its own.
    own = {name: identity(part.arms(settings)[-1])[name] for name in ("model", "data")}
    if facts.is_file():
        read_run(facts, own)
        return
    data = load_partition(settings.data)
    check_labels_for_stages(data, settings.model, [seed])
    main = with_folder(part.arms(settings)[-1], work / part.name, seed)
    # All starts see their images in the order of one seed, as those of the records that there are.
    start = starting_student(data, seed, settings.training, settings.model, facts.with_name("student"))
    public, images = data.parts(seed)
    teaching, _ = load_teaching(settings.model, data, public, True)
    source = teaching.of_seed(start, public, main, facts.with_name("head.safetensors"), True)
    write_json(teaching.before_arms(start, images, source, main) | {"settings": own}, facts)


def calibration_error(trainer: DistillationTrainer, arm: Arm, images: Dataset, processor: BaseImageProcessor) -> float:
    """Return the expected calibration error, in [0, 1], of a trained student as it would be published."""
    student = trainer.whole_student()
    network = student.without_distiller() if arm.is_plain else student
    preprocessing, batch_size = Preprocessing.from_image_processor(processor), trainer.args.per_device_eval_batch_size
    logits, labels = predict(network, preprocessing, images, ("image", "label"), batch_size)
    names = [str(number) for number in range(logits.shape[1])]
    return float(classification_report(logits, labels, names)[CALIBRATION])


def start_folder(part: Part, seed: int, work: Path) -> Path:
    """Return where the starting student of a seed is kept."""
    return work / "starts" / f"{part.config.stem}-{Path(part.student).name}-{part.size}-seed{seed}"


def run_arms(part: Part, names: Sequence[str], seed: int, work: Path, records: Path) -> None:
    """Train some arms of a seed, one after another, and keep the record of each.

    Raises:
        NonFiniteError: of the last arm that diverged, when all others have been trained.
        ValueError: if finished arms of the seed began from another student.
    """
    settings = part.settings(work)
    arms = {arm.name: arm for arm in part.arms(settings)}
    identities = {name: identity(arms[name]) for name in names}
    folder = start_folder(part, seed, work)
    data = load_partition(settings.data)
    start = starting_student(data, seed, settings.training, settings.model, folder / "student")
    main = with_folder(arms[list(arms)[-1]], work / part.name, seed)
    public, images = data.parts(seed)
    teaching, _ = load_teaching(settings.model, data, public, True)
    source = teaching.of_seed(start, public, main, folder / "head.safetensors", True)
    facts = read_json(folder / "facts.json")
    finished = read_records(records, part, list(arms.values()), [seed])
    check_starts(records / part.name, finished | {"this run": [facts | {"seed": seed}]})
    shared = {name: facts[name] for name in ("before", "teacher", "teacher_head")}
    diverged = None
    for name in names:
        arm = with_folder(arms[name], work / part.name / f"{name}-seed{seed}", seed)
        set_seed(seed)
        try:
            record, trainer = distil(arm, start, images, data, source)
        except NonFiniteError as error:
            diverged = error
            print(f"{part.name}, {name}, seed {seed}: {error}", flush=True)
            continue
        del record["history"]
        measured = as_published(record, arm.is_plain)["after"]
        measured[CALIBRATION] = calibration_error(trainer, arm, images, start.processor)
        computed = {
            "device": device_name(settings.training.device),
            "bf16": bool(trainer.args.bf16),
            "torch_compile": bool(trainer.args.torch_compile),
            "versions": software_versions(),
        }
        record |= shared | {"settings": identities[name], "computed": computed}
        write_json(record, record_path(records, part, name, seed))
        print(f"{part.name}, {name}, seed {seed}: top-1 {record['after']['accuracy']:.4f}", flush=True)
    if diverged is not None:
        raise diverged
