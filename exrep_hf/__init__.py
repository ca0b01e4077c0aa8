"""ExRep for the Hugging Face Trainer: bring a student up to a teacher that saw data the student can't have."""

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
