"""A Trainer whose trained module holds more than the model that is saved.

What is taken here of the Trainer that is not public, and nowhere else:

- `_save`, `_load_from_checkpoint`, `_load_best_model`: which part of the trained module is written and read.
- `_load_optimizer_and_scheduler`: the rest of the module has to be there, or be refused, before the optimizer's state.
"""

import os
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.image_processing_utils import BaseImageProcessor
from transformers.utils import SAFE_WEIGHTS_NAME

from exrep_hf.arguments import DistillationArguments
from exrep_hf.files import replacing
from exrep_hf.losses.unregistered_tensors import UnregisteredTensorModule
from exrep_hf.main_process import decided_by_main
from exrep_hf.models import ExRepForImageClassification, whole_parameters
from exrep_hf.models.write_network import write_network
from exrep_hf.training.agreement import weights_facts
from exrep_hf.training.checkpoints import read_manifest
from exrep_hf.training.objective import STUDENT_PREFIX, DistillationObjective
from exrep_hf.training.resuming import ResumableTrainer

DISTILLATION_STATE_NAME = "distillation_state.safetensors"


class StudentTrainer(ResumableTrainer):
    """Saves the student of a `DistillationObjective` alone, whole on every backend, and the rest beside it."""

    args: DistillationArguments
    processing_class: BaseImageProcessor | None

    @property
    def distillation_objective(self) -> DistillationObjective:
        """The trained module without the wrappers of DDP, FSDP or torch.compile."""
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    @property
    def student(self) -> ExRepForImageClassification:
        """The model that is published."""
        return self.distillation_objective.student

    def prepare_training(self) -> None:
        """Put the memory bank on the device too: FSDP moves parameters and buffers alone."""
        super().prepare_training()
        for module in self.distillation_objective.modules():
            if isinstance(module, UnregisteredTensorModule):
                module.to(self.args.device)

    def start_facts(self) -> dict[str, Any]:
        """Add the weights that a first training starts from: later each process may hold a part of them."""
        facts = super().start_facts()
        fsdp = self.accelerator.state.fsdp_plugin if self.is_fsdp_enabled else None
        loaded_by_one = fsdp is not None and fsdp.cpu_ram_efficient_loading
        if self.args.world_size == 1 or self.is_prepared or loaded_by_one:
            return facts
        objective = self.distillation_objective
        state = objective.state_dict() | objective.auxiliary_state()
        return facts | weights_facts(objective, state, STUDENT_PREFIX)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the student whole: the Trainer writes no weights at all where FSDP saves in parts."""
        if not (self.is_fsdp_enabled and "FULL" not in str(self.accelerator.state.fsdp_plugin.state_dict_type)):
            super().save_model(output_dir, _internal_call)
            return
        self._save(output_dir, state_dict=self.whole_state_dict() or {})
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def whole_student_state(self) -> dict[str, Tensor] | None:
        """Return the student's state, put together where FSDP or ZeRO-3 holds it in parts; call it on all processes.

        Returns:
            Tensors by the student's own names; None on processes that need not hold it.
        """
        state = self.whole_state_dict()
        return None if state is None else _of_student(state)

    def whole_student(self) -> ExRepForImageClassification:
        """Return the student, put together on every process where FSDP or ZeRO-3 holds it in parts; call it on all."""
        if not (self.backend_saves_model and self.is_prepared):
            return self.student
        state = broadcast_object_list([self.whole_student_state()])[0]
        with whole_parameters():
            student: nn.Module = ExRepForImageClassification(self.student.config)
        student.load_state_dict(state)
        student.to(self.args.device).eval()
        assert isinstance(student, ExRepForImageClassification)
        return student

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """Write the student and its image processor: what `from_pretrained` and `pipeline` load."""
        if not self.args.should_save:
            return
        folder = str(self.args.output_dir if output_dir is None else output_dir)
        state = self.distillation_objective.state_dict() if state_dict is None else state_dict
        write_network(self.student, self.processing_class, folder, _of_student(state))

    def load_student(self, checkpoint: str, name: str = SAFE_WEIGHTS_NAME) -> None:
        """Give the student the weights in a file of a checkpoint."""
        state = load_tensors(checkpoint, name)
        try:
            self.student.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(
                f"The student in {checkpoint!r} is another network than this run's ({error}). Resume with the student "
                "and distiller that the checkpoint was written with."
            ) from error

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self.backend_saves_model:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            self.load_student(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        # What has been damaged since it was written would be published as the best.
        decided_by_main(lambda: read_manifest(Path(str(self.state.best_model_checkpoint))))
        if self.backend_saves_model:
            super()._load_best_model()
        else:
            self.load_student(str(self.state.best_model_checkpoint))

    def write_additions(self, checkpoint: str) -> None:
        """Write what is trained beside the student, too."""
        super().write_additions(checkpoint)
        if self.args.should_save:
            state = self.distillation_objective.auxiliary_state(parameters=not self.backend_saves_model)
            write_tensors(state, checkpoint, DISTILLATION_STATE_NAME)

    def load_additions(self, checkpoint: str) -> None:
        """Restore what is trained beside the student."""
        state = load_tensors(checkpoint, DISTILLATION_STATE_NAME)
        self.distillation_objective.load_auxiliary_state(state, parameters=not self.backend_saves_model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            self.load_additions(checkpoint)
        super()._load_optimizer_and_scheduler(checkpoint)


def _of_student(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(STUDENT_PREFIX): value for name, value in state.items() if name.startswith(STUDENT_PREFIX)
    }


def write_tensors(state: dict[str, Tensor], checkpoint: str, name: str) -> None:
    """Write a file of a checkpoint whole or not at all; who may read it is who may read the others."""
    with replacing(Path(checkpoint) / name) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file({key: value.contiguous() for key, value in state.items()}, temporary)
        temporary.chmod(mode)


def load_tensors(checkpoint: str, name: str) -> dict[str, Tensor]:
    """Return the tensors in a file of a checkpoint; a `ValueError` says that it is missing or damaged."""
    path = os.path.join(checkpoint, name)
    if not os.path.isfile(path):
        raise ValueError(
            f"The checkpoint {checkpoint!r} has no {name!r}; expected what `DistillationTrainer` writes without "
            "`save_only_model`. Resume from another checkpoint."
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{name!r} of the checkpoint {checkpoint!r} is damaged ({error}). Resume from another checkpoint."
        ) from error
