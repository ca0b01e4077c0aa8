"""ExRep for the Hugging Face Trainer: bring a student up to a teacher that saw data the student can't have."""

from typing import TYPE_CHECKING

# What makes `from_pretrained` know our models.
import exrep_hf.models  # noqa: F401
from exrep_hf.models.names_on_demand import names_on_demand

if TYPE_CHECKING:
    from exrep_hf.arguments import DistillationArguments
    from exrep_hf.losses import Term
    from exrep_hf.models import ExRepConfig, ExRepForImageClassification, StudentOutput
    from exrep_hf.teacher import CachedTeacher, OnlineTeacher, TeacherEnsemble
    from exrep_hf.training.distiller_augment import DistillerAugment
    from exrep_hf.training.trainer import DistillationTrainer

__version__ = "0.1.0"

__all__ = [
    "CachedTeacher",
    "DistillationArguments",
    "DistillationTrainer",
    "DistillerAugment",
    "ExRepConfig",
    "ExRepForImageClassification",
    "OnlineTeacher",
    "StudentOutput",
    "TeacherEnsemble",
    "Term",
]

# Flags are explained, and a student loaded, without what trains it.
__getattr__ = names_on_demand(
    __name__,
    {
        "arguments": ["DistillationArguments"],
        "losses": ["Term"],
        "models": ["ExRepConfig", "ExRepForImageClassification", "StudentOutput"],
        "teacher": ["CachedTeacher", "OnlineTeacher", "TeacherEnsemble"],
        "training.distiller_augment": ["DistillerAugment"],
        "training.trainer": ["DistillationTrainer"],
    },
)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
