"""What a trainer writes and pushes for others: the plain student, wherever it does without its distiller, and a card.

What is taken here of the Trainer that is not public, and nowhere else:

- `_push_from_checkpoint`: it would push the student as it is trained, and the pickled arguments with their token.
- `_load_best_model`: evaluations are of the weights of that step from then on.
- `_finish_current_push`, `push_in_progress`: one upload at a time.
"""

import logging
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, create_repo
from transformers import PreTrainedModel
from transformers.trainer_utils import HubStrategy, SaveStrategy
from transformers.utils.hub import PushInProgress

from exrep_hf.arguments.commit import code_commit
from exrep_hf.arguments.public import public_name, public_settings, software_versions
from exrep_hf.data import ClassMap
from exrep_hf.data.class_words import classes_in_words
from exrep_hf.data.described import described
from exrep_hf.data.loading import is_on_the_hub
from exrep_hf.data.seeding import generators_kept
from exrep_hf.files import replacing
from exrep_hf.models import ExRepForImageClassification, whole_parameters
from exrep_hf.models.write_network import write_network
from exrep_hf.teacher import TeacherSource, fitted_head, teacher_names
from exrep_hf.training.card import CardFacts, Evaluation, as_json, make_card, may_write
from exrep_hf.training.card_names import architecture
from exrep_hf.training.default_settings import images_per_step
from exrep_hf.training.finite import FiniteTrainer
from exrep_hf.training.metrics import METRIC_TITLES

logger = logging.getLogger(__name__)

CARD_NAME = "README.md"
PUBLISHED = (CARD_NAME, "config.json", "preprocessor_config.json", "model*.safetensors*")
"""What is pushed of `output_dir`; all else in it is the user's."""


class PublishingTrainer(FiniteTrainer):
    """Publishes what `recipes/train.py` publishes; checkpoints hold the student as it is trained."""

    teacher: TeacherSource | None
    classes: ClassMap

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._evaluations: dict[str, tuple[int, Evaluation]] = {}
        self._best_step: int | None = None
        super().__init__(*args, **kwargs)

    @property
    def publishes_plain(self) -> bool:
        """Whether the student is published without a distiller: it has none, or training made it removable."""
        return self.student.input_distiller is None or self.args.distiller_share < 1

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write what is published, and push it with `push_to_hub`; call it on all processes.

        A student that does without its distiller is written as the plain classifier that transformers and timm load
        by themselves. `student.save_pretrained` writes it with its distiller.
        """
        if _internal_call or not self.publishes_plain:
            # A checkpoint, from which training goes on; or there is no other form.
            super().save_model(output_dir, _internal_call)
            return
        self.save_published(output_dir)
        if self.args.push_to_hub:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def save_published(self, output_dir: str | None = None) -> None:
        """Write the student as it is published, and its image processor; call it on all processes."""
        if not self.publishes_plain:
            super().save_model(output_dir, _internal_call=True)
            return
        self.check_weights("to be saved")
        try:
            student = self.whole_student()
        except ValueError as error:
            # ZeRO-3 without gathering: the parts are saved, from which `zero_to_fp32.py` makes a whole.
            logger.warning("The student is saved as it is trained: %s", error)
            super().save_model(output_dir, _internal_call=True)
            return
        if self.args.should_save:
            self._write_plain(student, str(self.args.output_dir if output_dir is None else output_dir))

    def _write_plain(self, student: ExRepForImageClassification, folder: str) -> None:
        plain: PreTrainedModel = student.without_distiller()
        write_network(plain, self.processing_class, folder)

    # The Hub

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Write the published student and its card, and push these files alone; call it on all processes.

        Args:
            commit_message: of the commit.
            blocking: wait until it is uploaded.
            token: the user's; that of the arguments, or the one that is logged in, where not given.
            revision: branch to push to.
            private: of a new repository.
            **kwargs: of `create_model_card`.

        Returns:
            The commit, or a future of it; None on other processes than the first.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        token = token if token is not None else self.args.hub_token
        if self.hub_model_id is None:
            if private is not None and self.is_world_process_zero():
                # Before transformers 5.23 `init_hf_repo` knows the setting alone; it takes a repository that is there.
                create_repo(self._repository, token=token, private=private, exist_ok=True)
            self.init_hf_repo(token=token)
        self.save_published()
        if not self.is_world_process_zero():
            return None
        self.create_model_card(**kwargs)
        self._finish_current_push()
        return self._upload(commit_message, token, revision or self.args.hub_revision, not blocking)

    def _upload(self, message: str | None, token: str | None, revision: str | None, later: bool) -> Any:
        api: Any = HfApi(token=token)
        return api.upload_folder(
            repo_id=str(self.hub_model_id),
            folder_path=str(self.args.output_dir),
            commit_message=message,
            allow_patterns=list(PUBLISHED),
            # A pattern reaches into folders, too.
            ignore_patterns=["*/*"],
            run_as_future=later,
            revision=revision,
        )

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Push the student of a checkpoint as it is published, and the checkpoint itself where that is asked for."""
        strategy: Any = self.args.hub_strategy
        progress: Any = self.push_in_progress
        busy = progress is not None and not progress.is_done()
        if not self.is_world_process_zero() or strategy == HubStrategy.END:
            return
        if busy and not self.args.hub_always_push:
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        self._write_from_checkpoint(checkpoint_folder)
        self.create_model_card()
        by_steps = self.args.save_strategy == SaveStrategy.STEPS
        place = f"step {self.state.global_step}" if by_steps else f"epoch {int(self.state.epoch or 0)}"
        message = f"Training in progress, {place}"
        jobs: Any = [self._upload(message, self.args.hub_token, self.args.hub_revision, later=True)]
        if strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            last = strategy == HubStrategy.CHECKPOINT
            jobs.append(
                HfApi(token=self.args.hub_token).upload_folder(
                    repo_id=str(self.hub_model_id),
                    folder_path=checkpoint_folder,
                    path_in_repo="last-checkpoint" if last else Path(checkpoint_folder).name,
                    commit_message=f"{message}, checkpoint",
                    run_as_future=True,
                    revision=self.args.hub_revision,
                )
            )
        if busy:
            progress.jobs.extend(jobs)
        else:
            self.push_in_progress = PushInProgress(jobs)  # type: ignore[assignment]

    @property
    def _repository(self) -> str:
        """Name of the repository, whether it is there yet or not."""
        return self.hub_model_id or self.args.hub_model_id or Path(str(self.args.output_dir)).absolute().name

    def _write_from_checkpoint(self, checkpoint: str) -> None:
        """Write the student that a checkpoint holds whole, which the trained module of a backend may not be."""
        # Layers are made with random weights before these are loaded: no draw of the training may move.
        with generators_kept(), torch.random.fork_rng(self.random_devices), whole_parameters():
            student = ExRepForImageClassification.from_pretrained(checkpoint)
        if self.publishes_plain:
            self._write_plain(student, str(self.args.output_dir))
            return
        write_network(student, self.processing_class, str(self.args.output_dir))

    # The card

    def prepare_training(self) -> None:
        """Forget that the best weights were loaded: training changes them."""
        super().prepare_training()
        self._best_step = None

    def _load_best_model(self) -> None:
        super()._load_best_model()
        self._best_step = self.state.best_global_step

    @property
    def _step_of_weights(self) -> int:
        return self.state.global_step if self._best_step is None else self._best_step

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Evaluate as the Trainer does, and take note of the figures for the card."""
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        images: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(images, str) and isinstance(self.eval_dataset, dict):
            images = self.eval_dataset[images]
        found = {name: metrics[key] for name in METRIC_TITLES if (key := f"{metric_key_prefix}_{name}") in metrics}
        # Of several data sets each is evaluated by a call of its own.
        if found and not isinstance(images, dict):
            step, what = self._step_of_weights, described(images)
            self._evaluations[f"{step} {metric_key_prefix} {what}"] = (step, Evaluation(what, found))
        return metrics

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Write `README.md` into `output_dir`: what is known of student, teacher, images, figures and settings.

        A `README.md` that was not written by this method, or from which its first comment was deleted, is kept.

        Args:
            language: of the metadata.
            license: of the student.
            tags: beside our own.
            model_name: name of the model; that of its repository where not given.
            finetuned_from: name on the Hub that the student was loaded by, where the student does not know it.
            tasks: the task is always image classification.
            dataset_tags: names of the training data on the Hub.
            dataset: what they are called.
            dataset_args: not used.
        """
        if not self.is_world_process_zero():
            return
        path = Path(str(self.args.output_dir)) / CARD_NAME
        if not may_write(path):
            logger.warning("%s is kept: it is not a card that was written here.", path.name)
            return
        given = {"language": language, "license": license, "tags": _several(tags)}
        given |= {"dataset_tags": _several(dataset_tags), "dataset_names": _several(dataset)}
        facts = self._card_facts(model_name, finetuned_from, given)
        with replacing(path) as temporary:
            make_card(facts).save(temporary)

    def _card_facts(self, model_name: str | None, origin: str | None, given: dict[str, Any]) -> CardFacts:
        student, args = self.student, self.args
        name = origin or student.name_or_path or student.classifier.name_or_path or ""
        is_published = is_on_the_hub(name) and not Path(name).exists()
        teacher = self.teacher if args.needs_teacher else None
        as_trained = student.input_distiller is None or not self.publishes_plain
        measured = [each for step, each in self._evaluations.values() if step == self._step_of_weights]
        return CardFacts(
            model_id=model_name or self._repository,
            student=_public(name) or architecture(student.classifier),
            from_scratch=student.starts_from_nothing,
            is_published=is_published,
            is_local=bool(name) and not is_published,
            architecture=architecture(student.classifier),
            code=code_commit(),
            distiller=student.config.distiller,
            plain=self.publishes_plain,
            teachers=[] if teacher is None else [_public(each) for each in teacher_names(teacher)],
            teacher_kind=None if teacher is None else type(teacher).__name__,
            teacher_head=fitted_head(teacher),
            images=described(self.train_dataset),
            num_labels=student.config.num_labels or 0,
            teacher_classes=classes_in_words(self.classes.described() if args.needs_logits else None),
            figures=measured if as_trained else [],
            args=args,
            settings=as_json(public_settings(args)),
            steps=self._step_of_weights,
            images_per_step=images_per_step(args),
            versions=software_versions(),
            **given,
        )


def _several(given: str | list[str] | None) -> tuple[str, ...]:
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


def _public(name: str) -> str:
    if not name or Path(name).is_absolute():
        return Path(name).name
    return public_name(name) or ""
