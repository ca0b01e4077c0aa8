"""All arms under all seeds, and what comes out of them."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import set_seed

from exrep_hf.arguments import DataArguments, DistillationArguments, ModelArguments, StudyArguments
from exrep_hf.arguments.commit import code_commit
from exrep_hf.data.partition import DataPartition, load_partition
from exrep_hf.doctor import Finding
from exrep_hf.files import read_json, write_json
from exrep_hf.main_process import decided_by_main
from exrep_hf.publishing.access import check_main_branch, ensure_repository
from exrep_hf.publishing.student import push_student
from exrep_hf.publishing.student_folder import (
    publish_student,
    published_variant,
)
from exrep_hf.report import (
    device_name,
    public_settings,
    software_versions,
    summary_table,
)
from exrep_hf.study.arms import Arm, make_arms
from exrep_hf.study.comparison import add_gaps, best_oracle, differences, summarise_oracle
from exrep_hf.study.controls import controls_left_out, remedy, seconds_of_a_run, share_length, too_long
from exrep_hf.study.folder import (
    ARMS_NAME,
    LEFT_OUT_NAME,
    RUN_NAME,
    SETTINGS_NAME,
    STUDENTS_NAME,
    TEACHER_NAME,
    check_output_dir,
    check_settings,
    checkpoint_to_resume,
    clear_output_dir,
    read_run,
    wants_resume,
)
from exrep_hf.study.look import look_first
from exrep_hf.study.outcome import write_outcome
from exrep_hf.study.records import (
    arm_settings,
    describe_data,
    summarise_arm,
    summarise_student,
)
from exrep_hf.study.run import distil, with_folder
from exrep_hf.study.stages import (
    Classifier,
    check_labels_for_stages,
    load_student,
    of_seed,
    save_network,
    starting_student,
    train_with_labels,
)
from exrep_hf.study.teaching import Teaching, load_teaching
from exrep_hf.teacher import TeacherSource
from exrep_hf.teacher.head_file import head_of_seed
from exrep_hf.training.notices import in_words
from exrep_hf.training.only_run import HOLDER_NAME, LOCK_NAME, only_run_in


@dataclass
class Settings:
    """All settings of a study, and the command that gave them."""

    model: ModelArguments
    data: DataArguments
    study: StudyArguments
    training: DistillationArguments
    command: str | None = None

    @property
    def inputs(self) -> tuple[str | None, ...]:
        """Names or places of all that a study reads."""
        models = (*self.model.teachers, *self.model.teacher_caches, self.model.student)
        return (*models, self.data.dataset, self.data.extra_images)


class Study:
    """One method and its controls, from the same starting students and with the same number of steps.

    Args:
        settings: what to run.

    Raises:
        ValueError: for settings that don't fit each other, or an output folder that holds another run.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # Now: hours later the checkout may hold another.
        self.code = code_commit()
        self.folder = Path(str(settings.training.output_dir))
        # The study pushes its student when it is finished; trainers would push controls over it.
        self.pushes, settings.training.push_to_hub = settings.training.push_to_hub, False
        self.model_id = settings.training.hub_model_id or self.folder.name
        # Trackers group runs by project, and by what names begin with.
        settings.training.run_name = settings.training.run_name or self.folder.name
        if settings.training.project == type(settings.training).project:
            settings.training.project = settings.training.run_name
        self.arms = make_arms(settings.model, settings.data, settings.study, settings.training)
        # Here, because arguments that are made later would reset accelerate's state under a trainer.
        self.arm_settings = {arm.name: arm_settings(arm) for arm in self.arms}
        # Refused here, instead of after the training.
        self._published_variant()
        self.seeds = [settings.training.seed + number for number in range(settings.study.num_seeds)]
        asked = settings.training.resume_from_checkpoint
        self.resuming = wants_resume(asked)
        self.left_out: dict[str, str] = {}
        if self._several and self.resuming and str(asked).lower() != "true":
            raise ValueError(
                f"`resume_from_checkpoint` is {asked!r}; expected `true`: a study of several runs goes on where each "
                "of them was."
            )
        if str(asked).lower() != "true":
            checkpoint_to_resume(asked, self.folder)
        self._told: set[Finding] = set()
        self.began = time.perf_counter()
        self._check_folder()
        if self.pushes:
            training = settings.training
            check_main_branch(training.hub_revision)
            # Now, instead of after hours of training.
            self.model_id = decided_by_main(
                lambda: ensure_repository(self.model_id, "model", training.hub_private_repo, training.hub_token)
            )

    def _check_folder(self) -> None:
        settings = self.settings
        if PartialState().is_main_process:
            check_output_dir(self.folder, settings.study.overwrite_output_dir, self.resuming, settings.inputs)
        PartialState().wait_for_everyone()

    def run(self) -> dict[str, Any]:
        """Run what is not finished yet; write results, model, card and pictures into the output folder.

        Returns:
            The content of `results.json`.

        Raises:
            ValueError: if another run is at work in the output folder, naming its process.
            OSError: if the student can't be pushed; everything is kept.
        """
        with only_run_in(self.folder):
            # It may have been filled since it was looked at.
            self._check_folder()
            return self._run()

    def _run(self) -> dict[str, Any]:
        settings = self.settings
        data = load_partition(settings.data, settings.training.dataloader_num_workers or None)
        self._print(data.in_words())
        check_labels_for_stages(data, settings.model, self.seeds)
        set_seed(settings.training.seed)
        teacher = self._prepare_teacher(data)
        records: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in self.arms}
        for seed in self.seeds:
            start = self._run_seed(seed, data, teacher, records)
        results = self._results(data, teacher, start, records)
        if PartialState().is_main_process:
            _, images = data.parts(self.seeds[0])
            write_outcome(results, self.folder, images, data.args, settings.training, self.model_id)
        self._print(f"done\n\n{summary_table(results)}\n\nWritten to {self.folder}: {', '.join(self._written())}")
        if self.pushes and PartialState().is_main_process:
            training = settings.training
            commit = push_student(self.folder, self.model_id, training.hub_private_repo, training.hub_token)
            self._print(f"pushed to {self.model_id}, commit {commit}")
        return results

    def _prepare_teacher(self, data: DataPartition) -> Teaching:
        """Check everything that can be checked, then train the teacher if that is asked for."""
        settings, kept = self.settings, self.folder / TEACHER_NAME
        was_trained = self.resuming and kept.is_dir()
        public, _ = data.parts(self.seeds[0])
        share_length(self.arms, len(public), settings.model.student_from_scratch)
        # Controls that nobody asked for are no reason to fit a head.
        asked_for = self.arms if settings.study.controls is not None else self.arms[-1:]
        needs_logits = any(arm.args.needs_logits for arm in asked_for)
        known = kept if was_trained else None
        teacher, start = load_teaching(settings.model, data, public, needs_logits, known)
        network, caches = teacher.network, teacher.caches
        self._leave_out_controls(data, start, teacher)
        trains_teacher = bool(settings.model.teacher_steps) and not was_trained
        self._is_ready = not trains_teacher and teacher.head != "probe", settings.model.student_is_ready
        source = teacher.source(start.classifier.config)
        self._look_first(self.arms[-1], start, data, source, *self._is_ready)
        if PartialState().is_main_process:
            if not self.resuming:
                clear_output_dir(self.folder)
            # Also where a run that is to be resumed had not begun: it proves whose folder this is.
            settings_file = self.folder / SETTINGS_NAME
            if settings_file.is_file():
                check_settings(settings_file, self._configuration())
            else:
                write_json(self._configuration() | {LEFT_OUT_NAME: self.left_out}, settings_file)
        PartialState().wait_for_everyone()
        named = (
            ", ".join(settings.model.teachers)
            if not caches
            else f"by its answers in {', '.join(settings.model.teacher_caches)}"
        )
        self._print(f"teacher {named}{_steps(0 if was_trained else settings.model.teacher_steps)}")
        if network is not None and settings.model.teacher_steps and not was_trained:
            steps = settings.model.teacher_steps
            train_with_labels(network, data.teacher_images, data, settings.training, settings.model, steps, "teacher")
            save_network(network, kept)
            teacher = Teaching(settings.model, network, caches, needs_logits, public, teacher.texts)
        return teacher

    def _look_first(
        self,
        arm: Arm,
        start: Classifier,
        data: DataPartition,
        source: TeacherSource | None,
        teacher_is_ready: bool,
        student_is_ready: bool,
    ) -> None:
        """Look at a study that has not begun, unless nobody wants that."""
        if self.settings.study.no_doctor or self.resuming:
            return
        seed = self.seeds[0]
        _, images = data.parts(seed)
        runs, ready = len(self.arms) * len(self.seeds), (teacher_is_ready, student_is_ready)
        look_first(arm, start, images, data, seed, source, *ready, self._told, runs)

    def _leave_out_controls(self, data: DataPartition, start: Classifier, teacher: Teaching) -> None:
        """Check every arm, and leave out those default controls that can't be run, or only in hours."""
        settings_file, are_default = self.folder / SETTINGS_NAME, self.settings.study.controls is None
        # Stored answers are for some images: each seed may draw other public ones.
        seeds = self.seeds if teacher.caches else self.seeds[:1]
        source = teacher.source(start.classifier.config)
        self.left_out = controls_left_out(self.arms, start, data, seeds, source, are_default)
        has_begun = self.resuming and settings_file.is_file()
        begun: dict[str, Any] = decided_by_main(lambda: dict(read_json(settings_file)) if has_begun else {})
        if are_default and LEFT_OUT_NAME in begun:
            self.left_out = begun[LEFT_OUT_NAME]
        elif are_default and len(self.arms) - len(self.left_out) > 1:
            _, images = data.parts(self.seeds[0])
            seconds = seconds_of_a_run(self.arms[-1], start, images, data, self.seeds[0], source)
            if seconds is not None:
                self._print(f"a run of {self.arms[-1].name} takes {in_words(seconds)}")
                kept = [arm for arm in self.arms if arm.name not in self.left_out]
                self.left_out |= too_long(kept, len(self.seeds), seconds)
        for name, reason in self.left_out.items():
            self._print(f"the control {name} is left out: {reason}")
        self.arms = [arm for arm in self.arms if arm.name not in self.left_out]

    def _run_seed(
        self, seed: int, data: DataPartition, teacher: Teaching, records: dict[str, list[dict[str, Any]]]
    ) -> Classifier:
        """Prepare the student of a seed and run every arm from it."""
        public, images = data.parts(seed)
        model_args = self.settings.model
        self._print(
            f"seed {seed}: student {model_args.student}, {len(public)} public images{_steps(model_args.student_steps)}"
        )
        kept = self.folder / STUDENTS_NAME / f"seed{seed}"
        folders = {arm.name: self._run_folder(arm.name, seed) for arm in self.arms}
        finished = {name for name, folder in folders.items() if self.resuming and (folder / RUN_NAME).is_file()}
        if len(finished) < len(self.arms):
            start = starting_student(data, seed, of_seed(self.settings.training, seed), model_args, kept)
        else:
            start = load_student(model_args, data, kept if kept.is_dir() else None)
        source: TeacherSource | None = None
        shared: dict[str, Any] = {}
        for arm in self.arms:
            folder = folders[arm.name]
            if arm.name in finished:
                self._print(f"seed {seed}: {arm.name} is finished already")
                records[arm.name].append(read_run(folder / RUN_NAME, self.arm_settings[arm.name]))
                continue
            if not shared:
                main = with_folder(self.arms[-1], folder, seed)
                head = head_of_seed(self.folder, seed)
                source = teacher.of_seed(start, public, main, head, self.resuming)
                if seed == self.seeds[0] and not self._is_ready[0]:
                    # Now that there is a teacher to be scored.
                    try:
                        self._look_first(main, start, data, source, True, model_args.student_is_ready)
                    except ValueError as error:
                        raise ValueError(f"{error} {_kept_in(self.folder)}") from error
                shared = teacher.before_arms(start, images, source, main)
            records[arm.name].append(self._run_arm(with_folder(arm, folder, seed), start, data, source, shared))
        return start

    def _run_arm(
        self,
        arm: Arm,
        start: Classifier,
        data: DataPartition,
        source: TeacherSource | None,
        shared: dict[str, Any],
    ) -> dict[str, Any]:
        """Run an arm in its folder, publish its student where it is the one, and return its record."""
        seed = arm.args.seed
        self._print(f"seed {seed}: {arm.name}")
        set_seed(seed)
        _, images = data.parts(seed)
        record, trainer = distil(arm, start, images, data, source)
        record |= shared | {"settings": self.arm_settings[arm.name]}
        before, after = record["before"]["accuracy"], record["after"]["accuracy"]
        self._print(f"seed {seed}: {arm.name}: top-1 {before:.3f} → {after:.3f}")
        if (advice := remedy(record, arm)) is not None:
            self._print(advice)
        if arm.name == self.arms[-1].name and seed == self.seeds[0]:
            publish_student(
                trainer,
                f"{arm.name}, seed {seed}",
                record["history"],
                start.preprocessing,
                self.folder,
                self._published_variant(),
                self.settings.study.push_code,
            )
        if PartialState().is_main_process:
            write_json(record, Path(str(arm.args.output_dir)) / RUN_NAME)
        return record

    def _results(
        self,
        data: DataPartition,
        teacher: Teaching,
        start: Classifier,
        records: dict[str, list[dict[str, Any]]],
    ) -> dict[str, Any]:
        settings, main = self.settings, self.arms[-1]
        runs = records[main.name]
        published = (runs[0]["without_distiller"] if main.is_plain else None) or runs[0]
        variant = self._published_variant()
        oracle = best_oracle([arm.name for arm in self.arms if arm.is_oracle], records)
        add_gaps(records, oracle)
        return {
            "license": settings.study.license,
            "configuration": self._configuration(),
            "versions": software_versions(),
            "device": device_name(settings.training.device),
            "processes": PartialState().num_processes,
            "seeds": self.seeds,
            "dataset": describe_data(data, self.seeds[0]),
            "teacher": teacher.summary(runs, start.classifier.config, main.data_args, data.names),
            "student": summarise_student(settings.model.student, settings.model.student_from_scratch, runs, start),
            "controls_left_out": self.left_out,
            "oracle": summarise_oracle(oracle, records),
            "differences": differences(main.name, records, {arm.name for arm in self.arms if arm.is_plain}),
            "arms": {arm.name: summarise_arm(arm, records[arm.name], start) for arm in self.arms},
            "published": {"arm": main.name, "seed": self.seeds[0], "variant": variant, **published["after"]},
            "command": settings.command,
            "code": self.code,
            # Of a resumed run nobody knows what its other starts took.
            "wall_time_seconds": None if self.resuming else time.perf_counter() - self.began,
        }

    def _published_variant(self) -> str:
        main = self.arms[-1]
        return published_variant(main.name, main.model_args.distiller, main.is_plain, self.settings.study.variant)

    def _configuration(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "model": public_settings(settings.model),
            "data": public_settings(settings.data),
            "study": public_settings(settings.study),
            "training": public_settings(settings.training),
        }

    def _run_folder(self, arm: str, seed: int) -> Path:
        return self.folder / ARMS_NAME / f"{arm}-seed{seed}" if self._several else self.folder

    @property
    def _several(self) -> bool:
        return len(self.arms) * len(self.seeds) > 1

    def _written(self) -> list[str]:
        left = (path for path in self.folder.iterdir() if path.name not in (LOCK_NAME, HOLDER_NAME))
        return sorted(path.name + "/" * path.is_dir() for path in left)

    def _print(self, message: str) -> None:
        if PartialState().is_main_process:
            print(f"[{time.perf_counter() - self.began:4.0f} s] {message}", flush=True)


def _kept_in(folder: Path) -> str:
    return (
        f"What was made so far is kept in {str(folder)!r}: `--resume_from_checkpoint true` goes on from it as it is, "
        "and other settings take `--overwrite_output_dir`."
    )


def _steps(steps: int) -> str:
    return f", {steps} steps with labels first" if steps else ""
